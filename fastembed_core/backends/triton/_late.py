"""Late interaction, one program a query and document: canonical scores, and upper bounds of them by tensor cores."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from ...ops.scores import Score
from ._allowed import Allowed, allowed
from ._canonical import EMPTY, NAN, canonical, key_of, ordered
from ._launch import launch
from ._operand import Side
from ._queries import Queries
from ._scan import HIGH, LOW, UNBOUNDED, _plane, _squares, unit_and_extent

M, N = tl.constexpr(8), tl.constexpr(32)  # tokens of a query and of a document scored canonically at a time
LEAST = tl.constexpr(0x7F800000)  # the key of -inf


class Sets:
    """Tokens of queries and of documents, as kernels find them."""

    def __init__(self, q: Side, x: Side, ends: torch.Tensor, starts: torch.Tensor, stops: torch.Tensor, ids: torch.Tensor | None) -> None:
        self.q, self.x, self.n = q, x, len(starts)
        self.arguments = (ends, starts, stops, ids)


@triton.jit(do_not_specialize=["first", "width", "dim"])
def _late_keys_kernel(
    q, q_stride, q_scale, q_ranges, x, x_stride, x_scale, x_ranges, ends, starts, stops, ids,
    documents, mask, mask_stride, flags, keys, first, width, dim,
    METRIC: tl.constexpr, INTEGER: tl.constexpr, PACKED: tl.constexpr,
    Q_KIND: tl.constexpr, X_KIND: tl.constexpr, Q_FLIP: tl.constexpr, X_FLIP: tl.constexpr,
):  # fmt: skip
    """keys[i, c] of query first + i and document documents[i, c] (-1: none), or document c."""
    i = (tl.program_id(0) // width).to(tl.int64)
    c = tl.program_id(0) % width
    if flags is not None:
        if tl.load(flags + i) == 0:
            return
    document = c.to(tl.int64)
    if documents is not None:
        document = tl.load(documents + i * width + c)
    one = tl.zeros((1,), tl.int64)
    may = allowed(mask, mask_stride, i + one, document + one, (document >= 0) & (one == 0)[None, :], PACKED)
    document = tl.maximum(document, 0)
    start, stop = tl.load(starts + document), tl.load(stops + document)
    total = tl.zeros((1,), tl.float64)
    last = tl.load(ends + first + i + 1)
    for t in range(tl.load(ends + first + i), last, M):
        token = t + tl.arange(0, M)
        top = tl.full((M,), float("-inf"), tl.float64)
        no_number = tl.zeros((M,), tl.int32)
        for s in range(start, stop, N):
            place = s + tl.arange(0, N)
            inside = place < stop
            rows = place.to(tl.int64)
            if ids is not None:
                rows = tl.load(ids + place, mask=inside, other=0)
            value = canonical(
                q, q_stride, q_scale, q_ranges, token.to(tl.int64), token < last, x, x_stride, x_scale, x_ranges, rows, inside,
                dim, METRIC, Q_KIND, X_KIND, Q_FLIP, X_FLIP, M, N,
            )  # fmt: skip
            no_number = tl.maximum(no_number, tl.max(((value != value) & inside[None, :]).to(tl.int32), axis=1))
            top = tl.maximum(top, tl.max(tl.where((value == value) & inside[None, :], value, float("-inf")), axis=1))
        top = tl.where(no_number > 0, float("nan"), top)
        for r in tl.static_range(M):
            total += tl.sum(tl.where((tl.arange(0, M) == r) & (token < last), top, 0.0), axis=0)
    empty = start >= stop
    if INTEGER:
        key = tl.where(empty, NAN, key_of(total, True, True))  # as ops.maxsim.ALMOST_LEAST
    else:
        key = tl.where(empty, LEAST, key_of(total, True, False))
    tl.store(keys + i * width + c + tl.arange(0, 1), tl.where(tl.reshape(may, (1,)), key, EMPTY))


def late_keys(
    sets: Sets, first: int, keys: torch.Tensor, score: Score, may: Allowed, *,
    documents: torch.Tensor | None = None, flags: torch.Tensor | None = None,
) -> None:  # fmt: skip
    """Fill keys (t, m) of queries first to first + t canonically: of all documents, or of documents (t, m) int64."""
    q, x = sets.q, sets.x
    mask = may.arguments(first) if documents is None else (None, 0)
    launch(
        _late_keys_kernel, keys.numel(), *q.arguments, *x.arguments, *sets.arguments, documents, *mask, flags, keys, first, keys.shape[1],
        q.dim, METRIC=score.metric, INTEGER=score.dtype.name == "int32", PACKED=may.packed and documents is None,
        Q_KIND=q.kind, X_KIND=x.kind, Q_FLIP=q.flip, X_FLIP=x.flip, warps=8,
    )  # fmt: skip


@triton.jit(do_not_specialize=["first", "count", "n", "x_stride", "width"])
def _late_scan_kernel(
    x, x_stride, x_scale, planes, bound, q_factor, ends, starts, stops, ids, mask, mask_stride, keys,
    first, count, n, dim, width, padded,
    PACKED: tl.constexpr, KIND: tl.constexpr, TYPE: tl.constexpr, BQ: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, UNIT: tl.constexpr,
):  # fmt: skip
    """keys[i, j] of an upper bound of the score of query first + i and document j."""
    i = (tl.program_id(0) % count).to(tl.int64)
    document = (tl.program_id(0) // count).to(tl.int64)
    one = tl.zeros((1,), tl.int64)
    may = allowed(mask, mask_stride, i + one, document + one, (one == 0)[:, None], PACKED)
    start, stop = tl.load(starts + document), tl.load(stops + document)
    base, last = tl.load(ends + first), tl.load(ends + first + i + 1)  # planes begin at token `base`
    total, size = tl.zeros((1,), tl.float32), tl.zeros((1,), tl.float32)
    odd = tl.zeros((1,), tl.int32)
    for t in range(tl.load(ends + first + i), last, BQ):
        token = t + tl.arange(0, BQ)
        wanted = token < last
        q_at = planes + ((token - base).to(tl.int64) * padded)[:, None]
        top = tl.full((BQ,), float("-inf"), tl.float32)
        longest = tl.zeros((1,), tl.float32)
        for s in range(start, stop, BN):
            place = s + tl.arange(0, BN)
            inside = place < stop
            rows = place.to(tl.int64)
            if ids is not None:
                rows = tl.load(ids + place, mask=inside, other=0)
            x_at = x + (rows * x_stride * UNIT)[:, None]
            acc = tl.zeros((BN, BQ), tl.float32)
            squares = tl.zeros((BN,), tl.float32)
            peak = tl.zeros((BN,), tl.float32)
            for d in range(0, width * UNIT, BK):
                column = d + tl.arange(0, BK)
                raw = tl.load(x_at + column[None, :], mask=inside[:, None] & (column < width * UNIT)[None, :], other=0)
                b = _plane(raw, 0, KIND, 0, TYPE)
                a = tl.load(q_at + column[None, :], mask=wanted[:, None], other=0)
                acc = tl.dot(b, tl.trans(a), acc, input_precision="tf32")
                more, largest = _squares(b, column, dim, 0, 1, TYPE)
                squares += more
                peak = tl.maximum(peak, largest)
            norm = tl.sqrt_rn(squares)
            whole = ((squares >= LOW) & (squares <= HIGH)) | ((squares == 0) & (peak == 0))
            if x_scale is not None:
                s_x = tl.load(x_scale + rows, mask=inside, other=0.0)
                acc = acc * s_x[:, None]
                norm = norm * tl.abs(s_x)
                scaled = squares * s_x * s_x
                whole = whole & (((scaled >= LOW) & (scaled <= HIGH)) | (s_x == 0) | (peak == 0))
            odd = tl.maximum(odd, tl.max((inside & ~whole).to(tl.int32), axis=0) + one.to(tl.int32))
            top = tl.maximum(top, tl.max(tl.where(inside[:, None], acc, float("-inf")), axis=0))
            longest = tl.maximum(longest, tl.max(tl.where(inside, norm, 0.0), axis=0) + tl.zeros((1,), tl.float32))
        error = tl.load(bound + (token - base), mask=wanted, other=0.0)
        factor = tl.load(q_factor + (token - base), mask=wanted, other=1.0)
        merit = tl.div_rn(top + error * longest, factor)
        total += tl.sum(tl.where(wanted, merit, 0.0), axis=0)
        size += tl.sum(tl.where(wanted, tl.abs(merit), 0.0), axis=0)
    most = total + size * (2.0**-12) + 2.0**-138  # more than the roundings of a sum of 2048 numbers, subnormal ones too
    unknown = (odd > 0) | (most != most) | (tl.abs(most) == float("inf")) | (last - tl.load(ends + first + i) > 2048)
    key = tl.where(start >= stop, LEAST, tl.where(unknown, UNBOUNDED, ~ordered(most)))
    tl.store(keys + i * n + document + tl.arange(0, 1), tl.where(tl.reshape(may, (1,)), key, EMPTY))


def late_bounds(
    sets: Sets, queries: Queries, first: int, keys: torch.Tensor, may: Allowed, kind: str, step: int, longest: int
) -> None:  # fmt: skip
    """Fill keys (t, n) with those of upper bounds."""
    x, (t, n) = sets.x, keys.shape
    unit, stride, width = unit_and_extent(x)
    tile = min(128, max(16, triton.next_power_of_2(longest)))
    launch(
        _late_scan_kernel, t * n, x.data, stride, x.scale, *queries[:3], *sets.arguments, *may.arguments(first), keys,
        first, t, n, x.dim, width, queries.planes.shape[2], PACKED=may.packed, KIND=x.kind, TYPE=kind, BQ=tile, BN=64, BK=step, UNIT=unit,
        stages=3,
    )  # fmt: skip
