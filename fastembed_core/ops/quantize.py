"""quantize, dequantize, calibrate: vectors as integers or bits, and back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from .. import dispatch
from ..arrays import Origin, float32_of, intake, to_device
from ..codes import DIM_PRECISIONS, PRECISIONS, ROW_PRECISIONS, STORAGE, Codes, code_width
from ..fp_state import ieee
from ..operands import Rows, rows_of
from ._direct import direct
from ._rows import is_plain, matrix_of, output_of, plain_blocks, tracked
from ._spec import Spec
from ._traced import traced


@direct
@traced
def quantize(x: Any, precision: str, *, ranges: Any = None, out: Any = None, backend: str | None = None) -> Codes:
    """Vectors as `Codes`: 8 or 4 bits an element with a scale a row, 8 bits with ranges a dimension, or signs.

    All arithmetic is float32 with IEEE division, so that every backend and instruction set returns the same bits.

    ``int8_row``: scale = max|x| / 127 of each row, code = rint(x / scale), half to even. The default for search: integer
        dot products of these codes rank almost as the floats do. Where the scale is 0 the codes are 0; a row that holds
        NaN or an infinity has scale NaN and codes 0.
    ``int4_row``: the same with 7 in place of 127, two codes a byte (see `Codes`).
    ``int8``, ``uint8``: u = clip(floor((x - minimum) / step), 0, 255) with step = (maximum - minimum) / 255, 0 -> 1, from the
        `ranges` of each dimension; ``uint8`` is u, ``int8`` is u - 128. NaN has u = 0.
    ``binary``, ``ubinary``: the bits x > 0, most significant first, the last byte's spare bits 0; ``binary`` is int8(byte - 128).

    The last four are, bit for bit, what sentence-transformers 6.2 ``quantize_embeddings`` returns for float32, float16 and
    bfloat16 vectors of numbers. Two cases differ: float64 is rounded to float32 here and computed in float64 there, and
    NaN in ``int8`` is -128 here (u = 0, as in ``uint8``) and whatever the machine's conversion gives there.

    Parameters
    ----------
    x : (N, D) float32, float16, bfloat16 or float64 (rounded to float32); any strides, read where it lies
    precision : one of ``int8_row``, ``int4_row``, ``int8``, ``uint8``, ``binary``, ``ubinary``
    ranges : (2, D) minimum and maximum, as `calibrate` returns them, for ``int8`` and ``uint8`` only; None takes x's own
    out : (N, width) int8 or uint8 array for the codes (a memory map, say); width and dtype as `Codes` tells
    backend : a backend's name; None chooses

    Returns
    -------
    Codes over numpy arrays, or over torch tensors on x's device where x is one

    Raises
    ------
    TypeError
        for arrays that are not float, and for a tensor that requires grad while grad mode is on: codes have no gradient.
    ValueError
        for arguments out of range, and for a single row without ranges, whose minimum is its maximum.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision: got {precision!r}, expected one of {', '.join(PRECISIONS)}")
    data, kind, origin = matrix_of(x, "x")
    _refuse_gradient(data, "x")
    rows = Rows(data, kind, data.shape[1])
    limits = _limits_of(ranges, data, kind, origin, precision, backend)
    spec, scale_spec = quantize_spec(rows, precision)
    target = None if out is None else output_of(out, *spec, origin)
    if isinstance(data, np.ndarray):
        codes = np.empty(*spec) if target is None else target
        scale = None if scale_spec is None else np.empty(*scale_spec)
        _quantize_on_host(data, kind, precision, limits, codes, scale, backend)
    else:
        codes, scale = dispatch.run("quantize", rows, precision, limits, None, None, device=origin.device, backend=backend)
        if target is not None:
            target.copy_(codes)
    return Codes(origin.give(codes) if out is None else out, precision, rows.dim, origin.give(scale), origin.give(limits))


def quantize_spec(x: Rows, precision: str, *_: Any) -> tuple[Spec, Spec | None]:
    scale = Spec((x.n,), "float32") if precision in ROW_PRECISIONS else None
    return Spec((x.n, code_width(precision, x.dim)), STORAGE[precision]), scale


@traced
def dequantize(codes: Codes, *, out: Any = None, backend: str | None = None) -> Any:
    """The float32 vectors that `Codes` stand for.

    ``int8_row``, ``int4_row``: float32(scale * code). ``int8``, ``uint8``: float32(minimum + step * u), in float64 and rounded
    once, u the unsigned code. ``binary``, ``ubinary``: +1 for a set bit and -1 for a clear one.

    Parameters
    ----------
    codes : Codes of N vectors; ``int8`` and ``uint8`` must carry their ranges
    out : (N, dim) float32 array to write into
    backend : a backend's name; None chooses

    Returns
    -------
    (N, dim) float32, the same bits from every backend, in the kind of ``codes.data``

    Raises
    ------
    TypeError, ValueError
        for what is no Codes and for codes without ranges, in one sentence that names the argument.
    """
    if not isinstance(codes, Codes):
        raise TypeError(f"codes: got {type(codes).__name__}, expected Codes, as quantize returns them")
    if codes.precision in DIM_PRECISIONS and codes.ranges is None:
        raise ValueError(f"codes: got {codes.precision} codes without ranges, expected ranges, the minimum and maximum of each dimension")
    for name in ("scale", "ranges"):
        if getattr(codes, name) is not None:
            _refuse_gradient(intake(getattr(codes, name), name)[0], name)
    rows, origin = rows_of(codes, "codes")
    spec = dequantize_spec(rows)
    target = None if out is None else output_of(out, *spec, origin)
    if rows.is_torch:
        result = dispatch.run("dequantize", rows, None, device=origin.device, backend=backend)
    else:
        result = target if target is not None and is_plain(target) else np.empty(*spec)
        dispatch.run("dequantize", rows, result, backend=backend)
    if target is None:
        return origin.give(result)
    if target is not result:
        target[...] = result
    return out


def dequantize_spec(x: Rows, *_: Any) -> Spec:
    return Spec((x.n, x.dim), "float32")


@traced
def calibrate(x: Any, *, backend: str | None = None) -> Any:
    """The smallest and largest value of each dimension, the `ranges` of ``int8`` and ``uint8`` codes.

    Equal to ``numpy.vstack((x.min(axis=0), x.max(axis=0)))`` after rounding to float32, in one pass: a dimension that
    holds NaN has NaN ranges, and a zero is +0.

    Parameters
    ----------
    x : (N, D) float32, float16, bfloat16 or float64, N at least 1; or an iterable of such arrays (batches of an encoder,
        slices of a memory map), read one after the other
    backend : a backend's name; None chooses

    Returns
    -------
    (2, D) float32, minimum and maximum, in the kind of x or of its first array

    Raises
    ------
    TypeError, ValueError
        for arrays that are not float, differ in D or hold no row, in one sentence that names the argument.
    """
    limits: Any = None
    first: Origin | None = None
    for block in _blocks_of(x):
        data, kind, origin = matrix_of(block, "x")
        first = first or origin
        if origin.device != first.device:
            raise ValueError(f"x: got an array on {origin.device}, expected {first.device} as the first")
        _refuse_gradient(data, "x")
        if limits is not None and data.shape[1] != limits.shape[1]:
            raise ValueError(f"x: got an array of dimension {data.shape[1]}, expected {limits.shape[1]} as in the first")
        if data.shape[0]:
            limits = _wider(limits, _extremes(data, kind, origin, backend))
    if limits is None or first is None:
        raise ValueError("x: got no rows, expected at least one")
    return first.give(limits)


def calibrate_spec(x: Rows) -> Spec:
    return Spec((2, x.dim), "float32")


def _blocks_of(x: Any) -> Iterable[Any]:
    """x as a sequence of arrays: itself, or what an iterable that is no array yields."""
    if isinstance(x, Iterable) and not isinstance(x, np.ndarray) and not hasattr(x, "__dlpack__"):
        return x
    return (x,)


def _extremes(data: Any, kind: str, origin: Origin, backend: str | None) -> Any:
    """(2, D) float32 minimum and maximum of at least one row, zeros +0 and every NaN the same."""
    limits: Any = None
    for block in (data,) if not isinstance(data, np.ndarray) else (block for _, block in plain_blocks(data)):
        rows = Rows(block, kind, block.shape[1])
        limits = _wider(limits, dispatch.run("calibrate", rows, device=origin.device, backend=backend))
    with ieee():
        limits = limits + 0.0
        if not isinstance(limits, np.ndarray):
            return limits.masked_fill(limits.isnan(), float("nan"))
        limits[np.isnan(limits)] = np.nan
    return limits


def _wider(a: Any, b: Any) -> Any:
    """The ranges that hold both; NaN stays."""
    if a is None:
        return b
    with ieee():
        if isinstance(a, np.ndarray):
            return np.stack([np.minimum(a[0], b[0]), np.maximum(a[1], b[1])])
        import torch

        return torch.stack([torch.minimum(a[0], b[0]), torch.maximum(a[1], b[1])])


def _refuse_gradient(data: Any, name: str) -> None:
    if tracked(data):
        raise TypeError(
            f"{name}: got a tensor that requires grad, expected a plain one, for codes have no gradient; torch.no_grad() keeps none"
        )


def _limits_of(ranges: Any, data: Any, kind: str, origin: Origin, precision: str, backend: str | None) -> Any:
    """(2, D) float32 minimum and maximum where the data lies, or None where the precision has none."""
    n, dim = data.shape
    if precision not in DIM_PRECISIONS:
        if ranges is not None:
            raise ValueError(f"ranges: got an array for {precision} codes, which have none")
        return None
    if ranges is None:
        if n == 1:
            raise ValueError(f"ranges: got None for a single row of {precision} codes, expected ranges that calibrate made from many")
        return _extremes(data, kind, origin, backend) if n else None
    limits, limits_kind, _ = matrix_of(ranges, "ranges")
    _refuse_gradient(limits, "ranges")
    if tuple(limits.shape) != (2, dim):
        raise ValueError(f"ranges: got shape {tuple(limits.shape)}, expected (2, {dim}), the minimum and maximum of each dimension")
    if isinstance(limits, np.ndarray):
        limits = np.array(float32_of(limits, limits_kind), order="C")  # a copy: the Codes outlive what the caller does with theirs
        return limits if isinstance(data, np.ndarray) else to_device(limits, origin.device)
    limits = limits.float()
    return limits.cpu().numpy() if isinstance(data, np.ndarray) else limits.to(data.device, copy=True)


def _quantize_on_host(
    data: np.ndarray, kind: str, precision: str, limits: Any, codes: np.ndarray, scale: np.ndarray | None, backend: str | None
) -> None:
    """Fill `codes` and `scale`, block by block where rows lie in no order a kernel reads or writes."""
    if data.size == 0:
        codes[...] = 0
        if scale is not None:
            scale[...] = 0
        return
    for rows, block in plain_blocks(data):
        place = codes[rows]
        written = place if is_plain(place) else np.empty(place.shape, place.dtype)
        dispatch.run(
            "quantize",
            Rows(block, kind, block.shape[1]),
            precision,
            limits,
            written,
            None if scale is None else scale[rows],
            backend=backend,
        )
        if written is not place:
            place[...] = written
