"""All places of a query, sorted."""

import numpy as np

from ...ops.scores import Score
from ._scores import ranking


def merge_topk(scores: np.ndarray, rows: np.ndarray, k: int, score: Score) -> tuple[np.ndarray, np.ndarray]:
    best_scores = np.full((len(scores), k), score.unfilled, score.dtype)
    best_rows = np.full((len(scores), k), -1, np.int64)
    for i in range(len(scores)):
        filled = np.flatnonzero(rows[i] >= 0)
        best = filled[ranking(scores[i, filled], rows[i, filled], score.similarity)][:k]
        best_scores[i, : len(best)], best_rows[i, : len(best)] = scores[i, best], rows[i, best]
    return best_scores, best_rows
