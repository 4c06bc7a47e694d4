"""range_search: every row of a corpus at least as good as a threshold, for each query."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import dispatch
from ..arrays import is_torch, to_device, to_host
from ..checks import count_of
from ..codes import dtype_name
from ..operands import Rows, exclude_of, mask_of
from ._search import Pair, deliver, pair
from ._spec import Spec
from ._traced import traced
from .scores import Score


@traced
def range_search(
    queries: Any,
    corpus: Any,
    threshold: Any,
    *,
    metric: str | None = None,
    mask: Any = None,
    exclude: Any = None,
    max_results: int | None = None,
    backend: str | None = None,
) -> tuple[Any, Any, Any]:
    """Every row of `corpus` that is at least as good as `threshold` for each query, best first, ties by the lowest index.

    A row is returned where its canonical score (SEMANTICS section 3) is >= float32(threshold) under a similarity, and <=
    under a distance: inclusive, decided on the rounded score itself, so that every backend, instruction set, thread count and
    batch returns identical bits. A score that is NaN is never returned. No score matrix is made: memory is that of the results,
    of which there may be Q x N, and the workspace of a search.

    Parameters
    ----------
    queries, corpus, metric, mask, exclude, backend : as in `topk`
    threshold : a number, or (Q,) one for each query; infinities are allowed, NaN is not
    max_results : keep at most so many of each query's rows, the best; None keeps all. On a device nothing is waited for then: both arrays
        have Q * min(max_results, N) places, and those from indptr[-1] on are unfilled (index -1, the worst score there is). A tensor of
        thresholds there is not looked at by the host; no row reaches NaN.

    Returns
    -------
    indptr : (Q + 1,) int64
        as in scipy's CSR: the results of query i stand in ``[indptr[i], indptr[i + 1])`` of both other arrays
    scores : (indptr[-1],) float32, or int32 for ``hamming`` and for ``ip`` and ``sqeuclidean`` of integers
    indices : (indptr[-1],) int64

    Raises
    ------
    TypeError, ValueError
        for operands that have no score or arguments out of range, in one sentence that names the argument.
    """
    p = pair(queries, corpus, metric)
    limits = thresholds_of(threshold, p.q.n, "cpu" if max_results is None else p.device)
    allowed = mask_of(mask, p.q.n, p.x.n, p.device)
    excluded = exclude_of(exclude, p.q.n, p.x.n, p.device)
    if max_results is None:
        how = (p.score, allowed, excluded)
        result = dispatch.run("range_search", p.q, p.x, limits, *how, device=p.device, grad=p.grad, backend=backend)
    else:
        k = min(count_of(max_results, "max_results"), p.x.n)
        scores, rows = dispatch.run("topk", p.q, p.x, k, p.score, allowed, excluded, device=p.device, grad=p.grad, backend=backend)
        result = _reaching(scores, rows, limits, p)
    indptr, scores, indices = (deliver(part, None, p.origin) for part in result)
    return indptr, scores, indices


def range_search_spec(q: Rows, x: Rows, limits: Any, score: Score, *_: Any) -> tuple[Spec, Spec, Spec]:
    return Spec((q.n + 1,), "int64"), Spec((None,), score.dtype.name), Spec((None,), "int64")


def thresholds_of(threshold: Any, q: int, device: str = "cpu") -> Any:
    """(q,) float32, one threshold a query: on the host, or a number and a tensor that is there on `device`."""
    if isinstance(threshold, str | bytes | bool | np.bool_) or threshold is None:
        raise TypeError(f"threshold: got {type(threshold).__name__}, expected a number, or an array of {q}")
    there = device != "cpu" and is_torch(threshold) and str(threshold.device) == device
    try:
        values: Any = threshold.detach() if there else to_host(threshold, "threshold") if is_torch(threshold) else np.asarray(threshold)
        if not dtype_name(values.dtype).startswith(("float", "bfloat", "int", "uint")):
            raise TypeError
        with np.errstate(over="ignore"):
            limits: Any = values.float() if there else values.astype(np.float32)
    except (TypeError, ValueError):
        raise TypeError(f"threshold: got {type(threshold).__name__}, expected a number, or an array of {q}") from None
    if tuple(limits.shape) not in ((), (q,)):
        raise ValueError(f"threshold: got shape {tuple(limits.shape)}, expected a number, or an array of shape ({q},)")
    if there:
        return limits.expand(q)
    if np.isnan(limits).any():
        raise ValueError("threshold: got NaN, expected a number")
    if device != "cpu" and limits.ndim == 0:  # made there: a copy would be waited for
        import torch

        return torch.full((q,), float(limits), device=device)
    return np.ascontiguousarray(np.broadcast_to(limits, (q,)))


def _reaching(scores: Any, rows: Any, limits: Any, p: Pair) -> tuple[Any, Any, Any]:
    """Of the best rows of each query, the ones that reach its limit: they come first, so that what is left of each is a prefix."""
    wide, edge = (scores.double(), _like(limits, scores)) if is_torch(scores) else (scores.astype(np.float64), limits.astype(np.float64))
    kept = (wide >= edge[:, None] if p.score.similarity else wide <= edge[:, None]) & (rows >= 0)
    if p.device != "cpu":
        return _packed(scores, rows, kept, p.score.unfilled)
    indptr = np.zeros(p.q.n + 1, np.int64)
    np.cumsum((kept.sum(1).cpu().numpy() if is_torch(kept) else kept.sum(1)), out=indptr[1:])
    return _like(indptr, scores) if is_torch(scores) else indptr, scores[kept], rows[kept]


def _packed(scores: Any, rows: Any, kept: Any, unfilled: float) -> tuple[Any, Any, Any]:
    """What is kept of (Q, k) tensors, moved to the front of Q * k places: how many there are, the host need not know."""
    q, k = kept.shape
    indptr = rows.new_zeros(q + 1)
    indptr[1:] = kept.sum(1).cumsum(0)
    place = (indptr[:-1, None] + kept.cumsum(1) - 1).masked_fill(~kept, q * k).flatten()  # one place more takes the others
    packed = (side.new_full((q * k + 1,), value).index_put((place,), side.flatten()) for side, value in ((scores, unfilled), (rows, -1)))
    return (indptr, *(side[: q * k] for side in packed))


def _like(values: Any, tensor: Any) -> Any:
    """An array as a tensor beside another; float32 as float64, so that integers are compared exactly."""
    moved = to_device(values, str(tensor.device))
    return moved.double() if moved.is_floating_point() else moved
