"""The k best rows: the engine of csrc/cpu/search.cpp."""

from __future__ import annotations

import numpy as np

from ... import _core
from ...arrays import Mask, Rows
from ...ops.scores import Score
from ...threads import num_threads
from ._search import empty, operands


def topk(q: Rows, x: Rows, k: int, score: Score, mask: Mask | None, exclude: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    a, b = operands(q, x, score)
    scores, indices = empty(q, k, score)
    allowed, packed = (None, False) if mask is None else (mask.data, mask.packed)
    _core.topk(a, b, k, score.metric, score.form, allowed, packed, exclude, num_threads(), scores, indices)
    return scores, indices
