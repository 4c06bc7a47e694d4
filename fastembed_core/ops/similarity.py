"""similarity: the score of every pair, or of the pairs (i, i)."""

from __future__ import annotations

from typing import Any

from .. import dispatch
from ..codes import dtype_name
from ..operands import Rows
from ._direct import direct
from ._search import deliver, outputs_of, pair
from ._spec import Spec
from ._traced import traced
from .scores import Score


@direct
@traced
def similarity(a: Any, b: Any, metric: str | None = None, *, out: Any = None, backend: str | None = None) -> Any:
    """The score of every row of `a` with every row of `b`.

    ``cosine`` = a.b / (|a| |b|), 0 where either row is zero; ``ip`` = a.b; ``l2`` = |a - b|;
    ``sqeuclidean`` = |a - b|^2; ``hamming`` = differing bits; ``jaccard`` = 1 - |a & b| / |a | b|, 0 where both are empty.

    Parameters
    ----------
    a : (M, D) float32, float16, bfloat16, float64, int8, uint8, or Codes
    b : (N, D) likewise; see SEMANTICS section 2 for the operand pairs that have a score
    metric : a metric's name or alias; None is cosine for floats and must be said for integers and codes
    out : (M, N) array to write into
    backend : a backend's name; None chooses

    Returns
    -------
    (M, N) float32, or int32 for ``hamming`` and for ``ip`` and ``sqeuclidean`` of integers. Integer scores are exact;
    float ones accumulate in at least float32, so that |error| <= 2**-23 * (D / 8 + 64) * |a| |b| for ip, and the same
    for every thread count and batch.

    Raises
    ------
    TypeError, ValueError
        for operands that have no score, in one sentence that names the argument.
    """
    p = pair(a, b, metric, ("a", "b"))
    outs = None if out is None else outputs_of(out, p, similarity_spec(p.q, p.x, p.score))
    result = dispatch.run("similarity", p.q, p.x, p.score, device=p.device, grad=p.grad, backend=backend)
    return deliver(result, outs and outs[0], p.origin)


def similarity_spec(q: Rows, x: Rows, score: Score) -> Spec:
    return Spec((q.n, x.n), dtype_name(score.dtype))


@direct
@traced
def similarity_paired(a: Any, b: Any, metric: str | None = None, *, out: Any = None, backend: str | None = None) -> Any:
    """The score of row i of `a` with row i of `b`, for every i: the diagonal of `similarity`, (N,).

    Operands, metrics, result dtype and errors as in `similarity`; both operands have N rows.
    """
    p = pair(a, b, metric, ("a", "b"))
    if p.q.n != p.x.n:
        raise ValueError(f"b: got {p.x.n} rows, expected {p.q.n} as in a")
    outs = None if out is None else outputs_of(out, p, similarity_paired_spec(p.q, p.x, p.score))
    result = dispatch.run("similarity_paired", p.q, p.x, p.score, device=p.device, grad=p.grad, backend=backend)
    return deliver(result, outs and outs[0], p.origin)


def similarity_paired_spec(q: Rows, x: Rows, score: Score) -> Spec:
    return Spec((q.n,), dtype_name(score.dtype))
