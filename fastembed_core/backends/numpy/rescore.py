"""Canonical scores of given candidates, gathered in row order and sorted."""

import numpy as np

from ...operands import Rows
from ...ops.scores import Score
from ._best import EMPTY, Best, keys_of, scores_of
from ._canonical import pair_scores
from ._operand import Operand

PAIRS = 1 << 17  # candidates handled at a time


@np.errstate(all="ignore")
def rescore(q: Rows, x: Rows, ids: np.ndarray, k: int, score: Score) -> tuple[np.ndarray, np.ndarray]:
    scores, rows = np.empty((q.n, k), score.dtype), np.full((q.n, k), -1, np.int64)
    keys = scores.view(np.uint32)
    keys[...] = EMPTY
    queries, corpus = Operand(q, score), Operand(x, score)
    tile = max(1, PAIRS // max(1, ids.shape[1]))
    for lo in range(0, q.n if k else 0, tile):
        part = slice(lo, lo + tile)
        best = Best(keys[part], rows[part])
        ascending = np.sort(ids[part], axis=1)
        for start in range(0, ids.shape[1], PAIRS):
            some = ascending[:, start : start + PAIRS]
            given = some >= 0
            offered = np.full(some.shape, EMPTY)
            offered[given] = keys_of(pair_scores(queries, corpus, lo + np.nonzero(given)[0], some[given], score), score)
            best.merge(offered, some)
        scores[part] = scores_of(best.keys, score)
    return scores, rows
