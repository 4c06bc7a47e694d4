"""Scan, certify, rescore in torch's operations, on any device.

The scan keeps a fixed number of rows a query by upper bound, a few more than k, whatever the data, so that nothing waits
on the device but one look at odd rows a block. If the best bound among the rows left out cannot reach the k-th canonical
score kept, the answer is certified; queries where it can (more ties than there are places to spare) are scored whole.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ...operands import Mask, Rows
from ...ops.scores import Score
from ._allowed import Allowed
from ._canonical import dtype_of, is_exact, pair_scores
from ._dense import Dense, center_of
from ._gradient import pair_gradient, tracked
from ._operand import DEPTH, Operand, converted, device_of, plainly
from ._rank import EMPTY, best, empty, keys_of
from ._scan import Scan

BLOCK, CELLS = 1 << 20, 1 << 19  # elements of a block of rows, and of its scores with a tile of queries


def topk(
    q: Rows,
    x: Rows,
    k: int,
    score: Score,
    mask: Mask | None,
    exclude: np.ndarray | None,
    stats: dict[str, Any] | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    device = device_of(q, x)
    if stats is not None:
        stats |= {"scanned": 0, "rescored": 0, "scan": "float"}
    with plainly(device):
        scores, rows = empty(q.n, k, score, dtype_of(score), device)
        if scores.numel():
            search = Search(Operand(q, score, device), Operand(x, score, device), k, score, Allowed(mask, exclude, x.n, device))
            for lo in range(0, q.n, search.t):
                tile = slice(lo, min(lo + search.t, q.n))
                scores[tile], rows[tile] = search.run(tile)
            if stats is not None:
                stats |= {"scanned": search.scanned, "rescored": search.rescored}
    if tracked(q, x):
        scores = pair_gradient(q, x, rows, scores, score, device)
    return scores, rows


class Search:
    """One call: its operands and block sizes."""

    def __init__(self, q: Operand, x: Operand, k: int, score: Score, allowed: Allowed) -> None:
        self.q, self.x, self.k, self.score, self.allowed = q, x, k, score, allowed
        self.scanned = self.rescored = 0  # pairs looked at, and pairs scored canonically
        center = center_of(x, score)
        self.dense, self.scan = Dense(q, x, score, center), Scan(q, x, score, center)
        self.m = min(1 << 14, max(64, BLOCK // max(1, min(x.dim, DEPTH)) // 64 * 64))
        self.kept = min(x.n, k + max(32, k // 4))
        self.t = max(1, CELLS // (min(self.m, x.n) + self.kept))
        self.scans = not is_exact(score) and 8 * self.kept < x.n  # else nothing to estimate, or nothing to gain by it

    def run(self, tile: slice) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.scans:
            return self.score_all(tile)
        squares = self.scan.squares(self.q, tile)
        norms = squares.sqrt()
        scores, rows, certain = self.estimate(tile, norms)
        certain &= self.scan.bounded(squares)
        again = (~certain).nonzero()[:, 0]
        if len(again):
            scores[again], rows[again] = self.score_all(again + tile.start)
        return scores, rows

    def score_all(self, queries: slice | torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Canonical scores of every row, many at a time where k is large, so that merging stays cheap."""
        t = queries.stop - queries.start if isinstance(queries, slice) else len(queries)
        scores, rows = empty(t, self.k, self.score, dtype_of(self.score), self.q.device)
        self.scanned += t * self.x.n
        self.rescored += t * self.x.n
        step = max(self.m, self.k // 4)
        for lo in range(0, self.x.n, step):
            block = slice(lo, min(lo + step, self.x.n))
            new = self.dense.scores(queries, block)
            ids = torch.arange(block.start, block.stop, device=self.q.device).expand(t, -1)
            allowed = self.allowed.among(queries, block)
            ids = ids if allowed is None else ids.where(allowed, -1)
            scores, rows = best(torch.cat([scores, new], 1), torch.cat([rows, ids], 1), self.k, self.score)
        return scores, rows

    def estimate(self, tile: slice, norms: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(scores, rows, whether certified) of a tile of queries."""
        t, device = tile.stop - tile.start, self.q.device
        self.scanned += t * self.x.n
        self.rescored += t * self.kept
        bounds = torch.full((t, self.kept), -torch.inf, dtype=torch.float32, device=device)
        rows = torch.full((t, self.kept), -1, dtype=torch.int64, device=device)
        for lo in range(0, self.x.n, self.m):
            block = slice(lo, min(lo + self.m, self.x.n))
            new = self.scan.block(tile, block, norms)
            allowed = self.allowed.among(tile, block)
            if allowed is not None:
                new.masked_fill_(~allowed, -torch.inf)
            bounds, place = torch.cat([bounds, new], 1).topk(self.kept, 1, sorted=False)
            ids = torch.cat([rows, torch.arange(block.start, block.stop, device=device).expand(t, -1)], 1)
            rows = ids.gather(1, place)
        rows = rows.masked_fill(bounds == -torch.inf, -1).sort(1).values
        scores, rows = best(self._canonical(tile, rows), rows, self.k, self.score)
        left_out = bounds.amin(1).double()  # no row left out has a larger bound
        last = keys_of(scores[:, -1:], self.score)[:, 0]
        floor = self.scan.floor(converted(scores[:, -1:], torch.float64)[:, 0], norms)
        beaten = (left_out + self.scan.shared(norms) < floor) & (rows[:, -1] >= 0) & (last < EMPTY - 1)
        return scores, rows, beaten | (left_out == -torch.inf)

    def _canonical(self, tile: slice, rows: torch.Tensor) -> torch.Tensor:
        """(t, m) canonical scores of given rows, anything where the row is -1."""
        queries = torch.arange(tile.start, tile.stop, device=rows.device)[:, None].expand_as(rows)
        flat = pair_scores(self.q, self.x, queries.reshape(-1), rows.clamp(min=0).reshape(-1), self.score)
        return flat.view(rows.shape)
