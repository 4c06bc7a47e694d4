"""Canonical scores of all pairs, the corpus dealt out over threads."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ...operands import Rows
from ...ops.scores import Score
from ..numpy._canonical import rounded
from ._kernels import METRICS, score_block
from ._sides import block, operands, queries
from ._threads import run, shards


@np.errstate(all="ignore")
def similarity(q: Rows, x: Rows, score: Score) -> np.ndarray:
    scores = np.empty((q.n, x.n), score.dtype)
    run([_task(q, x, score, lo, hi, scores) for lo, hi in shards(x.n)])
    return scores


def _task(q: Rows, x: Rows, score: Score, lo: int, hi: int, scores: np.ndarray) -> Callable[[Callable[[], bool]], None]:
    def work(go_on: Callable[[], bool]) -> None:
        left, right, t, m = operands(q, x, score)
        for i in range(0, q.n, t):
            tile = slice(i, min(i + t, q.n))
            a = queries(left, tile, score.metric)
            for j in range(lo, hi, m):
                if not go_on():
                    return
                part = slice(j, min(j + m, hi))
                b = block(right, part, score.metric)
                out = np.empty((len(a.data), len(b.data)))
                score_block(METRICS.index(score.metric), a.data, a.squares, a.scale, b.data, b.squares, b.scale, out)
                scores[tile, part] = rounded(out, score.dtype)

    return work
