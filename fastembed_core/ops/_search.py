"""What similarity, topk and rescore share: preparing a pair of operands and handing results back."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..arrays import Origin, Rows, dtype_name, is_torch, rows_of
from .scores import Score, metric_for, score_of


class Pair(NamedTuple):
    """Two checked operands, their Score, and where results go."""

    q: Rows
    x: Rows
    score: Score
    origin: Origin
    device: str
    grad: bool


def pair(queries: Any, corpus: Any, metric: str | None, names: tuple[str, str] = ("queries", "corpus")) -> Pair:
    """Validate two operands of a search under a metric."""
    name = metric_for(metric, queries, corpus)
    q, origin = rows_of(queries, names[0], name, copy_inner=True)
    x, x_origin = rows_of(corpus, names[1], name)
    if origin.device != x_origin.device:
        raise ValueError(f"{names[1]}: got an array on {x_origin.device}, expected {origin.device} as {names[0]}")
    if q.kind == x.kind == "bits" and q.flip != x.flip and "Codes" not in (type(queries).__name__, type(corpus).__name__):
        raise TypeError(f"{names[1]}: got {corpus.dtype} bits against {queries.dtype} bits, expected one dtype on both sides, or Codes")
    score = score_of(q, x, name, names)
    grad = _tracked(q) or _tracked(x)
    return Pair(q, x, score, origin, origin.device, grad)


def _tracked(rows: Rows) -> bool:
    return rows.is_torch and bool(rows.data.requires_grad)


def k_of(k: Any, name: str = "k") -> int:
    """k as a checked int of at least 0."""
    if isinstance(k, bool) or not hasattr(k, "__index__"):
        raise TypeError(f"{name}: got {type(k).__name__}, expected an int of at least 0")
    k = k.__index__()
    if k < 0:
        raise ValueError(f"{name}: got {k}, expected an int of at least 0")
    return k


def outputs_of(out: Any, specs: tuple[tuple[tuple[int, ...], np.dtype], ...]) -> tuple[Any, ...] | None:
    """The checked `out=` arrays, one for each (shape, dtype)."""
    if out is None:
        return None
    arrays = out if isinstance(out, tuple) else (out,)
    if len(arrays) != len(specs):
        raise ValueError(f"out: got {len(arrays)} arrays, expected {len(specs)}")
    for array, (shape, dtype) in zip(arrays, specs, strict=True):
        name = dtype_name(array.dtype) if hasattr(array, "dtype") else type(array).__name__
        if name != dtype.name or tuple(array.shape) != shape:
            raise ValueError(f"out: got {name} of shape {tuple(getattr(array, 'shape', ()))}, expected {dtype.name} of shape {shape}")
        if isinstance(array, np.ndarray) and not array.flags.writeable:
            raise ValueError("out: got a read-only array, expected a writable one")
    return arrays


def deliver(result: Any, out: Any | None, origin: Origin) -> Any:
    """One result array in the caller's kind, or copied into the caller's `out` array."""
    if out is None:
        return origin.give(result if origin.namespace == "torch" or not is_torch(result) else result.numpy())
    if is_torch(out):
        import torch

        out.copy_(result if is_torch(result) else torch.from_numpy(result))
    else:
        out[...] = result.numpy() if is_torch(result) else result
    return out
