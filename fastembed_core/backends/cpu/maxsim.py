"""Late interaction: csrc/cpu/maxsim.cpp."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import _core
from ...operands import Mask
from ...ops.maxsim import Queries, TokenSets
from ...ops.scores import Score
from ...threads import num_threads
from ._search import operands


def maxsim(q: Queries, x: TokenSets, k: int | None, score: Score, mask: Mask | None) -> Any:
    a, b = operands(q.rows, x.rows, score)
    sides = (a, q.offsets, b, x.starts, x.stops, x.ids)
    bits = q.rows.kind == x.rows.kind == "bits" and score.metric == "ip"
    how = ("hamming", "bits") if bits else (score.metric, score.form)
    if k is None:
        scores = np.empty((q.n, x.n), score.dtype)
        _core.maxsim(*sides, *how, num_threads(), scores)
        return scores
    scores, indices = np.empty((q.n, k), score.dtype), np.empty((q.n, k), np.int64)
    allowed, packed = (None, False) if mask is None else (mask.data, mask.packed)
    _core.maxsim_topk(*sides, k, *how, allowed, packed, num_threads(), scores, indices)
    return scores, indices
