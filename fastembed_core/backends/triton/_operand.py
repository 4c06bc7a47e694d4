"""One side of a search as kernels take it, and the one place that knows how an element of each storage kind is read."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
import triton
import triton.language as tl

from ...operands import Rows
from ...ops.scores import Score
from ...scan_codes import ScanCodes
from ._launch import beside

STORAGE = {"bits": torch.uint8, "bf16": torch.int16}  # how kernels see kinds that they take apart bit by bit


VALUES = Score("ip", "float", np.dtype(np.float32))  # codes read for what they stand for, bits as -1 and 1


class Side(NamedTuple):
    """Tensors on one device. kind is `Rows.kind`, "signs" for bits that stand for -1 and 1."""

    data: torch.Tensor  # (n, width), elements of a row side by side; (B, T, D) of token states
    scale: torch.Tensor | None  # (n,) float32
    ranges: torch.Tensor | None  # (2, dim) float32 minimum and step
    kind: str
    flip: int
    dim: int

    @property
    def n(self) -> int:
        return int(self.data.shape[0])

    @property
    def arguments(self) -> tuple[Any, ...]:
        """What a kernel takes for this operand: data, its stride, scale, ranges."""
        return self.data, self.data.stride(0), self.scale, self.ranges


class Beside(NamedTuple):
    """What `scan_codes` says of the rows that codes stand beside, each (n,) float32."""

    error: torch.Tensor  # at least the length of what a row's code leaves out, NaN where it has none
    length: torch.Tensor  # at least that of the code
    bias: torch.Tensor | None  # minus half the squared distance from the center, for distances


def codes_of(scan: ScanCodes, device: torch.device) -> tuple[Side, torch.Tensor, Beside]:
    """int8 codes beside rows as an operand, their center, and what bounds them."""
    parts = {name: beside(array, device) for name, array in scan.arrays.items()}
    data, error, length = parts["codes"], parts["error"], parts["norm"]
    center = beside(scan.center, device)
    assert data is not None and error is not None and length is not None and center is not None
    return Side(data, parts["scale"], None, "i8", 0, int(data.shape[1])), center, Beside(error, length, parts.get("bias"))


def side_of(rows: Rows, score: Score, device: torch.device) -> Side:
    """The operand on `device`, as `score` reads it."""
    x = rows.to_torch(str(device))
    data = x.data.detach()
    signs = x.kind == "bits" and score.form == "float"
    ranges = x.ranges if score.form == "float" else None
    return Side(
        data.view(STORAGE.get(x.kind, data.dtype)),
        beside(x.scale, device),
        beside(ranges, device),
        "signs" if signs else x.kind,
        x.flip,
        x.dim,
    )


@triton.jit
def widened(stored, KIND: tl.constexpr):
    """Numbers as float32; of bfloat16 the bits (Triton's interpreter flushes its subnormal numbers)."""
    if KIND == "bf16":
        value = (stored.to(tl.int32) << 16).to(tl.float32, bitcast=True)
    else:
        value = stored.to(tl.float32)
    return value


@triton.jit
def elements(data, ranges, rows, columns, valid, dim, KIND: tl.constexpr, FLIP: tl.constexpr):
    """float32 elements, as stored or dequantized by ranges and before any scale; 0 where not valid.

    data points at row 0; rows (int64) are offsets of rows in elements. Every kind's values are float32 numbers, float64's
    rounded to them.
    """
    if KIND == "bits" or KIND == "signs":
        packed = tl.load(data + (rows + columns // 8), mask=valid, other=0).to(tl.int32) ^ FLIP
        bit = (packed >> (7 - columns % 8)) & 1
        value = (bit if KIND == "bits" else 2 * bit - 1).to(tl.float32)
    elif KIND == "i4":
        packed = tl.load(data + (rows + columns // 2), mask=valid, other=0).to(tl.int32)
        value = (((packed >> (columns % 2 * 4)) & 15) - 8).to(tl.float32)
    else:
        value = widened(tl.load(data + (rows + columns), mask=valid, other=0), KIND)
        if ranges is not None:
            inside = columns < dim
            low = tl.load(ranges + columns, mask=inside, other=0).to(tl.float64)
            step = tl.load(ranges + dim + columns, mask=inside, other=0).to(tl.float64)
            unsigned = value.to(tl.float64) + (128 if KIND == "i8" else 0)
            value = (step * unsigned + low).to(tl.float32)
    return tl.where(valid, value, 0.0)
