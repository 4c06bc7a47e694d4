"""Tensor-core scans: exact scores of integers, and upper bounds of the merits of floats.

A merit is larger for better rows, and canonical scores are monotone in it:

==================  ======================  ===================================
metric              merit of (q, x)         the score from it
==================  ======================  ===================================
ip                  q.x                     merit
cosine              q.x / |x|               merit / |q|
l2, sqeuclidean     q.x - |x|^2 / 2         |q|^2 - 2 merit, or its square root
==================  ======================  ===================================
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import triton
import triton.language as tl

from ...ops.scores import Score
from . import interpreted
from ._allowed import Allowed, allowed
from ._canonical import EMPTY, NAN, from_dot, key_of, ordered
from ._launch import blocks, launch
from ._operand import Beside, Side
from ._queries import PLANES, Queries, prepared
from ._tiles import SOME, Tile, tile_of

LOW, HIGH = tl.constexpr(2.0**-100), tl.constexpr(2.0**100)  # squared norms inside: no product of theirs nears float32's ends
UNBOUNDED = tl.constexpr(-(2**31))  # the key of a group that must be looked at
DEEPEST = 1 << 14  # elements of a row up to which float32 norms are a thousandth off at most
STEPS = {"int8": 128, "fp16": 64, "bf16": 64, "tf32": 32}


def is_exact(score: Score) -> bool:
    """Whether a scan gives scores themselves and not bounds: of integers, where float64 or int32 can tell all of them apart."""
    return score.form == "bits" or score.dtype.name == "int32"


def kind_of(q: Side, x: Side, score: Score) -> str | None:
    """The type that a scan of x multiplies in; None where only canonical scores will do."""
    if q.ranges is not None or x.ranges is not None or (x.dim > DEEPEST and not is_exact(score)):
        return None
    if score.form != "float":
        return None if x.kind == "u8" else "int8"
    if x.kind == "bf16" and not interpreted():  # whose products of bfloat16 are wrong
        return "bf16"
    return "tf32" if x.kind in ("f32", "f64", "bf16") else "fp16"


@triton.jit
def _plane(raw, P: tl.constexpr, KIND: tl.constexpr, FLIP: tl.constexpr, TYPE: tl.constexpr):
    """The P-th of the elements that each stored element holds, in the type that is multiplied."""
    if KIND == "bits":
        value = ((raw ^ FLIP) >> (7 - P)) & 1
    elif KIND == "signs":
        value = (((raw ^ FLIP) >> (7 - P)) & 1).to(tl.int8) * 2 - 1
    elif KIND == "i4":
        value = ((raw >> (4 * P)) & 15).to(tl.int8) - 8
    elif KIND == "bf16":
        value = raw.to(tl.bfloat16, bitcast=True) if TYPE == "bf16" else (raw.to(tl.int32) << 16).to(tl.float32, bitcast=True)
    else:
        value = raw
    if TYPE == "int8":
        value = value.to(tl.int8)
    elif TYPE == "fp16":
        value = value.to(tl.float16)
    elif TYPE == "tf32":
        value = value.to(tl.float32)
    return value


@triton.jit
def _squares(value, column, dim, P: tl.constexpr, PLANES: tl.constexpr, TYPE: tl.constexpr):
    """The sum of squares of a block, and the largest magnitude; pad bits and nibbles count for nothing."""
    wide = value.to(tl.int32 if TYPE == "int8" else tl.float32)
    if PLANES > 1:
        wide = tl.where((column * PLANES + P < dim)[None, :], wide, 0)
    return tl.sum(wide * wide, axis=1), tl.max(tl.abs(wide), axis=1)


@triton.jit(do_not_specialize=["n", "stride", "width"])
def _squares_kernel(
    x, stride, squares, n, dim, width,
    KIND: tl.constexpr, FLIP: tl.constexpr, PLANES: tl.constexpr, TYPE: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr,
    UNIT: tl.constexpr,
):  # fmt: skip
    rows = tl.program_id(0).to(tl.int64) * BN + tl.arange(0, BN)
    total = tl.zeros((BN,), tl.int32 if TYPE == "int8" else tl.float32)
    top = total
    x_at = x + (rows * stride * UNIT)[:, None]
    for start in range(0, width * UNIT, BK):
        column = start + tl.arange(0, BK)
        raw = tl.load(x_at + column[None, :], mask=(rows < n)[:, None] & (column < width * UNIT)[None, :], other=0)
        for p in tl.static_range(PLANES):
            more, largest = _squares(_plane(raw, p, KIND, FLIP, TYPE), column, dim, p, PLANES, TYPE)
            total += more
            top = tl.maximum(top, largest)
    if TYPE != "int8":
        total = tl.where((total == 0) & (top > 0), float("inf"), total)
    tl.store(squares + rows, total, mask=rows < n)


@triton.jit
def _bound_key(merit):
    """The key of an upper bound. -inf is none: what a tiny query is scaled by takes the squares of long rows beyond float32."""
    return tl.where((merit != merit) | (merit == float("-inf")), UNBOUNDED, ~ordered(merit))


@triton.jit(do_not_specialize=["count", "n", "groups", "x_stride", "width"])
def _scan_kernel(
    x, x_stride, x_scale, center, error, length, bias, planes, bound, q_factor, q_square, reach, squares, mask, mask_stride, flags, keys,
    count, n, groups, dim, width, padded,
    METRIC: tl.constexpr, SIMILARITY: tl.constexpr, EXACT: tl.constexpr, PACKED: tl.constexpr, KIND: tl.constexpr, FLIP: tl.constexpr,
    PLANES: tl.constexpr, TYPE: tl.constexpr, SWAP: tl.constexpr, BQ: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, G: tl.constexpr,
    UNIT: tl.constexpr,
):  # fmt: skip
    """keys[i, g]: the best key of query i among rows g * G to (g + 1) * G. SWAP has the rows as the product's first operand.

    x are rows, less the center where there is one, or (error, length, bias) codes beside rows.
    """
    tiles = tl.cdiv(count, BQ)
    i = (tl.program_id(0) % tiles * BQ + tl.arange(0, BQ)).to(tl.int64)
    tile = (tl.program_id(0) // tiles).to(tl.int64)
    rows = tile * BN + tl.arange(0, BN)
    wanted, inside = i < count, rows < n
    if flags is not None:
        wanted = wanted & (tl.load(flags + i, mask=wanted, other=0) != 0)
        if tl.max(wanted.to(tl.int32), axis=0) == 0:
            return
    own: tl.constexpr = squares is None and KIND != "signs" and error is None
    number: tl.constexpr = tl.int32 if TYPE == "int8" else tl.float32
    acc = tl.zeros((BN, BQ) if SWAP else (BQ, BN), number)
    total = tl.zeros((BN,), number)
    top = total
    x_at = x + (rows * x_stride * UNIT)[:, None]
    q_at = planes + (i * padded)[:, None]
    for start in range(0, width * UNIT, BK):
        column = start + tl.arange(0, BK)
        raw = tl.load(x_at + column[None, :], mask=inside[:, None] & (column < width * UNIT)[None, :], other=0)
        for p in tl.static_range(PLANES):
            a = tl.load(q_at + (p * count).to(tl.int64) * padded + column[None, :], mask=wanted[:, None], other=0)
            b = _plane(raw, p, KIND, FLIP, TYPE)
            if center is not None:
                b -= tl.load(center + column, mask=column < dim, other=0.0)[None, :]
            if SWAP:
                acc = tl.dot(b, tl.trans(a), acc, input_precision="tf32", out_dtype=number)
            else:
                acc = tl.dot(a, tl.trans(b), acc, input_precision="tf32", out_dtype=number)
            if own:
                more, largest = _squares(b, column, dim, p, PLANES, TYPE)
                total += more
                top = tl.maximum(top, largest)
    dot = tl.trans(acc) if SWAP else acc
    if own:
        if TYPE != "int8":
            total = tl.where((total == 0) & (top > 0), float("inf"), total)
    elif KIND == "signs":
        total += dim
    elif error is None:
        total = tl.load(squares + rows, mask=inside, other=0)
    if EXACT:
        qq = tl.load(q_square + i, mask=wanted, other=0)[:, None]
        if METRIC == "jaccard":
            key = key_of(from_dot(dot.to(tl.float64), qq, total[None, :].to(tl.float64), 1.0, METRIC), SIMILARITY, False)
        elif METRIC == "ip":
            key = ~dot
        else:
            key = qq.to(tl.int32) + total[None, :] - 2 * dot
    elif error is not None:
        slack_q = tl.load(bound + i, mask=wanted, other=0)[:, None]
        reach_q = tl.load(reach + i, mask=wanted, other=0)[:, None]
        s = tl.load(x_scale + rows, mask=inside, other=0)[None, :]
        y = tl.load(length + rows, mask=inside, other=0)[None, :]
        r = tl.load(error + rows, mask=inside, other=0)[None, :]
        merit = dot * s + slack_q * y + reach_q * r
        if bias is not None:
            less = tl.load(bias + rows, mask=inside, other=0) * (1.0 - 2.0**-19)
            merit = merit + tl.load(q_factor + i, mask=wanted, other=0)[:, None] * less[None, :]
        key = _bound_key(merit)
    else:
        dot, total = dot.to(tl.float32), total.to(tl.float32)
        slack_q = tl.load(bound + i, mask=wanted, other=0)[:, None]
        zero = total == 0
        nothing = total != total  # a row that holds a NaN: so is its score, with any query
        odd = ~(((total >= LOW) & (total <= HIGH)) | zero)
        norm = tl.sqrt_rn(total)
        if METRIC == "cosine":
            merit = (
                dot * tl.div_rn(tl.full(norm.shape, 1.0, tl.float32), tl.where(zero, 1.0, norm))[None, :]
            )  # and its error, which all rows share
            if x_scale is not None:
                s = tl.load(x_scale + rows, mask=inside, other=0.0)
                odd = odd | ~(tl.abs(s) < float("inf"))
                nothing = nothing | (s != s)
        else:
            if x_scale is not None:
                s = tl.load(x_scale + rows, mask=inside, other=0.0)
                nothing = nothing | (s != s)
                total = total * s * s
                odd = odd | ~(((total >= LOW) & (total <= HIGH)) | zero | (s == 0))
                norm = norm * tl.abs(s)
                merit = dot * s[None, :] + slack_q * norm[None, :]
            else:
                merit = dot + slack_q * norm[None, :]
            if METRIC != "ip":
                half = 0.5 * tl.load(q_factor + i, mask=wanted, other=0)[:, None]
                slack = 1.0 - (dim * 4.8e-7 + 8e-6)
                merit = merit - half * (total * slack)[None, :]
        key = tl.where(odd[None, :], UNBOUNDED, _bound_key(merit))
        key = tl.where(nothing[None, :], NAN, key)
    may = allowed(mask, mask_stride, i, rows, wanted[:, None] & inside[None, :], PACKED)
    best = tl.min(tl.reshape(tl.where(may, key, EMPTY), (BQ, BN // G, G)), axis=2)
    group = tile * (BN // G) + tl.arange(0, BN // G)
    tl.store(keys + (i * groups)[:, None] + group[None, :], best, mask=wanted[:, None] & (group < groups)[None, :])


def step_of(x: Side, kind: str) -> int:
    """Stored elements of a row that one step of a scan reads."""
    return 64 if x.kind in PLANES else STEPS[kind]


def unit_and_extent(x: Side) -> tuple[int, int, int]:
    """(unit, stride, width): of rows' strides and widths in stored elements the largest unit up to 16 that divides both, and how many of
    it they are. A kernel compiled for a unit of 16 bytes reads as many at once: rows of 300 floats by 4, not one by one."""
    stride, width = x.data.stride(0), x.data.shape[1]
    unit = math.gcd(stride, width, 16)
    return unit, stride // unit, width // unit


def squares_of(x: Side, kind: str) -> torch.Tensor:
    """(n,) sums of squares as a scan takes them: int32 exactly, or float32, inf for what is not zero and yet comes out so."""
    squares = torch.empty(x.n, dtype=torch.int32 if kind == "int8" else torch.float32, device=x.data.device)
    unit, stride, width = unit_and_extent(x)
    launch(
        _squares_kernel, blocks(x.n, 64), x.data, stride, squares, x.n, x.dim, width,
        KIND=x.kind, FLIP=x.flip, PLANES=PLANES.get(x.kind, 1), TYPE=kind, BN=64, BK=step_of(x, kind), UNIT=unit,
    )  # fmt: skip
    return squares


class Scan(NamedTuple):
    """What a scan reads, and what it multiplies in."""

    x: Side
    kind: str
    center: torch.Tensor | None = None  # (D,) float32 that is taken off the rows, or was before they were coded
    beside: Beside | None = None  # x are codes beside rows

    def tile(self, t: int) -> Tile:
        return tile_of(self.kind, PLANES.get(self.x.kind, 1), t)


def scan_keys(
    scan: Scan, q: Side, first: int, keys: torch.Tensor, group: int, score: Score, may: Allowed,
    squares: torch.Tensor | None = None, flags: torch.Tensor | None = None,
) -> Queries:  # fmt: skip
    """Fill keys (t, groups) for queries first to first + t, those flagged where flags is given; the queries as they were multiplied.

    Rows' squared norms are made on the way where none are given: for a single tile of queries.
    """
    x, kind, center, beside = scan
    data = x.data.view(torch.bfloat16) if kind == "bf16" else x.data  # as bits they would pass through registers to be multiplied
    t = keys.shape[0]
    tile = scan.tile(t)
    swap = t <= SOME
    queries = prepared(q, x, first, t, kind, tile.step, center, score.metric in ("l2", "sqeuclidean"))
    unit, stride, width = unit_and_extent(x)
    launch(
        _scan_kernel, blocks(t, tile.queries) * blocks(x.n, tile.rows), data, stride, x.scale, None if beside else center,
        *(beside or (None, None, None)), *queries[:5], squares, *may.arguments(first), flags, keys,
        t, x.n, keys.shape[1], x.dim, width, queries.planes.shape[2],
        METRIC=score.metric, SIMILARITY=score.similarity, EXACT=is_exact(score), PACKED=may.packed, KIND=x.kind, FLIP=x.flip,
        PLANES=PLANES.get(x.kind, 1), TYPE=kind, SWAP=swap, BQ=tile.queries, BN=tile.rows, BK=tile.step, G=group, UNIT=unit,
        warps=tile.warps, stages=tile.stages,
    )  # fmt: skip
    return queries
