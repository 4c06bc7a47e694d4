"""A corpus in groups of neighbouring rows: the best key of each, and which rows it holds."""

from __future__ import annotations

import functools

import torch
import triton
import triton.language as tl

from ...arrays import FLOAT_KINDS
from ...ops.scores import Score
from ...scan_codes import ScanCodes
from ._allowed import Allowed, allowed
from ._exact import exact_keys
from ._launch import blocks, launch
from ._operand import Side, codes_of
from ._popcount import countable, counted_keys
from ._queries import Queries
from ._scan import Scan, is_exact, kind_of, scan_keys, squares_of
from ._tiles import SOME

MEMBERS = tl.constexpr(1024)
SAMPLE = 1024  # rows whose mean is a center


def group_of(n: int, k: int, dim: int) -> int:
    """Rows of a group: as many keys to write and read as rows to score again."""
    best = (4 * n / max(1, k * dim)) ** 0.5
    return next((g for g in (8, 16, 32, 64) if best < g * 1.5), 128)


class Groups:
    """How the best keys of groups are found: by scans, each only where the one before left doubt, and canonically where none is left."""

    def __init__(self, q: Side, x: Side, group: int, score: Score, may: Allowed, scans: tuple[Scan, ...]) -> None:
        self.q, self.x, self.group, self.score, self.may, self.scans = q, x, group, score, may, scans
        self.count = blocks(x.n, group)

    def scan(self, which: int, first: int, keys: torch.Tensor, flags: torch.Tensor | None = None) -> Queries | None:
        """Fill keys (t, count) of queries first to first + t by a scan, of those flagged where flags is given. Queries come back where
        keys are those of bounds on merits."""
        if countable(self.q, self.x, self.score, len(keys)):
            counted_keys(self.q, self.x, first, keys, self.group, self.score, self.may)
            return None
        queries = scan_keys(self.scans[which], self.q, first, keys, self.group, self.score, self.may, self.squares(which, len(keys)), flags)
        return None if is_exact(self.score) else queries

    def exact(self, first: int, keys: torch.Tensor, flags: torch.Tensor | None = None) -> None:
        """Fill keys canonically, of the queries flagged where flags is given."""
        exact_keys(self.q, self.x, first, keys, self.group, self.score, self.may, flags)

    def squares(self, which: int, t: int) -> torch.Tensor | None:
        """Of the corpus' rows, where one tile of queries is not all that a scan takes."""
        scan = self.scans[which]
        return None if t <= SOME or which or scan.beside is not None or scan.x.kind == "signs" else self._squares

    @functools.cached_property
    def _squares(self) -> torch.Tensor:
        return squares_of(self.x, self.scans[0].kind)


def scans_of(q: Side, x: Side, score: Score, beside: tuple[ScanCodes, ...] = ()) -> tuple[Scan, ...]:
    """The scans that there are, the fastest first: of int8 codes beside the rows, of the rows, of the rows less a center, where data lie
    far from the origin."""
    kind = kind_of(q, x, score)
    if kind is None:
        return ()
    scans = [Scan(x, kind)]
    for coded in beside:
        if coded.precision == "int8":
            codes, center, bounds = codes_of(coded, x.data.device)
            scans.insert(0, Scan(codes, "fp16", center, bounds))
    if score.form == "float" and score.metric != "cosine" and x.kind in FLOAT_KINDS:
        scans.append(Scan(x, "tf32", center_of(x)))
    return tuple(scans)


def center_of(x: Side) -> torch.Tensor:
    """The mean of a sample of float rows, what is not finite left out."""
    some = x.data[:: max(1, x.n // SAMPLE)]
    values = (some.view(torch.bfloat16) if x.kind == "bf16" else some).float()
    return values.where(values.abs() < 2.0**60, 0.0).mean(0)


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
