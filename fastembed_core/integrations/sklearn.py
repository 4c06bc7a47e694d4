"""scikit-learn's neighbours, exact and fast, cosine too: its own estimators with another search under them.

```python
from fastembed_core.integrations.sklearn import NearestNeighbors; model = NearestNeighbors(metric="cosine").fit(x)
```

A fitted estimator takes our search where scikit-learn would scan by brute force, the metric is cosine, Euclidean or squared Euclidean,
and every value of X is a float32: X of that type, or float64 that float32 holds exactly (embeddings read through a list or a data frame).
Everything else (trees, sparse matrices, other metrics, finer float64 values) goes scikit-learn's own way, so nothing is computed with
less than the host would. Distances come in the host's dtypes; ties go to the lowest row, which the host leaves to chance.

What takes a graph takes these, too: ``DBSCAN(eps, metric="precomputed")`` after `RadiusNeighborsTransformer(radius=eps)`,
``TSNE(metric="precomputed")`` after `KNeighborsTransformer`.
"""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn import metrics, neighbors
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted, validate_data

from ..corpus import Corpus
from ..ops.range_search import range_search
from ..ops.similarity import similarity

_METRICS = {"cosine": "cosine", "euclidean": "l2", "l2": "l2", "sqeuclidean": "sqeuclidean"}

__all__ = [
    "NearestNeighbors",
    "KNeighborsTransformer",
    "RadiusNeighborsTransformer",
    "KNeighborsClassifier",
    "KNeighborsRegressor",
    "LocalOutlierFactor",
    "pairwise_distances",
]


def _as_float32(x: Any) -> np.ndarray | None:
    """x where float32 holds each of its values, None where it does not."""
    if issparse(x) or not isinstance(x, np.ndarray) or x.ndim != 2 or x.dtype not in (np.float32, np.float64):
        return None
    if x.dtype == np.float32:
        return np.ascontiguousarray(x)
    with np.errstate(over="ignore"):
        rounded = x.astype(np.float32, order="C")
    return rounded if np.array_equal(rounded, x) else None


def _distances(scores: np.ndarray, metric: str, dtype: Any) -> np.ndarray:
    """Scores as scikit-learn's distances: cosine is 1 - similarity and never negative."""
    return (np.clip(1 - scores, 0, 2) if metric == "cosine" else scores).astype(dtype, copy=False)


class _Exact(BaseEstimator):
    """The k nearest by a Corpus beside a neighbours estimator's `_fit_X`, where there can be one."""

    _corpus: Corpus | None

    def _fit(self, X: Any, y: Any = None) -> Any:
        fitted = super()._fit(X, y)
        self._prepare()
        return fitted

    def _prepare(self) -> None:
        plain = isinstance(self.effective_metric_, str) and not self.effective_metric_params_
        metric = _METRICS.get(self.effective_metric_) if plain else None
        x = _as_float32(self._fit_X) if metric and self._fit_method == "brute" else None
        self._corpus = None if x is None else Corpus(x, metric=metric, copy=False)

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__().copy()
        state.pop("_corpus", None)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if hasattr(self, "_fit_method"):
            self._prepare()

    def _queries(self, X: Any) -> tuple[np.ndarray | None, Any]:
        """The queries as float32, where they can be searched for, and the dtype of their distances."""
        given = self._fit_X if X is None else validate_data(self, X, accept_sparse="csr", reset=False, order="C")
        own = np.result_type(given.dtype, self._fit_X.dtype)
        return _as_float32(given), own if self.effective_metric_ == "cosine" else np.dtype(np.float64)

    def kneighbors(self, X: Any = None, n_neighbors: Any = None, return_distance: bool = True) -> Any:
        """As scikit-learn's: ``(distances, rows)`` ascending, or rows alone; with X=None no row is its own neighbour."""
        check_is_fitted(self)
        k = self.n_neighbors if n_neighbors is None else n_neighbors
        if self._corpus is not None and isinstance(k, Integral) and 0 < int(k) <= len(self._corpus) - (X is None):
            queries, dtype = self._queries(X)
            if queries is not None:
                scores, rows = self._corpus.search(queries, int(k), exclude="self" if X is None else None)
                rows = rows.astype(np.intp, copy=False)
                return (_distances(scores, self._corpus.metric, dtype), rows) if return_distance else rows
        return super().kneighbors(X, n_neighbors, return_distance)


class _ExactRadius(_Exact):
    """All within a radius, too."""

    def radius_neighbors(self, X: Any = None, radius: Any = None, return_distance: bool = True, sort_results: bool = False) -> Any:
        """As scikit-learn's: for each query the rows at a distance <= radius, here always in ascending order."""
        check_is_fitted(self)
        limit = self.radius if radius is None else radius
        if self._corpus is not None and isinstance(limit, Real) and float(limit) >= 0 and (return_distance or not sort_results):
            queries, dtype = self._queries(X)
            if queries is not None:
                distances, rows = self._within(self._corpus, queries, float(limit), dtype, X is None)
                return (distances, rows) if return_distance else rows
        return super().radius_neighbors(X, radius, return_distance, sort_results)

    def _within(self, corpus: Corpus, queries: np.ndarray, radius: float, dtype: Any, is_train: bool) -> tuple[np.ndarray, np.ndarray]:
        metric, x = corpus.metric, corpus.vectors
        # 1 - similarity is rounded once more: take one step too many, then keep what is within the radius as distances are returned.
        threshold = np.nextafter(np.float32(1 - radius), np.float32(-np.inf)) if metric == "cosine" else np.float32(radius)
        indptr, scores, rows = range_search(queries, x, threshold, metric=metric, exclude="self" if is_train else None)
        distances = _distances(scores, metric, dtype)
        kept = distances <= radius
        ends = np.concatenate([[0], np.cumsum(kept)])[indptr][1:-1]
        return _objects(np.split(distances[kept], ends)), _objects(np.split(rows[kept].astype(np.intp, copy=False), ends))


def _objects(parts: list[np.ndarray]) -> np.ndarray:
    """Arrays of different lengths as scikit-learn returns them: an array of objects."""
    result = np.empty(len(parts), object)
    result[:] = parts
    return result


class NearestNeighbors(_ExactRadius, neighbors.NearestNeighbors):
    """`sklearn.neighbors.NearestNeighbors`."""


class KNeighborsTransformer(_ExactRadius, neighbors.KNeighborsTransformer):
    """`sklearn.neighbors.KNeighborsTransformer`."""


class RadiusNeighborsTransformer(_ExactRadius, neighbors.RadiusNeighborsTransformer):
    """`sklearn.neighbors.RadiusNeighborsTransformer`."""


class KNeighborsClassifier(_Exact, neighbors.KNeighborsClassifier):
    """`sklearn.neighbors.KNeighborsClassifier`."""


class KNeighborsRegressor(_Exact, neighbors.KNeighborsRegressor):
    """`sklearn.neighbors.KNeighborsRegressor`."""


class LocalOutlierFactor(_Exact, neighbors.LocalOutlierFactor):
    """`sklearn.neighbors.LocalOutlierFactor`."""


def pairwise_distances(X: Any, Y: Any = None, metric: str = "euclidean", **options: Any) -> Any:
    """`sklearn.metrics.pairwise_distances`: the distance of every row of X from every row of Y (X itself where None), (M, N)."""
    name = _METRICS.get(metric) if isinstance(metric, str) and not options else None
    x, y = (_as_float32(part) if name else None for part in (X, X if Y is None else Y))
    if name is None or x is None or y is None or not (x.size and y.size and np.isfinite(x).all() and np.isfinite(y).all()):
        return metrics.pairwise_distances(X, Y, metric=metric, **options)
    own = np.result_type(X.dtype, X.dtype if Y is None else Y.dtype)
    distances = _distances(similarity(x, y, name), name, np.float64 if metric == "sqeuclidean" else own)
    if Y is None:
        np.fill_diagonal(distances, 0)
    return distances
