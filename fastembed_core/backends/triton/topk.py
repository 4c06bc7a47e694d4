"""Group maxima, selection, rescoring: all on the device, with no score matrix and nothing waited for.

A scan writes the best key of each group of neighbouring rows: of canonical scores (`_exact`), of exact integer ones, or of upper
bounds (`_scan`). The best groups' rows are scored canonically and the k best of them kept. Canonical group keys prove them right:
of k groups that are better than another, each holds a row that is better than any of its rows. Bounds prove them right where the
worst group taken cannot reach the k-th score; queries where it can are flagged, and a second round of the same kernels scans them
canonically. It is always launched, and returns at once where nothing is flagged.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ...arrays import Mask, Rows
from ...ops.scores import Score
from ._allowed import Allowed
from ._canonical import scores_of
from ._groups import Groups, group_of, members
from ._launch import device_of, on
from ._operand import Side, side_of
from ._pairs import keys_of
from ._scan import flags_of
from ._select import select

WORKSPACE = 1 << 29  # bytes of group keys and candidates: enough queries at a time for reading the corpus not to cost more than they do
TILE = 128  # queries that a scan takes at once


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
    with on(device):
        keys = torch.empty((q.n, k), dtype=torch.int32, device=device)
        rows = torch.empty((q.n, k), dtype=torch.int64, device=device)
        if keys.numel():
            search = Search(side_of(q, score, device), side_of(x, score, device), k, score, Allowed(mask, exclude, device))
            for lo in range(0, q.n, search.tile):
                part = slice(lo, min(lo + search.tile, q.n))
                keys[part], rows[part] = search.run(part)
            if stats is not None:  # but for what a second round does on the device
                stats |= {"scanned": q.n * x.n, "rescored": q.n * search.taken * search.group, "scan": "float"}
        return scores_of(keys, score), rows.masked_fill_(keys == 2**31 - 1, -1)


class Search:
    """One call: its operands and how their rows are grouped."""

    def __init__(self, q: Side, x: Side, k: int, score: Score, may: Allowed) -> None:
        self.q, self.x, self.k, self.score, self.may = q, x, k, score, may
        self.group = group_of(x.n, k, x.dim)
        self.taken = k + may.excluded + max(32, k // 4)  # an excluded row spoils one group at most
        if 2 * self.taken * self.group >= x.n:
            self.group, self.taken = 1, min(x.n, k + may.excluded)
        self.groups = Groups(q, x, self.group, score, may)
        most = max(1, WORKSPACE // (4 * self.groups.count + 12 * self.taken * self.group))
        self.tile = min(q.n, most if most < TILE else most // TILE * TILE)

    def run(self, part: slice) -> tuple[torch.Tensor, torch.Tensor]:
        """(keys, rows) of the k best rows of some queries, best first."""
        found = Found(part.stop - part.start, self)
        queries = self.groups.keys(part.start, found.groups)
        found.pick(part.start, None)
        if queries is not None:
            flags = flags_of(found.worst_taken, found.worst, queries, self.score)
            self.groups.exact(part.start, found.groups, flags)
            found.pick(part.start, flags)
        return found.ranked()


class Found:
    """What is known of a tile of queries."""

    def __init__(self, t: int, search: Search) -> None:
        self.search, device = search, search.x.data.device

        def space(columns: int, dtype: torch.dtype = torch.int32) -> torch.Tensor:
            return torch.empty((t, columns), dtype=dtype, device=device)

        self.groups = space(search.groups.count)  # best keys
        self.taken, self.worst_taken = space(search.taken), space(1)
        self.ids = space(search.taken * search.group, torch.int64)
        self.keys = space(search.taken * search.group)
        self.best, self.worst = space(search.k), space(1)

    def pick(self, first: int, flags: torch.Tensor | None) -> None:
        """From group keys to the k best candidates."""
        s = self.search
        select(self.groups, self.taken, self.worst_taken, flags)
        members(self.taken, self.ids, first, s.x.n, s.group, s.may, flags=flags)
        keys_of(s.q, s.x, self.ids, first, s.score, self.keys, flags)
        select(self.keys, self.best, self.worst, flags)

    def ranked(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Candidates stand in the order of their rows, and so do the places of the best among them."""
        keys, rows = (side.gather(1, self.best.long()) for side in (self.keys, self.ids))
        keys, order = keys.sort(dim=1, stable=True)
        return keys, rows.gather(1, order)
