"""What similarity, topk and rescore share: preparing a pair of operands and handing results back."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..arrays import NUMPY, Origin, is_torch
from ..codes import dtype_name
from ..metrics import canonical_name
from ..operands import Rows, rows_of
from ._spec import Spec
from .scores import Score, score_of


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
    name = None if metric is None else canonical_name(metric)
    q, origin = rows_of(queries, names[0], name, copy_inner=True)
    x, x_origin = rows_of(corpus, names[1], name)
    if origin.device != x_origin.device:
        raise ValueError(f"{names[1]}: got an array on {x_origin.device}, expected {origin.device} as {names[0]}")
    if q.kind == x.kind == "bits" and q.flip != x.flip and "Codes" not in (type(queries).__name__, type(corpus).__name__):
        raise TypeError(f"{names[1]}: got {corpus.dtype} bits against {queries.dtype} bits, expected one dtype on both sides, or Codes")
    score = score_of(q, x, name, names)
    if origin is NUMPY is x_origin:
        return Pair(q, x, score, NUMPY, "cpu", False)
    if _tracked(x) and not _tracked(q):
        origin = x_origin  # a gradient flows back into the corpus, whatever the queries are
    return Pair(q, x, score, origin, origin.device, _tracked(q) or _tracked(x))


def _tracked(rows: Rows) -> bool:
    return rows.is_torch and bool(rows.data.requires_grad)


def places_spec(q: int, k: int, score: Score) -> tuple[Spec, Spec]:
    """Of scores and indices, k places a query."""
    return Spec((q, k), dtype_name(score.dtype)), Spec((q, k), "int64")


def outputs_of(out: Any, p: Pair, expected: Spec | tuple[Spec, ...]) -> tuple[Any, ...]:
    """The checked `out=` arrays, one for each Spec."""
    specs = (expected,) if isinstance(expected, Spec) else expected
    arrays = out if isinstance(out, tuple) else (out,)
    if len(arrays) != len(specs):
        got = f"a tuple of {len(out)}" if isinstance(out, tuple) else type(out).__name__
        raise ValueError(f"out: got {got}, expected {'one array' if len(specs) == 1 else f'a tuple of {len(specs)} arrays'}")
    for array, (shape, dtype) in zip(arrays, specs, strict=True):
        if not isinstance(array, np.ndarray) and not is_torch(array):
            raise TypeError(f"out: got {type(array).__name__}, expected a numpy array or a torch tensor")
        name = dtype_name(array.dtype)
        if name != dtype or tuple(array.shape) != shape:
            raise ValueError(f"out: got {name} of shape {tuple(array.shape)}, expected {dtype} of shape {shape}")
        if isinstance(array, np.ndarray) and not array.flags.writeable:
            raise ValueError("out: got a read-only array, expected a writable one")
        device = str(array.device) if is_torch(array) else "cpu"
        if device != p.device:
            raise ValueError(f"out: got an array on {device}, expected {p.device} as the operands")
        if p.grad and not is_torch(array):
            raise TypeError("out: got a numpy array, which keeps no gradient, expected a torch tensor as an input requires grad")
    return arrays


def deliver(result: Any, out: Any | None, origin: Origin) -> Any:
    """One result array in the caller's kind, or copied into the caller's `out` array."""
    if out is None:
        if origin is NUMPY and type(result) is np.ndarray:
            return result
        return origin.give(result if origin.namespace == "torch" or not is_torch(result) else result.numpy())
    if is_torch(out):
        import torch

        out.copy_(result if is_torch(result) else torch.from_numpy(result))
    else:
        out[...] = result.numpy() if is_torch(result) else result
    return out
