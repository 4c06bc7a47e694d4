"""Group maxima, selection, rescoring: all on the device, with no score matrix and nothing waited for.

A scan writes the best key of each group of neighbouring rows: of canonical scores (`_exact`), of exact integer ones, or of upper
bounds (`_scan`), of the rows or of int8 codes beside them. The best groups' rows are scored canonically and the k best of them kept.
Canonical group keys prove them right: of k groups that are better than another, each holds a row that is better than any of its rows.
Bounds prove them right where the worst group taken cannot reach the k-th score; queries where it can are flagged, and further rounds of
the same kernels scan them by tighter bounds and at last canonically. All rounds are always launched, and return at once where nothing
is flagged. Where all scores cost less than those launches every row is scored canonically: two launches, or three beyond 4,096 rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ...codes import dtype_name
from ...operands import Mask, Rows
from ...ops.scores import Score
from ._allowed import Allowed
from ._certify import flags_of
from ._groups import Groups, group_of, members, scans_of
from ._launch import device_of, on
from ._operand import Side, side_of
from ._pairs import keys_of
from ._rank import MOST, ranked
from ._scan import Scan
from ._select import select

# Bytes of group keys and candidates. Reading N rows of D bytes for t queries takes as long as 2 t N D operations at 180 operations a
# byte; with 64 MiB and groups of 64 of 10M rows t would be 107, and a corpus of 1-byte elements read once for each such tile would cost
# more than its products. With 512 MiB t is 858: reading is a fifth of the work.
WORKSPACE = 1 << 29
TILE = 128  # queries that a scan takes at once
SMALL = 1 << 26  # multiply-adds in float64 that cost no more than the launches of a scan


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
        scores = torch.empty((q.n, k), dtype=getattr(torch, dtype_name(score.dtype)), device=device)
        rows = torch.empty((q.n, k), dtype=torch.int64, device=device)
        if rows.numel():
            search = Search(side_of(q, score, device), side_of(x, score, device), k, score, Allowed(mask, exclude, device), x.scan)
            for lo in range(0, q.n, search.tile):
                part = slice(lo, min(lo + search.tile, q.n))
                search.run(part, scores[part], rows[part])
            if stats is not None:  # but for what further rounds do on the device
                stats |= {"scanned": q.n * x.n, "rescored": q.n * search.taken * search.group, "scan": search.scan}
        return scores, rows


class Search:
    """One call: its operands and how their rows are grouped."""

    def __init__(self, q: Side, x: Side, k: int, score: Score, may: Allowed, beside: tuple[Any, ...] = ()) -> None:
        self.q, self.x, self.k, self.score, self.may = q, x, k, score, may
        scans = scans_of(q, x, score, beside)
        self.scan = "int8" if scans and scans[0].beside is not None else "float"
        self.group = group_of(x.n, k, x.dim)
        self.taken = k + may.excluded + (spare_of(scans[0], k) if scans else 0)  # an excluded row spoils one group at most
        if q.n * x.n * x.dim <= SMALL or 2 * self.taken * self.group >= x.n:
            self.group, self.taken, self.scan, scans = 1, min(x.n, k + may.excluded), "float", ()
        self.whole = self.group == 1 and may.exclude is None  # every row's canonical key is made, and nothing else
        self.groups = Groups(q, x, self.group, score, may, scans)
        most = max(1, WORKSPACE // (4 * self.groups.count + 12 * self.taken * self.group))
        self.tile = min(q.n, most if most < TILE else most // TILE * TILE)

    def run(self, part: slice, scores: torch.Tensor, rows: torch.Tensor) -> None:
        """Fill scores and rows of the k best rows of some queries, best first."""
        found = Found(len(rows), self)
        if self.whole:
            self.groups.exact(part.start, found.groups)
            places = None if self.x.n <= MOST else found.best
            if places is not None:
                select(found.groups, places, found.worst, None)
            ranked(found.groups, places, None, self.score, scores, rows)
            return
        flags: torch.Tensor | None = None
        for which in range(len(self.groups.scans)):
            queries = self.groups.scan(which, part.start, found.groups, flags)
            found.pick(part.start, flags)
            if queries is None:
                break
            flags = flags_of(found.worst_taken, found.worst, queries, self.score, flags)
        else:
            self.groups.exact(part.start, found.groups, flags)
            found.pick(part.start, flags)
        ranked(found.keys, found.best, found.ids, self.score, scores, rows)


def spare_of(scan: Scan, k: int) -> int:
    """Groups to take beyond k, for the rows that a scan leaves in doubt.

    A bound of e standard deviations of a query's scores leaves about k exp(e s) rows, s the standard deviations at which the best lie: of
    10M isotropic rows of 768 elements (s = 5) that is 3.7 k through int8 codes, 1.4 k in TF32 and 1.05 k in half types.
    """
    if scan.beside is not None:
        return min(96, 16 + 8 * k) + 2 * k
    return min(24 if scan.kind == "tf32" else 8, 3 + 2 * k) + k // 4


class Found:
    """What is known of a tile of queries."""

    def __init__(self, t: int, search: Search) -> None:
        self.search, device = search, search.x.data.device

        def space(columns: int, dtype: torch.dtype = torch.int32) -> torch.Tensor:
            return torch.empty((t, columns), dtype=dtype, device=device)

        self.groups = space(search.groups.count)  # best keys
        self.best, self.worst = space(search.k), space(1)
        if search.whole:
            return
        self.taken, self.worst_taken = space(search.taken), space(1)
        self.ids = space(search.taken * search.group, torch.int64)
        self.keys = space(search.taken * search.group)

    def pick(self, first: int, flags: torch.Tensor | None) -> None:
        """From group keys to the k best candidates, which stand in the order of their rows."""
        s = self.search
        select(self.groups, self.taken, self.worst_taken, flags)
        members(self.taken, self.ids, first, s.x.n, s.group, s.may, flags=flags)
        keys_of(s.q, s.x, self.ids, first, s.score, self.keys, flags)
        select(self.keys, self.best, self.worst, flags)
