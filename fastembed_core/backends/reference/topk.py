"""All canonical scores, sorted."""

from typing import Any

import numpy as np

from ...operands import Mask, Rows
from ...ops.scores import Score
from ._scores import canonical, ranking


def topk(
    q: Rows,
    x: Rows,
    k: int,
    score: Score,
    mask: Mask | None,
    exclude: np.ndarray | None,
    stats: dict[str, Any] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    scores = np.full((q.n, k), score.unfilled, score.dtype)
    indices = np.full((q.n, k), -1, np.int64)
    full = canonical(q, x, score)
    for i in range(q.n):
        allowed = np.ones(x.n, bool) if mask is None else mask.block(slice(i, i + 1), 0, x.n)[0].copy()
        if exclude is not None:
            allowed[exclude[i][exclude[i] >= 0]] = False
        rows = np.flatnonzero(allowed)
        best = rows[ranking(full[i, rows], rows, score.similarity)][:k]
        scores[i, : len(best)], indices[i, : len(best)] = full[i, best], best
    if stats is not None:
        stats |= {"scanned": q.n * x.n, "rescored": q.n * x.n, "scan": "float"}
    return scores, indices
