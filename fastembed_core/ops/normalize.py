"""normalize: vectors of length 1."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np

from .. import dispatch
from ..arrays import Origin
from ..operands import Rows
from ._direct import direct
from ._rows import dim_of, floats_of, is_plain, output_of, plain_blocks, tracked
from ._spec import Spec
from ._traced import traced

# A divisor below this has an infinite reciprocal, and 0 times it would be no number; no float32 row but zero is shorter.
_MIN_EPS = 1e-300

# Operand kind to the result's dtype, and how numpy holds it.
_RESULTS = {
    "f32": ("float32", np.float32),
    "f64": ("float32", np.float32),
    "f16": ("float16", np.float16),
    "bf16": ("bfloat16", np.uint16),
}


@direct
@traced
def normalize(x: Any, *, truncate_dim: int | None = None, eps: float = 1e-12, out: Any = None, backend: str | None = None) -> Any:
    """Each vector divided by its Euclidean length: ``x / max(|x|, eps)`` over the last axis.

    ``|x|`` is the float64 square root of a float64 sum of exact squares, so that no float32 vector over- or underflows;
    each element is ``float32(x_i * (1 / max(|x|, eps)))``, the product in float64, then rounded to x's own type.

    Parameters
    ----------
    x : (..., D) float32, float16, bfloat16 or float64 (rounded to float32); any strides, read where it lies
    truncate_dim : keep the first elements of each vector, before its length is taken (Matryoshka embeddings)
    eps : the least divisor, at least 0; zero vectors stay zero whatever it is
    out : (..., truncate_dim or D) array to write into; x itself (or its truncated view) normalizes in place
    backend : a backend's name; None chooses

    Returns
    -------
    (..., truncate_dim or D) in x's own type, float64 as float32. Every backend lies within 0.5 + 2**-20 ulp of the exact
    quotient (float32 results; a half type is that float32 rounded once more), so no two differ by more than 1 ulp, and
    one backend gives the same bits for every thread count, batch and instruction set. A vector with a NaN becomes NaN; one
    with infinities becomes NaN in their places and 0 elsewhere.

    A torch tensor that requires grad while grad mode is on takes torch's own operations and is differentiable.

    Raises
    ------
    TypeError, ValueError
        for arrays that are not float and arguments out of range, in one sentence that names the argument.
    """
    data, kind, origin = floats_of(x, "x")
    if data.ndim == 0:
        raise ValueError("x: got a scalar, expected at least 1 dimension")
    if truncate_dim is not None:
        data = data[..., : dim_of(truncate_dim, data.shape[-1])]
    eps = _eps_of(eps)
    target = None if out is None else output_of(out, *normalize_spec(Rows(data, kind, data.shape[-1])), origin)
    if not isinstance(data, np.ndarray):
        result = _on_device(data, kind, eps, target, origin, backend)
    else:
        result = np.empty(data.shape, _RESULTS[kind][1]) if target is None else target
        _on_host(data, kind, eps, result, backend)
    return origin.give(result, like=x) if out is None else out


def normalize_spec(x: Rows, *_: Any) -> Spec:
    return Spec(tuple(x.data.shape), _RESULTS[x.kind][0])


def _eps_of(eps: Any) -> float:
    try:
        value = float(eps)
    except (TypeError, ValueError):
        raise TypeError(f"eps: got {type(eps).__name__}, expected a number of at least 0") from None
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"eps: got {eps}, expected a finite number of at least 0")
    return max(value, _MIN_EPS)


def _on_device(data: Any, kind: str, eps: float, target: Any, origin: Origin, backend: str | None) -> Any:
    if target is not None and tracked(data):
        raise TypeError("out: got an array for an x that requires grad, expected None, or torch.no_grad()")
    rows = Rows(data, kind, data.shape[-1])
    result = dispatch.run("normalize", rows, eps, None, device=origin.device, grad=tracked(data), backend=backend)
    return result if target is None else target.copy_(result)


def _on_host(data: np.ndarray, kind: str, eps: float, target: np.ndarray, backend: str | None) -> None:
    if data.size == 0:
        return
    if np.may_share_memory(data, target) and not (data.ctypes.data == target.ctypes.data and data.strides == target.strides):
        data = data.copy()  # rows of one would be written before those of the other are read
    _rows_on_host(data, kind, eps, target, backend)


def _rows_on_host(data: np.ndarray, kind: str, eps: float, target: np.ndarray, backend: str | None) -> None:
    if not (_is_matrix(data) and _is_matrix(target)):
        for part, part_target in zip(data, target, strict=True):
            _rows_on_host(part, kind, eps, part_target, backend)
        return
    data, target = (a.reshape(-1, a.shape[-1]) for a in (data, target))
    for rows, block in plain_blocks(data):
        place = target[rows]
        written = place if is_plain(place) else np.empty(place.shape, place.dtype.newbyteorder("="))
        dispatch.run("normalize", Rows(block, kind, block.shape[1]), eps, written, backend=backend)
        if written is not place:
            place[...] = written


def _is_matrix(x: np.ndarray) -> bool:
    """Whether the leading axes are one axis of rows evenly apart, so that reshape makes a view."""
    if x.ndim <= 2:
        return True
    leading = [(n, stride) for n, stride in zip(x.shape[:-1], x.strides[:-1], strict=True) if n != 1]
    return all(outer == n * inner for (_, outer), (n, inner) in pairwise(leading))
