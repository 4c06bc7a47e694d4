"""What normalize, quantize and pool share: a float operand whose rows are independent, and the arrays its results go into."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..arrays import FLOAT_KINDS, KIND_OF_DTYPE, Origin, intake
from ..checks import integer_of
from ..operands import check_matrix

_BLOCK_BYTES = 1 << 22  # of a copy made because rows lie in no order a kernel reads


def floats_of(x: Any, name: str) -> tuple[Any, str, Origin]:
    """(data, kind, origin) of a float array, of any layout."""
    data, dtype, origin = intake(x, name)
    kind = KIND_OF_DTYPE.get(dtype, "")
    if kind not in FLOAT_KINDS:
        raise TypeError(f"{name}: got {dtype}, expected float32, float16, bfloat16 or float64")
    return data, kind, origin


def matrix_of(x: Any, name: str) -> tuple[Any, str, Origin]:
    """`floats_of` for what must be (rows, elements)."""
    data, kind, origin = floats_of(x, name)
    check_matrix(data, name)
    return data, kind, origin


def tracked(data: Any) -> bool:
    """Whether a gradient flows through `data`, as `intake` left it."""
    return not isinstance(data, np.ndarray) and bool(data.requires_grad)


def dim_of(truncate_dim: Any, dim: int) -> int:
    """The elements of a vector that `truncate_dim` keeps; None keeps all."""
    if truncate_dim is None:
        return dim
    kept = integer_of(truncate_dim, "truncate_dim")
    if not 1 <= kept <= dim:
        raise ValueError(f"truncate_dim: got {kept}, expected 1 to {dim}, the elements of a vector")
    return kept


def output_of(out: Any, shape: tuple[int, ...], dtype: str, origin: Origin, beside: str = "x") -> Any:
    """The checked `out=` array as the cells see it: a writable view of host memory, or a tensor on the operand's device."""
    data, got, out_origin = intake(out, "out")
    if got != dtype or tuple(data.shape) != shape:
        raise ValueError(f"out: got {got} of shape {tuple(data.shape)}, expected {dtype} of shape {shape}")
    if out_origin.device != origin.device:
        raise ValueError(f"out: got an array on {out_origin.device}, expected {origin.device} as {beside}")
    if isinstance(data, np.ndarray) and not data.flags.writeable:
        raise ValueError("out: got a read-only array, expected a writable one")
    if tracked(data):
        raise TypeError("out: got a tensor that requires grad, expected a plain one")
    return data


def is_plain(data: np.ndarray) -> bool:
    """Whether the elements of each row lie side by side in the machine's byte order."""
    return (data.shape[-1] <= 1 or data.strides[-1] == data.itemsize) and data.dtype.isnative


def plain_blocks(data: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """The rows of `data` where they lie, or where a kernel could not read them, copies of a few MiB at a time."""
    if is_plain(data):
        yield slice(None), data
        return
    step = max(1, _BLOCK_BYTES // max(1, data.shape[1] * data.itemsize))
    for start in range(0, data.shape[0], step):
        rows = slice(start, start + step)
        yield rows, np.ascontiguousarray(data[rows], dtype=data.dtype.newbyteorder("="))
