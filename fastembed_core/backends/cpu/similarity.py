"""Every pair's score: the scan's own sums, finished."""

from __future__ import annotations

import numpy as np

from ... import _core
from ...operands import Rows
from ...ops.scores import Score
from ...threads import num_threads
from ._search import operands


def similarity(q: Rows, x: Rows, score: Score) -> np.ndarray:
    a, b = operands(q, x, score)
    scores = np.empty((q.n, x.n), score.dtype)
    _core.similarity(a, b, score.metric, score.form, num_threads(), scores)
    return scores


direct = _core.direct_similarity
