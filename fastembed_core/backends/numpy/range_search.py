"""Scan, certify, rescore against a threshold that is given: estimates rule rows out, canonical scores decide about the others."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...operands import Mask, Rows
from ...ops.scores import Score
from ._allowed import Allowed
from ._best import keys_of
from ._canonical import is_exact, pair_scores
from ._operand import span
from ._scan import in_range
from .topk import Search


@np.errstate(all="ignore")
def range_search(
    q: Rows, x: Rows, limits: np.ndarray, score: Score, mask: Mask | None, exclude: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    indptr = np.zeros(q.n + 1, np.int64)
    scores, rows = [np.empty(0, score.dtype)], [np.empty(0, np.int64)]
    if q.n and x.n:
        search = Search(q, x, 1, score, Allowed(mask, exclude, x.n))
        bounds = limits.astype(np.float64)
        for lo in range(0, q.n, search.t):
            queries = np.arange(lo, min(lo + search.t, q.n))
            own, found, reached = (np.concatenate(part) for part in zip(*_found(search, queries, bounds[queries]), strict=True))
            order = np.lexsort((found, keys_of(reached, score), own))
            scores.append(reached[order])
            rows.append(found[order])
            indptr[queries + 1] = np.bincount(own, minlength=len(queries))
    return np.cumsum(indptr), np.concatenate(scores), np.concatenate(rows)


def _found(search: Search, queries: np.ndarray, limits: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(query of the tile, row, score) of what is returned, block by block."""
    yield np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, search.score.dtype)
    rule_out = None if is_exact(search.score) else _Bound(search, queries, limits)
    for rows in search.allowed.blocks(search.m):
        allowed = search.allowed.among(queries, rows)
        alive = np.ones((len(queries), len(rows)), bool) if rule_out is None else rule_out.alive(rows)
        if allowed is not None:
            alive &= allowed
        i, j = np.nonzero(alive)
        if len(i) * 8 > alive.size:  # scoring them all costs less than picking them out
            scores = search.dense.scores(queries, rows)[i, j]
        else:
            scores = pair_scores(search.q, search.x, queries[i], rows[j], search.score)
        kept = scores >= limits[i] if search.score.similarity else scores <= limits[i]  # in float64, which holds either type of score
        yield i[kept], rows[j[kept]], scores[kept]


class _Bound:
    """Which rows' estimates may reach the thresholds of a tile of queries."""

    def __init__(self, search: Search, queries: np.ndarray, limits: np.ndarray) -> None:
        self.scan, self.at = search.scan, span(queries)
        squares = self.scan.squares(search.q, self.at)
        self.norms = np.sqrt(squares)
        self.floor = np.where(in_range(squares), self.scan.floor(limits, self.norms), -np.inf)

    def alive(self, rows: np.ndarray) -> np.ndarray:
        """bool (t, m), written so that NaN stays."""
        merit, x_norms = self.scan.block(self.at, span(rows))
        cut = np.nextafter((self.floor - self.scan.error(self.norms, x_norms.max())).astype(np.float32), np.float32(-np.inf))
        return ~(merit < cut[:, None])
