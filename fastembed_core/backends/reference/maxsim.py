"""The sum over a query's tokens, in order, of the largest canonical float64 score with a document's tokens, rounded once."""

from typing import Any

import numpy as np

from ...operands import Mask
from ...ops.maxsim import Queries, TokenSets
from ...ops.scores import Score
from ._scores import code_values, finish, one_query, ranking, scales, values


@np.errstate(invalid="ignore", over="ignore", divide="ignore")
def maxsim(q: Queries, x: TokenSets, k: int | None, score: Score, mask: Mask | None) -> Any:
    dequantize = score.form == "float"
    a, b = (values(side.rows) if dequantize else code_values(side.rows) for side in (q, x))
    sa, sb = scales(q.rows), scales(x.rows)
    full = np.full((q.n, x.n), score.unfilled, score.dtype)
    for j in range(x.n):
        tokens = x.tokens(j)
        if len(tokens) == 0:
            continue
        for i in range(q.n):
            total = 0.0
            for t in range(q.offsets[i], q.offsets[i + 1]):
                total += one_query(a[t], sa[t], b[tokens], sb[tokens], score.metric).max()
            full[i, j] = total if score.dtype == np.int32 else finish(np.array([total]))[0]
    return full if k is None else best(full, k, score, mask)


def best(full: np.ndarray, k: int, score: Score, mask: Mask | None) -> tuple[np.ndarray, np.ndarray]:
    """The k best columns of each row."""
    q, n = full.shape
    scores, indices = np.full((q, k), score.unfilled, score.dtype), np.full((q, k), -1, np.int64)
    for i in range(q):
        allowed = np.arange(n) if mask is None else np.flatnonzero(mask.block(slice(i, i + 1), 0, n)[0])
        order = allowed[ranking(full[i, allowed], allowed, True)][:k]
        scores[i, : len(order)], indices[i, : len(order)] = full[i, order], order
    return scores, indices
