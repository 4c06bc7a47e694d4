"""Every row that reaches a threshold: the driver of csrc/cpu/range.cpp."""

from __future__ import annotations

import numpy as np

from ... import _core
from ...operands import Mask, Rows
from ...ops.scores import Score
from ...threads import num_threads
from ._search import operands


def range_search(
    q: Rows, x: Rows, limits: np.ndarray, score: Score, mask: Mask | None, exclude: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    a, b = operands(q, x, score)
    allowed, packed = (None, False) if mask is None else (mask.data, mask.packed)
    indptr = np.zeros(q.n + 1, np.int64)
    scores, indices = _core.range_search(a, b, limits, score.metric, score.form, allowed, packed, exclude, num_threads(), indptr)
    return indptr, scores, indices
