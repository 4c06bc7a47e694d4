"""assign: the nearest centroid of each vector."""

from __future__ import annotations

from typing import Any

from .topk import topk


def assign(x: Any, centroids: Any, *, metric: str = "l2", backend: str | None = None) -> tuple[Any, Any]:
    """The nearest row of `centroids` for each row of `x`, ties to the lowest index: `topk` with k = 1, by its engine.

    label[i] = argmin over j of the canonical ``l2`` (or ``sqeuclidean``, ``hamming``, ``jaccard``) of x[i] and centroids[j], or the
    argmax of their ``ip`` or ``cosine``: exact, and the same bits from every backend, instruction set and thread count.

    Parameters
    ----------
    x : (N, D) float32, float16, bfloat16, float64, int8, uint8, or Codes
    centroids : (K, D) likewise, K at least 1
    metric : a metric's name or alias
    backend : a backend's name; None chooses

    Returns
    -------
    labels : (N,) int64, each at least 0; a row that holds NaN goes to 0, with the score NaN
    scores : (N,) float32, or int32 for ``hamming`` and for ``ip`` and ``sqeuclidean`` of integers

    Raises
    ------
    TypeError, ValueError
        for operands that have no score and for no centroids, in one sentence that names the argument.
    """
    if getattr(centroids, "shape", None) and centroids.shape[0] == 0:
        raise ValueError("centroids: got no rows, expected at least one")
    scores, rows = topk(x, centroids, 1, metric=metric, backend=backend)
    return rows[:, 0], scores[:, 0]
