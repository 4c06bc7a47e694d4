"""rescore: exact scores of the candidates some index gave, and their ranking."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import dispatch
from ..arrays import to_host
from ..checks import count_of
from ..operands import Rows, ids_of
from ._search import deliver, outputs_of, pair, places_spec
from ._spec import Spec
from ._traced import traced
from .scores import Score


@traced
def rescore(
    queries: Any,
    corpus: Any,
    candidates: Any,
    k: int | None = None,
    *,
    metric: str | None = None,
    out: Any = None,
    backend: str | None = None,
) -> tuple[Any, Any]:
    """The canonical scores of given rows for each query, best first: what a vector index calls after its own search.

    Parameters
    ----------
    queries, corpus, metric, backend : as in `topk`
    candidates : (Q, C) int64 row numbers, -1 = none; or CSR, a tuple of indptr (Q + 1,) and row numbers (indptr[-1],).
        A row named twice is returned twice. Of a tensor on the operands' device rows outside the corpus count as -1, unseen by the host.
    k : keep the k best; None keeps all
    out : (scores, indices) arrays to write into

    Returns
    -------
    scores, indices : (Q, min(k, C)), C the longest list for CSR; ordered, padded and typed as by `topk`

    Raises
    ------
    TypeError, ValueError
        for operands that have no score or candidates outside the corpus, in one sentence that names the argument.
    """
    p = pair(queries, corpus, metric)
    ids = _dense(candidates, p.q.n, p.x.n, p.device)
    k = ids.shape[1] if k is None else min(count_of(k, "k"), ids.shape[1])
    outs = None if out is None else outputs_of(out, p, rescore_spec(p.q, p.x, ids, k, p.score))
    scores, indices = dispatch.run("rescore", p.q, p.x, ids, k, p.score, device=p.device, grad=p.grad, backend=backend)
    return deliver(scores, outs and outs[0], p.origin), deliver(indices, outs and outs[1], p.origin)


def rescore_spec(q: Rows, x: Rows, ids: Any, k: int, score: Score) -> tuple[Spec, Spec]:
    return places_spec(q.n, k, score)


def _dense(candidates: Any, q: int, n: int, device: str) -> Any:
    """The candidates as (Q, C) int64, short lists filled with -1."""
    if not isinstance(candidates, tuple):
        ids = ids_of(candidates, "candidates", n, device)
        if ids.ndim != 2 or ids.shape[0] != q:
            raise ValueError(f"candidates: got shape {tuple(ids.shape)}, expected ({q}, C), or a tuple (indptr, rows)")
        return ids
    if len(candidates) != 2:
        raise ValueError(f"candidates: got a tuple of {len(candidates)}, expected (indptr, rows)")
    indptr, flat = to_host(candidates[0], "candidates"), ids_of(to_host(candidates[1], "candidates"), "candidates", n, "cpu")
    if indptr.dtype.kind not in "iu" or indptr.shape != (q + 1,):
        raise ValueError(f"candidates: got indptr {indptr.dtype.name} of shape {indptr.shape}, expected int64 of shape ({q + 1},)")
    lengths = np.diff(indptr.astype(np.int64))
    if indptr[0] != 0 or indptr[-1] != flat.size or (lengths < 0).any():
        raise ValueError(f"candidates: got indptr from {indptr[0]} to {indptr[-1]}, expected it to rise from 0 to {flat.size}")
    ids = np.full((q, int(lengths.max(initial=0))), -1, np.int64)
    ids[np.arange(ids.shape[1]) < lengths[:, None]] = flat
    return ids
