"""scikit-learn: nearest neighbours, and what is built on them."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import operands
from .comparison import Comparison, host, near


def vectors(scale: float, n: int) -> np.ndarray:
    return operands.real_embeddings(max(500, int(n * scale)))


def same_neighbours(a: Any, b: Any) -> bool:
    """Equal distances up to rounding, and the same rows but where such rounding turned two around."""
    return near(2e-3)(a[0], b[0]) and bool((a[1] == b[1]).mean() > 0.99)


def kneighbors(metric: str, scale: float) -> Comparison:
    from sklearn import neighbors

    from fastembed_core.integrations import sklearn as ours

    x, queries = vectors(scale, 100_000), operands.real_queries(1000)
    alone, with_line = (module.NearestNeighbors(n_neighbors=10, metric=metric).fit(x) for module in (neighbors, ours))
    return Comparison(lambda: alone.kneighbors(queries), lambda: with_line.kneighbors(queries), same_neighbours)


@host("scikit-learn: kneighbors, cosine, 1,000 queries, 100k vectors")
def kneighbors_cosine(scale: float) -> Comparison:
    return kneighbors("cosine", scale)


@host("scikit-learn: kneighbors, Euclidean, 1,000 queries, 100k vectors")
def kneighbors_euclidean(scale: float) -> Comparison:
    return kneighbors("euclidean", scale)


@host("scikit-learn: LocalOutlierFactor, cosine, 10k vectors")
def local_outlier_factor(scale: float) -> Comparison:
    from sklearn import neighbors

    from fastembed_core.integrations import sklearn as ours

    x = vectors(scale, 10_000)
    alone, with_line = (module.LocalOutlierFactor(metric="cosine") for module in (neighbors, ours))
    return Comparison(lambda: alone.fit_predict(x), lambda: with_line.fit_predict(x), lambda a, b: bool((a == b).mean() > 0.999))


@host("scikit-learn: DBSCAN, cosine, 10k vectors; ours by RadiusNeighborsTransformer")
def dbscan(scale: float) -> Comparison:
    from sklearn.cluster import DBSCAN
    from sklearn.pipeline import make_pipeline

    from fastembed_core.integrations.sklearn import RadiusNeighborsTransformer

    x, eps = vectors(scale, 10_000), 0.35
    alone = DBSCAN(eps=eps, metric="cosine")
    with_line = make_pipeline(RadiusNeighborsTransformer(radius=eps, metric="cosine"), DBSCAN(eps=eps, metric="precomputed"))
    return Comparison(lambda: alone.fit_predict(x), lambda: with_line.fit_predict(x), lambda a, b: bool((a == b).mean() > 0.999))
