"""topk: the k best rows of a corpus for each query, exactly."""

from __future__ import annotations

from typing import Any

from .. import dispatch
from ..checks import count_of
from ..operands import Rows, exclude_of, mask_of
from ._direct import direct
from ._search import deliver, outputs_of, pair, places_spec
from ._spec import Spec
from ._traced import traced
from .scores import Score


@direct
@traced
def topk(
    queries: Any,
    corpus: Any,
    k: int,
    *,
    metric: str | None = None,
    mask: Any = None,
    exclude: Any = None,
    out: Any = None,
    backend: str | None = None,
) -> tuple[Any, Any]:
    """The k best rows of `corpus` for each query, best first, ties by the lowest index.

    Scores are canonical (SEMANTICS section 3: float64 in a fixed order, rounded once), and rows are ranked by them, so
    that every backend, instruction set, thread count and batch returns identical bits. No score matrix is made.

    Parameters
    ----------
    queries : (Q, D) float32, float16, bfloat16, float64, int8, uint8, or Codes
    corpus : (N, D) likewise, or Codes; rows may be strided, memory-mapped or read-only and are read where they lie
    k : at least 0; results have min(k, N) places
    metric : ``cosine``, ``ip``, ``l2``, ``sqeuclidean``, ``hamming``, ``jaccard`` or an alias; None is cosine for floats
    mask : (N,) or (Q, N) bool, True = may be returned, or the same as packed little-endian bits in uint8
    exclude : "self" (query i is row i), or (Q,) or (Q, E) int64 rows not to return, -1 = none
    out : (scores, indices) arrays to write into
    backend : a backend's name; None chooses

    Returns
    -------
    scores : (Q, min(k, N)) float32, or int32 for ``hamming`` and for ``ip`` and ``sqeuclidean`` of integers
    indices : (Q, min(k, N)) int64
        Numbers come first, then NaN, then unfilled places: index -1 with the worst score there is.

    Raises
    ------
    TypeError, ValueError
        for operands that have no score or arguments out of range, in one sentence that names the argument.
    """
    p = pair(queries, corpus, metric)
    k = min(count_of(k, "k"), p.x.n)
    allowed = mask_of(mask, p.q.n, p.x.n, p.device)
    excluded = exclude_of(exclude, p.q.n, p.x.n, p.device)
    outs = None if out is None else outputs_of(out, p, topk_spec(p.q, p.x, k, p.score))
    scores, indices = dispatch.run("topk", p.q, p.x, k, p.score, allowed, excluded, device=p.device, grad=p.grad, backend=backend)
    return deliver(scores, outs and outs[0], p.origin), deliver(indices, outs and outs[1], p.origin)


def topk_spec(q: Rows, x: Rows, k: int, score: Score, *_: Any) -> tuple[Spec, Spec]:
    return places_spec(q.n, k, score)
