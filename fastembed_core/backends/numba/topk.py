"""Canonical scores of every row, the k best kept in a heap; queries or rows are dealt out over threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...operands import Mask, Rows
from ...ops.scores import Score
from ..numpy._allowed import Allowed
from ..numpy._best import Best, scores_of
from ..numpy._operand import span
from ._kernels import EMPTY, METRICS, select_block, sort_heaps
from ._sides import block, operands, queries
from ._threads import run, shards


@np.errstate(all="ignore")
def topk(
    q: Rows,
    x: Rows,
    k: int,
    score: Score,
    mask: Mask | None,
    exclude: np.ndarray | None,
    stats: dict[str, Any] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    scores, rows = np.empty((q.n, k), score.dtype), np.full((q.n, k), -1, np.int64)
    if scores.size == 0:
        if stats is not None:
            stats |= {"scanned": 0, "rescored": 0, "scan": "float"}
        return scores, rows
    keys = scores.view(np.uint32)
    keys[...] = EMPTY
    allowed = Allowed(mask, exclude, x.n)
    by_queries = q.n >= len(shards(x.n))
    tasks, parts = [], []
    for lo, hi in shards(q.n if by_queries else x.n):
        if by_queries:
            tasks.append(_task(q, x, score, allowed, slice(lo, hi), slice(0, x.n), keys[lo:hi], rows[lo:hi]))
        else:
            parts.append((np.full((q.n, k), EMPTY), np.full((q.n, k), -1)))
            tasks.append(_task(q, x, score, allowed, slice(0, q.n), slice(lo, hi), *parts[-1]))
    run(tasks)
    for part in parts:
        Best(keys, rows).merge(*part)
    if stats is not None:  # nothing is estimated
        stats |= {"scanned": q.n * x.n, "rescored": q.n * x.n, "scan": "float"}
    return scores_of(keys, score), rows


def _task(
    q: Rows, x: Rows, score: Score, allowed: Allowed, some: slice, among: slice, keys: np.ndarray, rows: np.ndarray
) -> Callable[[Callable[[], bool]], None]:
    """The k best of some queries among some rows, written to keys and rows."""

    def work(go_on: Callable[[], bool]) -> None:
        left, right, t, m = operands(q, x, score)
        how = (METRICS.index(score.metric), score.dtype == np.int32, score.similarity)
        for i in range(some.start, some.stop, t):
            tile = np.arange(i, min(i + t, some.stop))
            held = slice(i - some.start, i - some.start + len(tile))
            a = queries(left, span(tile), score.metric)
            for numbers in allowed.blocks(m, among.start, among.stop):
                if not go_on():
                    return
                own = allowed.among(tile, numbers)
                may = np.ones((0, 0), bool) if own is None else np.ascontiguousarray(own)
                b = block(right, span(numbers), score.metric)
                select_block(*how, a.data, a.squares, a.scale, b.data, b.squares, b.scale, numbers, may, keys[held], rows[held])
            sort_heaps(keys[held], rows[held])

    return work
