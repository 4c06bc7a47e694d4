"""One stable sort by row and one by key: parts are sorted runs, which the second merges rather than sorts."""

import numpy as np

from ...ops.scores import Score
from ._best import EMPTY, keys_of


def merge_topk(scores: np.ndarray, rows: np.ndarray, k: int, score: Score) -> tuple[np.ndarray, np.ndarray]:
    keys = np.where(rows < 0, EMPTY, keys_of(scores, score))
    order = np.lexsort((rows, keys), axis=1)[:, :k]
    best_rows = np.take_along_axis(rows, order, 1)
    best_scores = np.take_along_axis(scores, order, 1)
    best_scores[best_rows < 0] = score.unfilled
    return best_scores, best_rows
