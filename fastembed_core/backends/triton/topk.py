"""Group maxima, selection, rescoring: all on the device, with no score matrix and nothing waited for.

A scan writes the best key of each group of neighbouring rows: of canonical scores (`_exact`), of exact integer ones, or of upper
bounds (`_scan`). The best groups' rows are scored canonically and the k best of them kept. Canonical group keys prove them right:
of k groups that are better than another, each holds a row that is better than any of its rows. Bounds prove them right where the
worst group taken cannot reach the k-th score; queries where it can are flagged, and a second round of the same kernels scans them
canonically. It is always launched, and returns at once where nothing is flagged.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
import triton
import triton.language as tl

from ...arrays import Mask, Rows
from ...ops.scores import Score
from ._allowed import Allowed, allowed
from ._canonical import scores_of
from ._exact import exact_keys
from ._launch import blocks, device_of, launch, on
from ._operand import Side, side_of
from ._pairs import keys_of
from ._queries import prepared
from ._scan import flags_of, is_exact, kind_of, scan_keys, squares_of, step_of
from ._select import select

WORKSPACE = 1 << 27  # group keys and candidates held at a time
MEMBERS = tl.constexpr(1024)


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


def group_of(n: int, k: int, dim: int) -> int:
    """Rows of a group: as many keys to write and read as rows to score again."""
    best = (4 * n / max(1, k * dim)) ** 0.5
    return next((g for g in (8, 16, 32, 64) if best < g * 1.5), 128)


class Search:
    """One call: its operands and how their rows are grouped."""

    def __init__(self, q: Side, x: Side, k: int, score: Score, may: Allowed) -> None:
        self.q, self.x, self.k, self.score, self.may = q, x, k, score, may
        self.group = group_of(x.n, k, x.dim)
        self.taken = k + may.excluded + max(32, k // 4)  # an excluded row spoils one group at most
        if 2 * self.taken * self.group >= x.n:
            self.group, self.taken = 1, min(x.n, k + may.excluded)
        self.kind = None if self.group == 1 else kind_of(q, x, score)
        self.groups = blocks(x.n, self.group)
        self.tile = max(1, min(q.n, WORKSPACE // (4 * self.groups + 12 * self.taken * self.group)))

    def run(self, part: slice) -> tuple[torch.Tensor, torch.Tensor]:
        """(keys, rows) of the k best rows of some queries, best first."""
        t, first = part.stop - part.start, part.start
        found = Found(t, self)
        how = (first, found.groups, self.group, self.score, self.may)
        if self.kind is None:
            exact_keys(self.q, self.x, *how)
            found.pick(first, None)
            return found.ranked()
        queries = prepared(self.q, self.x, first, t, self.kind, step_of(self.x, self.kind))
        scan_keys(queries, self.x, *how, self.kind, self.squares if t > 64 else None)
        found.pick(first, None)
        if not is_exact(self.score):
            flags = flags_of(found.worst_taken, found.worst, queries, self.score)
            exact_keys(self.q, self.x, *how, flags)
            found.pick(first, flags)
        return found.ranked()

    @functools.cached_property
    def squares(self) -> torch.Tensor:
        """Of the corpus' rows, for several tiles of queries."""
        assert self.kind is not None
        return squares_of(self.x, self.kind)


class Found:
    """What is known of a tile of queries."""

    def __init__(self, t: int, search: Search) -> None:
        self.search, device = search, search.x.data.device

        def space(columns: int, dtype: torch.dtype = torch.int32) -> torch.Tensor:
            return torch.empty((t, columns), dtype=dtype, device=device)

        self.groups = space(search.groups)  # best keys
        self.taken, self.worst_taken = space(search.taken), space(1)
        self.ids = space(search.taken * search.group, torch.int64)
        self.keys = space(search.taken * search.group)
        self.best, self.worst = space(search.k), space(1)

    def pick(self, first: int, flags: torch.Tensor | None) -> None:
        """From group keys to the k best candidates."""
        s = self.search
        select(self.groups, self.taken, self.worst_taken, flags)
        width = self.ids.shape[1]
        launch(
            _members_kernel, len(self.ids) * blocks(width, MEMBERS.value), self.taken, self.ids, *s.may.arguments(first), s.may.exclude,
            flags, first, width, s.taken, s.x.n, s.may.excluded, PACKED=s.may.packed, G=s.group,
        )  # fmt: skip
        keys_of(s.q, s.x, self.ids, first, s.score, self.keys, flags)
        select(self.keys, self.best, self.worst, flags)

    def ranked(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Candidates stand in the order of their rows, and so do the places of the best among them."""
        keys, rows = (side.gather(1, self.best.long()) for side in (self.keys, self.ids))
        keys, order = keys.sort(dim=1, stable=True)
        return keys, rows.gather(1, order)


@triton.jit(do_not_specialize=["first", "width", "taken", "n", "excluded"])
def _members_kernel(
    groups, ids, mask, mask_stride, exclude, flags, first, width, taken, n, excluded, PACKED: tl.constexpr, G: tl.constexpr
):
    """ids[i, :] of the rows of groups[i, :], -1 where a row may not be returned."""
    parts = tl.cdiv(width, MEMBERS)
    i = (tl.program_id(0) // parts).to(tl.int64)
    if flags is not None:
        if tl.load(flags + i) == 0:
            return
    column = tl.program_id(0) % parts * MEMBERS + tl.arange(0, MEMBERS)
    inside = column < width
    group = tl.load(groups + (i * taken + column // G), mask=inside, other=0)
    row = group.to(tl.int64) * G + column % G
    query = i + tl.zeros((1,), tl.int64)
    may = allowed(mask, mask_stride, query, row, (inside & (row < n))[None, :], PACKED)
    row = tl.where(tl.reshape(may, (MEMBERS,)), row, -1)
    if exclude is not None:
        for e in range(excluded):
            row = tl.where(row == tl.load(exclude + (first + i) * excluded + e), -1, row)
    tl.store(ids + (i * width + column), row, mask=inside)
