"""The canonical scores of given rows, sorted."""

import numpy as np

from ...operands import Rows
from ...ops.scores import Score
from ._scores import canonical, ranking


def rescore(q: Rows, x: Rows, ids: np.ndarray, k: int, score: Score) -> tuple[np.ndarray, np.ndarray]:
    scores = np.full((q.n, k), score.unfilled, score.dtype)
    indices = np.full((q.n, k), -1, np.int64)
    full = canonical(q, x, score)
    for i in range(q.n):
        rows = ids[i][ids[i] >= 0]
        best = rows[ranking(full[i, rows], rows, score.similarity)][:k]
        scores[i, : len(best)], indices[i, : len(best)] = full[i, best], best
    return scores, indices
