"""All canonical scores, those that reach the threshold sorted."""

import numpy as np

from ...operands import Mask, Rows
from ...ops.scores import Score
from ._scores import canonical, ranking


def range_search(
    q: Rows, x: Rows, limits: np.ndarray, score: Score, mask: Mask | None, exclude: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    indptr = np.zeros(q.n + 1, np.int64)
    scores, indices = [np.empty(0, score.dtype)], [np.empty(0, np.int64)]
    full = canonical(q, x, score)
    for i in range(q.n):
        allowed = np.ones(x.n, bool) if mask is None else mask.block(slice(i, i + 1), 0, x.n)[0].copy()
        if exclude is not None:
            allowed[exclude[i][exclude[i] >= 0]] = False
        own, limit = full[i].astype(np.float64), np.float64(limits[i])
        rows = np.flatnonzero(allowed & (own >= limit if score.similarity else own <= limit))
        rows = rows[ranking(full[i, rows], rows, score.similarity)]
        scores.append(full[i, rows])
        indices.append(rows)
        indptr[i + 1] = indptr[i] + len(rows)
    return indptr, np.concatenate(scores), np.concatenate(indices)
