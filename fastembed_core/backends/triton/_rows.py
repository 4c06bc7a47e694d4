"""The end of every embedding: rows in registers, divided by their length and written as floats, codes or bits."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl

from ...codes import ROW_PRECISIONS, STORAGE, code_width
from ...dispatch import Unsupported

LONGEST = 1 << 14  # elements of a row held in registers
TILE = 1 << 12  # elements a program works on where rows are short


class Output(NamedTuple):
    """Where rows go."""

    codes: torch.Tensor
    scale: torch.Tensor | None
    ranges: torch.Tensor | None  # (2, dim) float32 minimum and maximum
    precision: str
    dim: int

    @property
    def arguments(self) -> tuple[Any, ...]:
        data = self.codes.view(torch.int16) if self.precision == "bfloat16" else self.codes
        return data, self.codes.stride(0), self.scale, self.ranges


def output(n: int, dim: int, precision: str, ranges: Any, device: torch.device) -> Output:
    """Space for n rows of `dim` elements in `precision`: a float type or one of `codes.PRECISIONS`."""
    width = code_width(precision, dim) if precision in STORAGE else dim
    codes = torch.empty((n, width), dtype=getattr(torch, STORAGE.get(precision, precision)), device=device)
    scale = torch.empty(n, dtype=torch.float32, device=device) if precision in ROW_PRECISIONS else None
    return Output(codes, scale, ranges, precision, dim)


def columns_of(dim: int) -> int:
    """A power of two of columns that holds a row and whole bytes of its bits."""
    if dim > LONGEST:
        raise Unsupported(f"its kernels hold rows of at most {LONGEST} elements, and these have {dim}")
    return max(16, triton.next_power_of_2(dim))


def warps_of(elements: int) -> int:
    return min(16, max(1, elements // 1024))


@triton.jit
def bfloat16_bits(x):
    """float32 rounded to nearest even as the bits of bfloat16; the interpreter's own conversion truncates."""
    bits = x.to(tl.int32, bitcast=True)
    rounded = (bits + ((bits >> 16) & 1) + 0x7FFF) >> 16
    return tl.where(x == x, rounded, 0x7FC0).to(tl.int16)


@triton.jit
def unit(x, EPS: tl.constexpr):
    """float32 rows (R, C) over max(length, EPS), by way of float64 as `ops.normalize` has it."""
    wide = x.to(tl.float64)
    norm = tl.sqrt(tl.sum(wide * wide, axis=1))
    least = tl.full(norm.shape, EPS, tl.float64)
    norm = tl.where(norm < least, least, norm)  # NaN stays
    return (wide * (1.0 / norm)[:, None]).to(tl.float32)


@triton.jit
def _coded(x, scale, LEVELS: tl.constexpr):
    """rint(x / scale), half to even, by the float32 whose last place is 1; 0 where a row has no scale."""
    quotient = tl.div_rn(x, tl.broadcast_to(tl.where(scale > 0, scale, float("inf"))[:, None], x.shape))
    quotient = tl.where(quotient == quotient, quotient, 0.0)
    quotient = tl.minimum(tl.maximum(quotient, -LEVELS), LEVELS)
    return ((quotient + 12582912.0) - 12582912.0).to(tl.int32)


@triton.jit
def emit(x, out, out_stride, out_scale, ranges, rows, valid, dim, PRECISION: tl.constexpr, R: tl.constexpr, C: tl.constexpr):
    """Write float32 rows x (R, C), zero beyond `dim`, to rows `rows` (int64) of the output."""
    columns = tl.arange(0, C)[None, :]
    at = out + (rows * out_stride)[:, None]
    inside = valid[:, None] & (columns < dim)
    if PRECISION == "float32":
        tl.store(at + columns, x, mask=inside)
    elif PRECISION == "float16":
        tl.store(at + columns, x.to(tl.float16), mask=inside)
    elif PRECISION == "bfloat16":
        tl.store(at + columns, bfloat16_bits(x), mask=inside)
    elif PRECISION == "int8_row" or PRECISION == "int4_row":
        levels: tl.constexpr = 127.0 if PRECISION == "int8_row" else 7.0
        finite = tl.abs(x) < float("inf")
        top = tl.max(tl.where(finite, tl.abs(x), 0.0), axis=1)
        whole = tl.min(finite.to(tl.int32), axis=1) > 0
        scale = tl.where(whole, tl.div_rn(top, tl.full(top.shape, levels, tl.float32)), float("nan"))
        tl.store(out_scale + rows, scale, mask=valid)
        codes = _coded(x, scale, levels)
        if PRECISION == "int8_row":
            tl.store(at + columns, codes.to(tl.int8), mask=inside)
        else:
            pairs = tl.reshape(codes + 8, (R, C // 2, 2)) << (tl.arange(0, 2) * 4)[None, None, :]
            bytes_ = tl.arange(0, C // 2)[None, :]
            tl.store(at + bytes_, tl.sum(pairs, axis=2).to(tl.uint8), mask=valid[:, None] & (bytes_ < (dim + 1) // 2))
    elif PRECISION == "int8" or PRECISION == "uint8":
        low = tl.load(ranges + columns, mask=columns < dim, other=0.0)
        high = tl.load(ranges + dim + columns, mask=columns < dim, other=0.0)
        step = tl.div_rn(high - low, tl.full(low.shape, 255.0, tl.float32))
        step = tl.where(step == 0, 1.0, step)
        u = tl.div_rn(x - low, tl.broadcast_to(step, x.shape))
        u = tl.where(u == u, u, 0.0)
        u = tl.minimum(tl.maximum(u, 0.0), 255.0).to(tl.int32)  # rounded down, for nothing is below 0
        if PRECISION == "int8":
            tl.store(at + columns, (u - 128).to(tl.int8), mask=inside)
        else:
            tl.store(at + columns, u.to(tl.uint8), mask=inside)
    else:
        flags = tl.reshape(((x > 0) & inside).to(tl.int32), (R, C // 8, 8)) << (7 - tl.arange(0, 8))[None, None, :]
        packed = tl.sum(flags, axis=2)
        bytes_ = tl.arange(0, C // 8)[None, :]
        written = valid[:, None] & (bytes_ < (dim + 7) // 8)
        if PRECISION == "binary":
            tl.store(at + bytes_, (packed - 128).to(tl.int8), mask=written)
        else:
            tl.store(at + bytes_, packed.to(tl.uint8), mask=written)
