"""Scan, certify, rescore: blocked float32 estimates, and canonical scores of the rows they cannot rule out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ...operands import Mask, Rows
from ...ops.scores import Score
from ._allowed import Allowed
from ._best import EMPTY, NAN, Best, keys_of, scores_of
from ._canonical import is_exact, pair_scores
from ._dense import Dense, center_of
from ._operand import DEPTH, Operand, span
from ._scan import Scan, in_range

BLOCK = 1 << 20  # elements of a block of rows: 4 MiB of float32
CELLS = 1 << 19  # scores of a tile of queries with a block
PENDING = 1 << 18  # survivors waiting, 28 bytes each

Work = Callable[[np.ndarray, Best], None]  # answers some queries


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
    if stats is not None:
        stats |= {"scanned": 0, "rescored": 0, "scan": "float"}
    if scores.size == 0:
        return scores, rows
    search = Search(q, x, k, score, Allowed(mask, exclude, x.n))
    keys = scores.view(np.uint32)
    keys[...] = EMPTY
    for work, queries in search.plan():
        at = span(queries)
        best = Best(keys[at], rows[at])
        work(queries, best)
        scores[at], rows[at] = scores_of(best.keys, score), best.rows
    if stats is not None:
        stats |= {"scanned": search.scanned, "rescored": search.rescored}
    return scores, rows


class Search:
    """One call: its operands, block sizes, and the three ways a query is answered."""

    def __init__(self, q: Rows, x: Rows, k: int, score: Score, allowed: Allowed) -> None:
        self.q, self.x = Operand(q, score), Operand(x, score)
        self.k, self.score, self.allowed = k, score, allowed
        self.scanned = self.rescored = 0  # pairs looked at, and pairs scored canonically
        center = center_of(self.x, score)
        self.dense = Dense(self.q, self.x, score, center)
        self.scan = Scan(self.q, self.x, score, center)
        self.m = min(1 << 13, max(64, BLOCK // max(1, min(x.dim, DEPTH)) // 64 * 64))
        self.t = max(1, min(CELLS // min(self.m, x.n), PENDING // (2 * k)))

    def plan(self) -> Iterator[tuple[Work, np.ndarray]]:
        """How each query is answered, a tile at a time."""
        if is_exact(self.score) or 8 * self.k >= min(self.m, self.x.n):  # nothing to estimate, or nothing to gain by it
            kinds = [(self.score_all, np.arange(self.q.n))]
        else:
            squares = np.concatenate([self.scan.squares(self.q, span(tile)) for tile in self._tiles(np.arange(self.q.n))])
            self.q_norms = np.sqrt(squares)
            bounded, nan = in_range(squares), np.isnan(squares)
            kinds = [
                (self.estimate, np.flatnonzero(bounded)),
                (self.score_all, np.flatnonzero(~bounded & ~nan)),
                (self.first_rows, np.flatnonzero(nan)),
            ]
        for work, queries in kinds:
            for tile in self._tiles(queries):
                yield work, tile

    def _tiles(self, queries: np.ndarray) -> list[np.ndarray]:
        return [queries[lo : lo + self.t] for lo in range(0, len(queries), self.t)]

    def first_rows(self, queries: np.ndarray, best: Best) -> None:
        """Queries that hold a NaN score NaN with every row: their first allowed rows."""
        for rows in self.allowed.blocks(self.m):
            keys = np.full((len(queries), len(rows)), NAN)
            self._forbid(keys, queries, rows)
            best.merge(keys, rows)
            if (best.last != EMPTY).all():
                return

    def score_all(self, queries: np.ndarray, best: Best) -> None:
        """Canonical scores of every row, many at a time where k is large, so that merging stays cheap."""
        for rows in self.allowed.blocks(max(self.m, self.k // 4)):
            self.scanned += len(queries) * len(rows)
            self.score_block(queries, rows, best)

    def score_block(self, queries: np.ndarray, rows: np.ndarray, best: Best) -> None:
        self.rescored += len(queries) * len(rows)
        keys = keys_of(self.dense.scores(queries, rows), self.score)
        self._forbid(keys, queries, rows)
        better = keys < best.last[:, None]
        if np.count_nonzero(better) * 8 > better.size:
            best.merge(keys, rows)
        else:
            i, j = np.nonzero(better)
            best.merge_flat(i, rows[j], keys[i, j])

    def _forbid(self, keys: np.ndarray, queries: np.ndarray, rows: np.ndarray) -> None:
        allowed = self.allowed.among(queries, rows)
        if allowed is not None:
            keys[~allowed] = EMPTY

    def estimate(self, queries: np.ndarray, best: Best) -> None:
        """Scan every block, keep what may be among the k best, score that."""
        tile = Tile(self, queries, best)
        for rows in self.allowed.blocks(self.m):
            self.scanned += len(queries) * len(rows)
            if not tile.offer(rows):
                tile.settle()
                self.score_block(queries, rows, best)
                tile.learn()
        tile.settle()


class Tile:
    """A tile of queries on its way through the corpus: thresholds, and the rows that wait to be scored."""

    def __init__(self, search: Search, queries: np.ndarray, best: Best) -> None:
        self.search, self.queries, self.best = search, queries, best
        self.at = span(queries)
        self.norms = search.q_norms[queries]
        self.floor = np.full(len(queries), -np.inf)
        self.limit = min(PENDING, max(1 << 14, 4 * search.k * len(queries)))
        self._clear()

    def _clear(self) -> None:
        self.waiting: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = []  # query, row, least and largest merit
        self.count = 0

    def offer(self, rows: np.ndarray) -> bool:
        """Keep the rows of a block that may be among the best; False, and nothing kept, where an estimate rules out too few."""
        scan, k = self.search.scan, self.search.k
        merit, x_norms = scan.block(self.at, span(rows))
        error = scan.error(self.norms, x_norms.max())
        allowed = self.search.allowed.among(self.queries, rows)
        alive = self._alive(merit, error, allowed)
        if np.count_nonzero(alive) * 8 > alive.size and k <= len(rows):
            known = np.where(alive & ~np.isnan(merit), merit, np.float32(-np.inf))
            kth = np.partition(known, len(rows) - k, axis=1)[:, len(rows) - k]
            self._raise(kth - error)
            alive = self._alive(merit, error, allowed)
        if np.count_nonzero(alive) * 8 > alive.size:
            return False
        i, j = np.nonzero(alive)
        estimate = merit[i, j].astype(np.float64)
        error = scan.error(self.norms[i], x_norms[j])
        unknown = np.isnan(estimate)
        least, largest = np.where(unknown, -np.inf, estimate - error), np.where(unknown, np.inf, estimate + error)
        self._keep(i, rows[j], least, largest)
        if self.count > self.limit:
            self._compact()
            if self.count > self.limit // 2:
                self._rescore()
        return True

    def _alive(self, merit: np.ndarray, error: np.ndarray, allowed: np.ndarray | None) -> np.ndarray:
        """Where an estimate may reach the floor, written so that NaN may."""
        cut = np.nextafter((self.floor - error).astype(np.float32), np.float32(-np.inf))
        alive = merit < cut[:, None]
        np.logical_not(alive, out=alive)
        if allowed is not None:
            alive &= allowed
        return alive

    def _keep(self, i: np.ndarray, rows: np.ndarray, least: np.ndarray, largest: np.ndarray) -> None:
        keep = np.flatnonzero(~(largest < self.floor[i]))
        self.waiting.append((i[keep], rows[keep], least[keep], largest[keep]))
        self.count += len(keep)

    def _raise(self, least: np.ndarray) -> None:
        """k rows are known whose merit is at least `least`: what must be worse than they are is ruled out."""
        scan = self.search.scan
        floor = scan.floor(scan.score_of(least, self.norms), self.norms)
        self.floor = np.where(least > -np.inf, np.fmax(self.floor, floor), self.floor)

    def learn(self) -> None:
        """The k-th best canonical score held raises the floor too."""
        last = self.best.last
        scores = scores_of(last, self.search.score).astype(np.float64)
        floor = self.search.scan.floor(scores, self.norms)
        self.floor = np.where(last < NAN, np.fmax(self.floor, floor), self.floor)

    def _compact(self) -> None:
        """Drop what waits but cannot be among the best, now that more is known; order the rest by query, then row."""
        i, rows, least, largest = (np.concatenate(parts) for parts in zip(*self.waiting, strict=True))
        counts = np.bincount(i, minlength=len(self.queries))
        enough = counts >= self.search.k
        best_first = np.lexsort((-least, i))
        kth = np.full(len(counts), -np.inf)
        kth[enough] = least[best_first[(np.cumsum(counts) - counts)[enough] + self.search.k - 1]]
        self._raise(kth)
        order = np.argsort(i, kind="stable")
        self._clear()
        self._keep(i[order], rows[order], least[order], largest[order])

    def _rescore(self) -> None:
        search = self.search
        i, rows, _, _ = self.waiting[0]
        self._clear()
        search.rescored += len(rows)
        keys = keys_of(pair_scores(search.q, search.x, self.queries[i], rows, search.score), search.score)
        better = np.flatnonzero(keys < self.best.last[i])
        self.best.merge_flat(i[better], rows[better], keys[better])
        self.learn()

    def settle(self) -> None:
        """Score everything that waits."""
        if self.count:
            self._compact()
            self._rescore()
