"""A corpus in groups of neighbouring rows: the best key of each, and which rows it holds."""

from __future__ import annotations

import functools

import torch
import triton
import triton.language as tl

from ...ops.scores import Score
from ._allowed import Allowed, allowed
from ._exact import exact_keys
from ._launch import blocks, launch
from ._operand import Side
from ._queries import Queries, prepared
from ._scan import is_exact, kind_of, scan_keys, squares_of, step_of

MEMBERS = tl.constexpr(1024)


def group_of(n: int, k: int, dim: int) -> int:
    """Rows of a group: as many keys to write and read as rows to score again."""
    best = (4 * n / max(1, k * dim)) ** 0.5
    return next((g for g in (8, 16, 32, 64) if best < g * 1.5), 128)


class Groups:
    """How the best keys of groups are found: by a scan where there is one, else canonically."""

    def __init__(self, q: Side, x: Side, group: int, score: Score, may: Allowed) -> None:
        self.q, self.x, self.group, self.score, self.may = q, x, group, score, may
        self.count = blocks(x.n, group)
        self.kind = None if group == 1 else kind_of(q, x, score)

    def keys(self, first: int, keys: torch.Tensor) -> Queries | None:
        """Fill keys (t, count) of queries first to first + t. Queries come back where keys are those of bounds on merits."""
        if self.kind is None:
            self.exact(first, keys, None)
            return None
        t = len(keys)
        queries = prepared(self.q, self.x, first, t, self.kind, step_of(self.x, self.kind))
        scan_keys(queries, self.x, first, keys, self.group, self.score, self.may, self.kind, self.squares if t > 64 else None)
        return None if is_exact(self.score) else queries

    def exact(self, first: int, keys: torch.Tensor, flags: torch.Tensor | None) -> None:
        """Fill keys canonically, of the queries flagged where flags is given."""
        exact_keys(self.q, self.x, first, keys, self.group, self.score, self.may, flags)

    @functools.cached_property
    def squares(self) -> torch.Tensor:
        """Of the corpus' rows, for several tiles of queries."""
        assert self.kind is not None
        return squares_of(self.x, self.kind)


@triton.jit(do_not_specialize=["first", "width", "taken", "n", "excluded"])
def _members_kernel(
    groups, ids, who, mask, mask_stride, exclude, flags, first, width, taken, n, excluded, PACKED: tl.constexpr, G: tl.constexpr
):
    """ids[i, :] of the rows of groups[i, :], of query i or who[i], -1 where a row may not be returned."""
    parts = tl.cdiv(width, MEMBERS)
    i = (tl.program_id(0) // parts).to(tl.int64)
    if flags is not None:
        if tl.load(flags + i) == 0:
            return
    column = tl.program_id(0) % parts * MEMBERS + tl.arange(0, MEMBERS)
    inside = column < width
    group = tl.load(groups + (i * taken + column // G), mask=inside, other=0)
    row = group.to(tl.int64) * G + column % G
    asking = i if who is None else tl.load(who + i)
    query = asking + tl.zeros((1,), tl.int64)
    may = allowed(mask, mask_stride, query, row, (inside & (row < n))[None, :], PACKED)
    row = tl.where(tl.reshape(may, (MEMBERS,)), row, -1)
    if exclude is not None:
        for e in range(excluded):
            row = tl.where(row == tl.load(exclude + (first + asking) * excluded + e), -1, row)
    tl.store(ids + (i * width + column), row, mask=inside)


def members(
    groups: torch.Tensor, ids: torch.Tensor, first: int, n: int, group: int, may: Allowed, *,
    who: torch.Tensor | None = None, flags: torch.Tensor | None = None,
) -> None:  # fmt: skip
    """Fill ids (t, m * group) int64 from groups (t, m) int32 of a corpus of n rows."""
    width = ids.shape[1]
    launch(
        _members_kernel, len(ids) * blocks(width, MEMBERS.value), groups, ids, who, *may.arguments(first), may.exclude,
        flags, first, width, groups.shape[1], n, may.excluded, PACKED=may.packed, G=group,
    )  # fmt: skip
