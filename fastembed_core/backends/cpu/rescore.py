"""Canonical scores of given rows, ranked."""

from __future__ import annotations

import numpy as np

from ... import _core
from ...operands import Rows
from ...ops.scores import Score
from ...threads import num_threads
from ._search import empty, operands


def rescore(q: Rows, x: Rows, ids: np.ndarray, k: int, score: Score) -> tuple[np.ndarray, np.ndarray]:
    a, b = operands(q, x, score)
    scores, indices = empty(q, k, score)
    _core.rescore(a, b, ids, k, score.metric, score.form, num_threads(), scores, indices)
    return scores, indices
