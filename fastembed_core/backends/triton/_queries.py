"""Queries as a scan multiplies them: centered, scaled, rounded, and laid in the planes that the corpus packs its elements in."""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl

from ._launch import launch
from ._operand import Side, elements
from ._rows import bfloat16_bits

PLANES = {"bits": 8, "signs": 8, "i4": 2}  # elements that one stored element of a corpus holds; 1 of any other kind
TYPES = {"int8": torch.int8, "fp16": torch.float16, "bf16": torch.bfloat16, "tf32": torch.float32}
BLOCK = tl.constexpr(1024)


class Queries(NamedTuple):
    """t queries; merits of floats are of what is in the planes, which is a query (less the center, for distances) times its scale."""

    planes: torch.Tensor  # (planes, t, width), zero where a row has ended
    bound: torch.Tensor  # (t,) float32: an estimate's error is at most this times the length of what stands for the row
    scale: torch.Tensor  # (t,) float32: what a query was multiplied by, NaN where its own scale is no positive number
    square: torch.Tensor  # (t,) float64 squared norms of what was multiplied by it
    reach: torch.Tensor | None = None  # (t,) float32: the length of what is in the planes, rounded up
    shift: torch.Tensor | None = None  # (t,) float64: at most what a merit leaves out, a similarity with the center


@triton.jit(do_not_specialize=["first", "count", "n", "dim", "width"])
def _queries_kernel(
    q, q_stride, q_scale, center, planes, bound, scale, square, reach, shift, base, first, count, n, dim, width, unit,
    KIND: tl.constexpr, FLIP: tl.constexpr, PLANES: tl.constexpr, TYPE: tl.constexpr, APART: tl.constexpr,
):  # fmt: skip
    """APART: the center is taken off the query, as distances take it off both; else its product with the query is the shift."""
    i = tl.program_id(0).to(tl.int64)
    row = first + i
    if base is not None:
        row = tl.load(base) + i
    there = row < n
    at = row * q_stride
    top = tl.zeros((BLOCK,), tl.float32)
    total = tl.zeros((BLOCK,), tl.float64)
    beside = tl.zeros((BLOCK,), tl.float64)
    far = tl.zeros((BLOCK,), tl.float64)
    for start in range(0, dim, BLOCK):
        column = start + tl.arange(0, BLOCK)
        v = elements(q, None, at, column, there & (column < dim), dim, KIND, FLIP)
        wide = v.to(tl.float64)
        if center is not None:
            c = tl.load(center + column, mask=column < dim, other=0).to(tl.float64)
            if APART:
                wide -= c
                v = wide.to(tl.float32)
            else:
                beside += wide * c
                far += c * c
        top = tl.maximum(top, tl.abs(v))
        total += wide * wide
    exponent = (tl.max(top, axis=0).to(tl.int32, bitcast=True) >> 23) & 255
    factor = (tl.where(exponent < 254, 254 - exponent, 127) << 23).to(tl.float32, bitcast=True)
    if TYPE == "int8":
        factor = factor * 0 + 1.0
    missed = tl.zeros((BLOCK,), tl.float64)
    kept = tl.zeros((BLOCK,), tl.float64)
    for start in range(0, dim, BLOCK):
        column = start + tl.arange(0, BLOCK)
        wide = elements(q, None, at, column, there & (column < dim), dim, KIND, FLIP).to(tl.float64)
        if APART:
            wide -= tl.load(center + column, mask=column < dim, other=0).to(tl.float64)
        wide *= factor.to(tl.float64)
        v = wide.to(tl.float32)
        place = planes + ((column % PLANES) * count + i) * width + column // PLANES
        if TYPE == "int8":
            rounded = v
            tl.store(place, v.to(tl.int8), mask=column < dim)
        elif TYPE == "fp16":
            rounded = v.to(tl.float16).to(tl.float32)
            tl.store(place, v.to(tl.float16), mask=column < dim)
        elif TYPE == "bf16":
            bits = bfloat16_bits(v)
            rounded = (bits.to(tl.int32) << 16).to(tl.float32, bitcast=True)
            tl.store(place, bits, mask=column < dim)
        else:
            rounded = v
            tl.store(place, v, mask=column < dim)
        error = wide - rounded.to(tl.float64)
        missed += error * error
        kept += rounded.to(tl.float64) * rounded.to(tl.float64)
    wide = tl.sqrt(tl.sum(missed, axis=0)) + unit * tl.sqrt(tl.sum(kept, axis=0))
    squared = tl.sum(total, axis=0)
    if shift is not None:
        slack = (dim + 64) * 2.0**-50 * tl.sqrt(squared) * tl.sqrt(tl.sum(far, axis=0))
        tl.store(shift + i, tl.sum(beside, axis=0) + slack)
    if reach is not None:
        tl.store(reach + i, (tl.sqrt(squared) * factor.to(tl.float64) * 1.01).to(tl.float32))  # rounded up, and for what follows
    if q_scale is not None:  # the values are those of the codes times this, and merits are of the codes
        s = tl.load(q_scale + row, mask=there, other=0.0)
        factor = tl.where(s > 0, 1.0 / s, float("nan"))
        squared *= s.to(tl.float64) * s.to(tl.float64)
    tl.store(bound + i, (wide * 1.01).to(tl.float32))  # rounded up, and for norms of rows that are a thousandth off
    tl.store(scale + i, factor)
    tl.store(square + i, squared)


def prepared(
    q: Side, x: Side, first: int, t: int, kind: str, step: int, center: torch.Tensor | None = None, apart: bool = False,
    base: torch.Tensor | None = None,
) -> Queries:  # fmt: skip
    """Queries first to first + t for a scan of x that multiplies in `kind` and reads `step` stored elements at a time; apart: of x and
    queries less the center. The first of them is base[0] where that is given; of the t some may lie behind the last."""
    apart = apart and center is not None
    planes = PLANES.get(x.kind, 1)
    width = -(-x.data.shape[1] // step) * step
    device = x.data.device

    def space(dtype: torch.dtype, wanted: bool = True) -> torch.Tensor | None:
        return torch.empty(t, dtype=dtype, device=device) if wanted else None

    made = Queries(
        torch.zeros((planes, t, width), dtype=TYPES[kind], device=device),
        *(space(torch.float32), space(torch.float32), space(torch.float64)),
        *(space(torch.float32, center is not None), space(torch.float64, center is not None and not apart)),
    )
    stored = made.planes.view(torch.int16) if kind == "bf16" else made.planes
    launch(
        _queries_kernel, t, *q.arguments[:3], center, stored, *made[1:], base, first, t, q.n, q.dim, width, unit_of(q.dim, kind),
        KIND=q.kind, FLIP=q.flip, PLANES=planes, TYPE=kind, APART=apart, warps=8,
    )  # fmt: skip
    return made


def unit_of(dim: int, kind: str) -> float:
    """The error of a product over the product of the lengths.

    Tensor cores add in truncated steps, hence 2**-22 a term, and truncate both TF32 operands; as much again for the norms of rows,
    and a few roundings after the product.
    """
    return 2 * dim * 2.0**-22 + 2.0**-18 + (2.0**-9 + 2.0**-18 if kind == "tf32" else 0.0)
