"""Codes: quantized vectors together with what is needed to read them."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

ROW_PRECISIONS = ("int8_row", "int4_row")  # symmetric, one float32 scale a row
DIM_PRECISIONS = ("int8", "uint8")  # sentence-transformers' per-dimension ranges
BIT_PRECISIONS = ("binary", "ubinary")  # packed, most significant bit first
PRECISIONS = ROW_PRECISIONS + DIM_PRECISIONS + BIT_PRECISIONS

STORAGE = {"int8_row": "int8", "int4_row": "uint8", "int8": "int8", "uint8": "uint8", "binary": "int8", "ubinary": "uint8"}


def dtype_name(dtype: Any) -> str:
    """A numpy or torch dtype's name without its library's."""
    return _numpy_name(dtype) if isinstance(dtype, np.dtype) else str(dtype).removeprefix("torch.")


@functools.cache
def _numpy_name(dtype: np.dtype) -> str:
    """numpy takes microseconds to spell one."""
    return dtype.name


def _dtype_of(x: Any) -> str:
    """What x's elements are, or what x is where it has none."""
    return dtype_name(x.dtype) if hasattr(x, "dtype") else type(x).__name__


def code_width(precision: str, dim: int) -> int:
    """Bytes a row of `dim` elements takes in `precision`."""
    if precision in BIT_PRECISIONS:
        return (dim + 7) // 8
    return (dim + 1) // 2 if precision == "int4_row" else dim


@dataclass(frozen=True, eq=False)
class Codes:
    """Quantized vectors, as `quantize` returns them and every search takes them.

    Attributes
    ----------
    data : (N, width) int8 or uint8, numpy or torch
        ``int8_row``, ``int8``: int8 (N, dim). ``uint8``: uint8 (N, dim). ``ubinary``: uint8 (N, ceil(dim / 8)),
        most significant bit first, a bit is ``x > 0``; ``binary`` is ``ubinary ^ 0x80`` as int8.
        ``int4_row``: uint8 (N, ceil(dim / 2)); element 2i is the low nibble of byte i, element 2i + 1 the high one,
        a nibble is code + 8 with codes in [-7, 7]; an odd dim leaves a last high nibble that is ignored.
    precision : one of ``int8_row``, ``int4_row``, ``int8``, ``uint8``, ``binary``, ``ubinary``
    dim : elements per vector (for bits and nibbles not implied by the width)
    scale : (N,) float32, only for ``*_row``: the row's value is ``scale * code``
    ranges : (2, dim) float32 (minimum, maximum), only for ``int8`` and ``uint8``: the value is
        ``minimum + (maximum - minimum) / 255 * u`` with u the unsigned code (``int8`` = u - 128)
    """

    data: Any
    precision: str
    dim: int
    scale: Any = None
    ranges: Any = None

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision: got {self.precision!r}, expected one of {', '.join(PRECISIONS)}")
        storage = _dtype_of(self.data)
        if storage != STORAGE[self.precision]:
            raise TypeError(f"data: got {storage} for {self.precision} codes, expected {STORAGE[self.precision]}")
        width = code_width(self.precision, self.dim)
        if self.data.ndim != 2 or self.data.shape[1] != width:
            raise ValueError(
                f"data: got shape {tuple(self.data.shape)} for {self.precision} codes of dim {self.dim}, expected (N, {width})"
            )
        self._check("scale", self.precision in ROW_PRECISIONS, (self.data.shape[0],), required=True)
        self._check("ranges", self.precision in DIM_PRECISIONS, (2, self.dim), required=False)

    def _check(self, name: str, used: bool, shape: tuple[int, ...], required: bool) -> None:
        value = getattr(self, name)
        if value is None:
            if used and required:
                raise ValueError(f"{name}: got None for {self.precision} codes, expected float32 of shape {shape}")
            return
        if not used:
            raise ValueError(f"{name}: got an array for {self.precision} codes, which have none")
        dtype = _dtype_of(value)
        if dtype != "float32" or tuple(value.shape) != shape:
            raise ValueError(f"{name}: got {dtype} of shape {tuple(getattr(value, 'shape', ()))}, expected float32 of shape {shape}")

    def __len__(self) -> int:
        return int(self.data.shape[0])

    def __getitem__(self, rows: Any) -> Codes:
        """The codes of some rows (a slice or an index array); a slice is a view."""
        if isinstance(rows, int):
            raise TypeError("rows: got an int, expected a slice or an index array")
        scale = None if self.scale is None else self.scale[rows]
        return Codes(self.data[rows], self.precision, self.dim, scale, self.ranges)

    @property
    def shape(self) -> tuple[int, int]:
        """(N, dim), the shape of the vectors the codes stand for."""
        return len(self), self.dim

    @property
    def nbytes(self) -> int:
        """Bytes of the codes and their scales."""
        return int(self.data.nbytes) + (0 if self.scale is None else int(self.scale.nbytes))

    def __repr__(self) -> str:
        return f"Codes({len(self)} x {self.dim}, {self.precision})"


def made(data: Any, precision: str, dim: int, scale: Any = None, ranges: Any = None) -> Codes:
    """What a kernel has made: Codes without their checks, which take a small call longer than its kernel."""
    codes = object.__new__(Codes)
    codes.__dict__.update(data=data, precision=precision, dim=dim, scale=scale, ranges=ranges)
    return codes
