"""Sets of rows reduced in pieces of 64, each one program's, then their sums in order, divided, normalized and coded by a second kernel.

Pieces are counted in valid rows, and a piece is summed in one fixed tree, so that a result depends on nothing but its set's valid
rows. Sets are sequences of token states, where `places` lists the valid ones, or bags, where it lists rows of a table.

Where sets lie one after the other, the pieces of set b stand from place offsets[b] // 64 + b on: that leaves room for all of them
whatever the offsets are, and nobody has to read those on the host.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from ._launch import blocks, launch
from ._operand import Side, elements
from ._rows import Output, columns_of, emit, unit, warps_of

PIECE = tl.constexpr(64)  # rows
STEP = tl.constexpr(8)  # of them at a time


@triton.jit
def _summed(x, C: tl.constexpr):
    """(8, C) to (C,), in one tree whatever the layout."""
    x = tl.sum(tl.reshape(x, (2, 4, C)), axis=0)
    x = tl.sum(tl.reshape(x, (2, 2, C)), axis=0)
    return tl.sum(x, axis=0)


@triton.jit
def _larger(a, b):
    """The larger of each, NaN where either is."""
    return tl.where((a > b) | (a != a), a, b)


@triton.jit
def _largest(x, C: tl.constexpr):
    """(8, C) to (C,), NaN where a row has it."""
    top = tl.max(tl.where(x == x, x, float("-inf")), axis=0)
    return tl.where(tl.max((x != x).to(tl.int32), axis=0) > 0, float("nan"), top)


@triton.jit
def _run(offsets, b, total):
    """(start, rows) of set b, inside the `total` places there are whatever the offsets say."""
    start = tl.minimum(tl.maximum(tl.load(offsets + b), 0), total)
    stop = tl.minimum(tl.maximum(tl.load(offsets + b + 1), start), total)
    return start, (stop - start).to(tl.int32)


@triton.jit
def _set_of(offsets, slot, n, total, steps):
    """The last set whose pieces begin at `slot` or before, by halving the n there are `steps` times."""
    low, high = slot * 0, slot * 0 + n
    for _ in range(steps):
        middle = (low + high) // 2
        start, _rows = _run(offsets, middle, total)
        before = start // PIECE + middle <= slot
        low = tl.where(before, middle, low)
        high = tl.where(before, high, middle)
    return low


@triton.jit(do_not_specialize=["length", "pieces", "n", "steps", "rows"])
def _piece_kernel(
    data, stride_b, stride_t, row_scale, ranges, weights, weight_stride, offsets, places, counts, query, part, side,
    length, pieces, n, steps, rows, dim, width, heads, scale,
    KIND: tl.constexpr, FLIP: tl.constexpr, MODE: tl.constexpr, GATHER: tl.constexpr, SLICED: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    """part[slot, h * width :] is the sum of one piece, side[slot, h] the sum of its weights, or for attention the two of a softmax."""
    whole: tl.constexpr = MODE == "cls" or MODE == "lasttoken"
    head = tl.program_id(0) % heads
    slot = (tl.program_id(0) // heads).to(tl.int64)
    if offsets is None:
        b = slot // pieces
        p = (slot % pieces).to(tl.int32)
        start = b * length  # in places
        at = b * stride_b
        weights_at = b * weight_stride
        count = length
    else:
        b = slot
        if not whole:
            b = _set_of(offsets, slot, n, length, steps)
        start, count = _run(offsets, b, length)
        p = 0
        if not whole:
            p = tl.maximum(slot - start // PIECE - b, 0).to(tl.int32)
        at = start * stride_t
        weights_at = start
    origin = 0
    if counts is not None:
        count = tl.load(counts + b)
        origin = tl.load(places + start, mask=count > 0, other=0)
    first, last = p * PIECE, tl.minimum(p * PIECE + PIECE, count)
    if MODE == "cls":
        first, last = 0, tl.minimum(count, 1)
    elif MODE == "lasttoken":
        first, last = tl.maximum(count - 1, 0), count
    if first >= last and p > 0:
        return
    column = tl.arange(0, C)[None, :]
    offset = head * width if SLICED else 0
    inside = column < width
    if MODE == "attention":
        q = tl.load(query + head * width + column, mask=inside, other=0.0)
    total = tl.full((STEP, C), float("-inf") if MODE == "max" else 0.0, tl.float32)
    top = tl.full((1,), float("-inf"), tl.float32)
    divisor = tl.zeros((STEP,), tl.float32)
    for r in range(first, last, STEP):
        rank = r + tl.arange(0, STEP)
        alive = rank < last
        place = rank
        if places is not None:
            place = tl.load(places + (start + rank), mask=alive, other=0)
        row = place.to(tl.int64) * stride_t + (0 if GATHER else at)
        known = alive
        if GATHER:
            known = alive & (place >= 0) & (place < rows)
        x = elements(data, ranges, row[:, None], column + offset, known[:, None] & inside, dim, KIND, FLIP)
        if row_scale is not None:
            x = x * tl.load(row_scale + place, mask=known, other=0.0)[:, None]
        if GATHER:  # the id of no row: nobody has looked at those that lie on a device
            x = tl.where((alive & ~known)[:, None], float("nan"), x)
        if MODE == "max":
            total = _larger(total, tl.where(alive[:, None], x, float("-inf")))
        elif MODE == "attention":
            s = tl.where(alive, tl.sum(x * q, axis=1) * scale, float("-inf"))
            above = tl.maximum(top, tl.max(s, axis=0))
            above = tl.where(above == float("-inf"), 0.0, above)
            shrink = tl.exp(top - above)
            e = tl.where(alive, tl.exp(s - above), 0.0)
            total = total * shrink[:, None] + tl.where(alive[:, None], e[:, None] * x, 0.0)
            divisor = divisor * shrink + e
            top = above
        else:
            w = alive.to(tl.float32)
            if MODE == "weightedmean":
                w = w * (place - origin + 1).to(tl.float32)
            if weights is not None:
                w = tl.where(alive, w * tl.load(weights + (weights_at + (rank if GATHER else place)), mask=alive, other=0.0), 0.0)
            if MODE == "weightedmean" or weights is not None:
                x = tl.where(alive[:, None], w[:, None] * x, 0.0)
            total += x
            divisor += w
    at_part = slot * heads + head
    total = _largest(total, C) if MODE == "max" else _summed(total, C)
    tl.store(part + at_part * width + tl.arange(0, C), total, mask=tl.arange(0, C) < width)
    tl.store(side + at_part * 2 + tl.arange(0, 1), _summed(tl.reshape(divisor, (STEP, 1)), 1))
    tl.store(side + at_part * 2 + 1 + tl.arange(0, 1), top)


@triton.jit(do_not_specialize=["length", "pieces"])
def _finish_kernel(
    part, side, offsets, counts, out, out_stride, out_scale, ranges, length, pieces, width, heads, dim,
    MODE: tl.constexpr, PRECISION: tl.constexpr, EPS: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    """Row b of the output from its pieces, in order. No rows at all are zeros."""
    b = tl.program_id(0).to(tl.int64)
    base = b * pieces
    count = length
    if offsets is not None:
        start, count = _run(offsets, b, length)
        base = b
        if MODE != "cls" and MODE != "lasttoken":
            base = start // PIECE + b
    if counts is not None:
        count = tl.load(counts + b)
    column = tl.arange(0, C)[None, :]
    inside = column < dim
    head = tl.minimum(column // width, heads - 1)
    some = tl.cdiv(count, PIECE)
    if MODE == "cls" or MODE == "lasttoken":
        some = 1
    total = tl.full((1, C), float("-inf") if MODE == "max" else 0.0, tl.float32)
    top = tl.full((1, C), float("-inf"), tl.float32)
    divisor = tl.zeros((1, C), tl.float32)
    for p in range(some):
        at = base + p
        x = tl.load(part + at * heads * width + column, mask=inside, other=0.0)
        if MODE == "max":
            total = _larger(total, x)
        else:
            w = tl.load(side + (at * heads + head) * 2, mask=inside, other=0.0)
            if MODE == "attention":
                s = tl.load(side + (at * heads + head) * 2 + 1, mask=inside, other=0.0)
                above = tl.maximum(top, s)
                old, new = tl.exp(top - above), tl.exp(s - above)
                total = total * old + x * new
                divisor = divisor * old + w * new
                top = above
            else:
                total += x
                divisor += w
    if MODE == "mean_sqrt_len_tokens":
        divisor = tl.sqrt_rn(divisor)
    if MODE == "mean" or MODE == "weightedmean" or MODE == "mean_sqrt_len_tokens" or MODE == "attention":
        total = tl.div_rn(total, divisor)
    total = tl.where((count > 0) & inside, total, 0.0)
    if EPS is not None:
        total = unit(total, EPS)
    row = b + tl.zeros((1,), tl.int64)
    emit(total, out, out_stride, out_scale, ranges, row, row >= 0, dim, PRECISION, 1, C)


def reduce_pieces(
    x: Side, made: Output, n: int, length: int, mode: str, eps: float | None, *, weights: torch.Tensor | None = None,
    offsets: torch.Tensor | None = None, places: torch.Tensor | None = None, counts: torch.Tensor | None = None, gather: bool = False,
    query: torch.Tensor | None = None, scale: float = 1.0,
) -> None:  # fmt: skip
    """Fill `made` with n rows. x holds (n, length, D) states, or `length` rows that lie one after the other, set b from offsets[b] on, or a
    table of which `places` names `length` rows."""
    dim, device = x.data.shape[-1] if x.data.ndim == 3 else x.dim, x.data.device
    pieces = 1 if mode in ("cls", "lasttoken") else max(1, blocks(length, PIECE.value))
    slots = n * pieces if offsets is None or pieces == 1 else length // PIECE.value + n
    heads, width = (1, min(dim, made.dim)) if query is None else query.shape  # without heads, no other column is read
    c, all_columns = columns_of(width), columns_of(max(heads * width, made.dim))
    part = torch.empty((slots, heads * width), dtype=torch.float32, device=device)
    side = torch.empty((slots, heads, 2), dtype=torch.float32, device=device)
    strides = x.data.stride()[:2] if x.data.ndim == 3 else (0, x.data.stride(0))
    launch(
        _piece_kernel, slots * heads, x.data, *strides, x.scale, x.ranges, weights, 0 if weights is None else weights.stride(0),
        offsets, places, counts, query, part, side, length, pieces, n, n.bit_length(), x.n, dim, width, heads, scale,
        KIND=x.kind, FLIP=x.flip, MODE=mode, GATHER=gather, SLICED=heads * width == dim and heads > 1, C=c, warps=warps_of(STEP.value * c),
    )  # fmt: skip
    launch(
        _finish_kernel, n, part, side, offsets, counts, *made.arguments, length, pieces, width, heads, made.dim,
        MODE=mode, PRECISION=made.precision, EPS=eps, C=all_columns, warps=warps_of(4 * all_columns),
    )  # fmt: skip
