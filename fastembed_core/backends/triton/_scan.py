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

import torch
import triton
import triton.language as tl

from ...ops.scores import Score
from . import interpreted
from ._allowed import Allowed, allowed
from ._canonical import EMPTY, NAN, from_dot, key_of, ordered
from ._launch import blocks, launch
from ._operand import Side
from ._queries import PLANES, Queries

LOW, HIGH = tl.constexpr(2.0**-100), tl.constexpr(2.0**100)  # squared norms inside: no product of theirs nears float32's ends
UNBOUNDED = tl.constexpr(-(2**31))  # the key of a group that must be looked at
DEEPEST = 1 << 14  # elements of a row up to which float32 norms are a thousandth off at most
ROWS = 128
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


@triton.jit(do_not_specialize=["n"])
def _squares_kernel(
    x, stride, squares, n, dim, width,
    KIND: tl.constexpr, FLIP: tl.constexpr, PLANES: tl.constexpr, TYPE: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr,
):  # fmt: skip
    rows = tl.program_id(0).to(tl.int64) * BN + tl.arange(0, BN)
    total = tl.zeros((BN,), tl.int32 if TYPE == "int8" else tl.float32)
    top = total
    for start in range(0, width, BK):
        column = start + tl.arange(0, BK)
        raw = tl.load(x + (rows * stride)[:, None] + column[None, :], mask=(rows < n)[:, None] & (column < width)[None, :], other=0)
        for p in tl.static_range(PLANES):
            more, largest = _squares(_plane(raw, p, KIND, FLIP, TYPE), column, dim, p, PLANES, TYPE)
            total += more
            top = tl.maximum(top, largest)
    if TYPE != "int8":
        total = tl.where((total == 0) & (top > 0), float("nan"), total)
    tl.store(squares + rows, total, mask=rows < n)


@triton.jit(do_not_specialize=["count", "n", "groups"])
def _scan_kernel(
    x, x_stride, x_scale, planes, bound, q_factor, q_square, squares, mask, mask_stride, keys,
    count, n, groups, dim, width, padded,
    METRIC: tl.constexpr, SIMILARITY: tl.constexpr, EXACT: tl.constexpr, PACKED: tl.constexpr, KIND: tl.constexpr, FLIP: tl.constexpr,
    PLANES: tl.constexpr, TYPE: tl.constexpr, SWAP: tl.constexpr, BQ: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, G: tl.constexpr,
):  # fmt: skip
    """keys[i, g]: the best key of query i among rows g * G to (g + 1) * G. SWAP has the rows as the product's first operand."""
    tiles = tl.cdiv(count, BQ)
    i = (tl.program_id(0) % tiles * BQ + tl.arange(0, BQ)).to(tl.int64)
    tile = (tl.program_id(0) // tiles).to(tl.int64)
    rows = tile * BN + tl.arange(0, BN)
    wanted, inside = i < count, rows < n
    own: tl.constexpr = squares is None and KIND != "signs"
    number: tl.constexpr = tl.int32 if TYPE == "int8" else tl.float32
    acc = tl.zeros((BN, BQ) if SWAP else (BQ, BN), number)
    total = tl.zeros((BN,), number)
    top = total
    x_at = x + (rows * x_stride)[:, None]
    q_at = planes + (i * padded)[:, None]
    for start in range(0, width, BK):
        column = start + tl.arange(0, BK)
        raw = tl.load(x_at + column[None, :], mask=inside[:, None] & (column < width)[None, :], other=0)
        for p in tl.static_range(PLANES):
            a = tl.load(q_at + (p * count).to(tl.int64) * padded + column[None, :], mask=wanted[:, None], other=0)
            b = _plane(raw, p, KIND, FLIP, TYPE)
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
            total = tl.where((total == 0) & (top > 0), float("nan"), total)
    elif KIND == "signs":
        total += dim
    else:
        total = tl.load(squares + rows, mask=inside, other=0)
    if EXACT:
        qq = tl.load(q_square + i, mask=wanted, other=0)[:, None]
        if METRIC == "jaccard":
            key = key_of(from_dot(dot.to(tl.float64), qq, total[None, :].to(tl.float64), 1.0, METRIC), SIMILARITY, False)
        elif METRIC == "ip":
            key = ~dot
        else:
            key = qq.to(tl.int32) + total[None, :] - 2 * dot
    else:
        dot, total = dot.to(tl.float32), total.to(tl.float32)
        error = tl.load(bound + i, mask=wanted, other=0)[:, None]
        zero = total == 0
        odd = ~(((total >= LOW) & (total <= HIGH)) | zero)
        norm = tl.sqrt_rn(total)
        if METRIC == "cosine":
            merit = (
                dot * tl.div_rn(tl.full(norm.shape, 1.0, tl.float32), tl.where(zero, 1.0, norm))[None, :]
            )  # and its error, which all rows share
            if x_scale is not None:
                odd = odd | ~(tl.abs(tl.load(x_scale + rows, mask=inside, other=0.0)) < float("inf"))
        else:
            if x_scale is not None:
                s = tl.load(x_scale + rows, mask=inside, other=0.0)
                total = total * s * s
                odd = odd | ~(((total >= LOW) & (total <= HIGH)) | zero | (s == 0))
                norm = norm * tl.abs(s)
                merit = dot * s[None, :] + error * norm[None, :]
            else:
                merit = dot + error * norm[None, :]
            if METRIC != "ip":
                half = 0.5 * tl.load(q_factor + i, mask=wanted, other=0)[:, None]
                slack = 1.0 - (dim * 4.8e-7 + 8e-6)
                merit = merit - half * (total * slack)[None, :]
        key = tl.where(odd[None, :] | (merit != merit), UNBOUNDED, ~ordered(merit))
    may = allowed(mask, mask_stride, i, rows, wanted[:, None] & inside[None, :], PACKED)
    best = tl.min(tl.reshape(tl.where(may, key, EMPTY), (BQ, BN // G, G)), axis=2)
    group = tile * (BN // G) + tl.arange(0, BN // G)
    tl.store(keys + (i * groups)[:, None] + group[None, :], best, mask=wanted[:, None] & (group < groups)[None, :])


def step_of(x: Side, kind: str) -> int:
    """Stored elements of a row that one step of a scan reads."""
    return 64 if x.kind in PLANES else STEPS[kind]


def squares_of(x: Side, kind: str) -> torch.Tensor:
    """(n,) sums of squares as a scan takes them: int32 exactly, or float32, NaN for what is not zero and yet comes out so."""
    squares = torch.empty(x.n, dtype=torch.int32 if kind == "int8" else torch.float32, device=x.data.device)
    launch(
        _squares_kernel, blocks(x.n, 64), *x.arguments[:2], squares, x.n, x.dim, x.data.shape[1],
        KIND=x.kind, FLIP=x.flip, PLANES=PLANES.get(x.kind, 1), TYPE=kind, BN=64, BK=step_of(x, kind),
    )  # fmt: skip
    return squares


def scan_keys(
    queries: Queries, x: Side, first: int, keys: torch.Tensor, group: int, score: Score, may: Allowed, kind: str,
    squares: torch.Tensor | None,
) -> None:  # fmt: skip
    """Fill keys (t, groups). Rows' squared norms are made on the way where none are given: for a single tile of queries."""
    t = keys.shape[0]
    swap = t <= 64
    tile = max(16, triton.next_power_of_2(t)) if swap else 128
    launch(
        _scan_kernel, blocks(t, tile) * blocks(x.n, ROWS), *x.arguments[:3], *queries, squares, *may.arguments(first), keys,
        t, x.n, keys.shape[1], x.dim, x.data.shape[1], queries.planes.shape[2],
        METRIC=score.metric, SIMILARITY=score.similarity, EXACT=is_exact(score), PACKED=may.packed, KIND=x.kind, FLIP=x.flip,
        PLANES=PLANES.get(x.kind, 1), TYPE=kind, SWAP=swap, BQ=tile, BN=ROWS, BK=step_of(x, kind), G=group,
        warps=4 if swap and x.kind not in PLANES else 8, stages=3,
    )  # fmt: skip


@triton.jit(do_not_specialize=["count", "groups"])
def _certify_kernel(keys, worst, bound, factor, square, flags, count, groups, METRIC: tl.constexpr, BLOCK: tl.constexpr):
    """flags[i, g] is 0 where no row of a group of that key can score as well as worst[i], rounded to float32 as it will be."""
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = place < count
    i = place // groups
    left_out, last = tl.load(keys + place, mask=inside, other=0), tl.load(worst + i, mask=inside, other=0)
    squared = tl.load(square + i, mask=inside, other=0)
    norm = tl.sqrt(squared)
    unit = 1.0 / tl.load(factor + i, mask=inside, other=1).to(tl.float64)
    similar: tl.constexpr = METRIC == "ip" or METRIC == "cosine"
    merit = _float_of(~left_out).to(tl.float64) * unit
    score = _float_of(~last if similar else last).to(tl.float64)
    huge = tl.full(score.shape, 3.4028234e38, tl.float64)
    score = tl.minimum(tl.maximum(score, -huge), huge)
    tiny = tl.full(score.shape, 2.0**-148, tl.float64)
    slack = tl.abs(score) * 2.0**-22 + tiny
    if METRIC == "ip":
        floor = score - slack
    elif METRIC == "cosine":
        floor = (score - slack) * norm
        merit += tl.load(bound + i, mask=inside, other=0).to(tl.float64) * unit
    else:
        far = score + slack
        if METRIC == "l2":
            far = far * far
        floor = (squared * (1 - 2.0**-40) - far) * 0.5
    bounded = (squared >= LOW) & (squared <= HIGH) & (last < NAN)
    certain = (left_out == EMPTY) | (bounded & (merit < floor))
    tl.store(flags + place, 1 - certain.to(tl.int32), mask=inside)


@triton.jit
def _float_of(bits):
    """The inverse of `ordered`."""
    return (bits ^ ((bits >> 31) & 0x7FFFFFFF)).to(tl.float32, bitcast=True)


def flags_of(keys: torch.Tensor, worst: torch.Tensor, queries: Queries, score: Score) -> torch.Tensor:
    """(t, groups) int32 from the groups' keys: 1 where bounds do not prove that all rows score worse than worst (t,), itself a key."""
    flags = torch.empty(keys.shape, dtype=torch.int32, device=keys.device)
    count, groups = keys.numel(), keys.shape[1]
    launch(_certify_kernel, blocks(count, 128), keys, worst, *queries[1:], flags, count, groups, METRIC=score.metric, BLOCK=128)
    return flags
