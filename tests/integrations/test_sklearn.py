"""scikit-learn's neighbours with our search under them: its own estimator checks, and its own answers."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn import metrics, neighbors
from sklearn.base import clone
from sklearn.cluster import DBSCAN
from sklearn.manifold import TSNE, trustworthiness
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from fastembed_core.integrations import sklearn as ours

METRICS = ["cosine", "euclidean", "sqeuclidean", "minkowski", "l2"]


def classes() -> list[type]:
    return [getattr(ours, name) for name in ours.__all__ if name != "pairwise_distances"]


@pytest.mark.filterwarnings("ignore")  # the checks provoke warnings on purpose and look at them themselves
@parametrize_with_checks([cls(algorithm="brute") for cls in classes()])
def test_estimator_checks(estimator: Any, check: Any) -> None:
    check(estimator)


def searched_here(model: Any) -> bool:
    return getattr(model, "_corpus", None) is not None


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_kneighbors_is_the_hosts(metric: str, dtype: Any, vectors: Any) -> None:
    x, q = vectors(300, 40, 1)[2:-1].astype(dtype), vectors(50, 40, 2)[2:-1].astype(dtype)
    mine = ours.NearestNeighbors(n_neighbors=7, metric=metric).fit(x)
    host = neighbors.NearestNeighbors(n_neighbors=7, metric=metric).fit(x)
    assert searched_here(mine)
    for queries in (q, None):
        (d, i), (host_d, host_i) = mine.kneighbors(queries), host.kneighbors(queries)
        assert d.dtype == host_d.dtype and i.dtype == host_i.dtype
        assert (i == host_i).all()
        np.testing.assert_allclose(d, host_d, rtol=1e-4, atol=1e-6)
        assert (mine.kneighbors(queries, return_distance=False) == i).all()
    graph, host_graph = (model.kneighbors_graph(q, mode="distance") for model in (mine, host))
    assert type(graph) is type(host_graph) and (graph.indices == host_graph.indices).all()


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_radius_neighbors_is_the_hosts(metric: str, dtype: Any, vectors: Any) -> None:
    x, q = vectors(200, 24, 3)[2:-1].astype(dtype), vectors(30, 24, 4)[2:-1].astype(dtype)
    radius = float(np.quantile(metrics.pairwise_distances(q, x, metric=metric), 0.1))
    mine = ours.NearestNeighbors(radius=radius, metric=metric).fit(x)
    host = neighbors.NearestNeighbors(radius=radius, metric=metric).fit(x)
    for queries in (q, None):
        (d, i), (host_d, host_i) = mine.radius_neighbors(queries), host.radius_neighbors(queries, sort_results=True)
        assert d.dtype == host_d.dtype == object and sum(map(len, i)) > len(i)
        for a, b, c, e in zip(i, host_i, d, host_d, strict=True):
            assert set(a) == set(b) and a.dtype == b.dtype and c.dtype == e.dtype and (np.diff(c) >= 0).all()
            np.testing.assert_allclose(c, np.sort(e), rtol=1e-4, atol=1e-6)


def test_radius_is_inclusive_and_equal_lengths_stay_apart() -> None:
    x = np.eye(20, dtype=np.float32)
    d, i = ours.NearestNeighbors(radius=1.0, metric="cosine").fit(x).radius_neighbors(x)
    assert d.shape == i.shape == (20,) and all(len(part) == 20 for part in i)
    _, i = ours.NearestNeighbors(radius=np.nextafter(1.0, 0), metric="cosine").fit(x).radius_neighbors(x)
    assert [list(part) for part in i] == [[j] for j in range(20)]


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_odd_calls_are_the_hosts(metric: str, vectors: Any) -> None:
    """What is out of range, empty or of another shape: the same answer, or the same words."""
    x, q = vectors(60, 20, 1)[2:-1], vectors(7, 20, 2)[2:-1]
    calls = [
        *(lambda m, k=k: m.kneighbors(q, k) for k in (0, 1, len(x), len(x) + 1, 2.0, True, np.int32(2))),
        *(lambda m, k=k: m.kneighbors(None, k) for k in (len(x) - 1, len(x))),
        *(lambda m, y=y: m.kneighbors(y) for y in (q[:0], q[0], q[:, :5], q * np.nan, q.tolist(), np.asfortranarray(q), q[::-2])),
        *(lambda m, r=r: m.radius_neighbors(q, r)[1] for r in (-1.0, -0.0, float("nan"), 1, "0.5")),
        lambda m: m.radius_neighbors(q, 6.0, return_distance=False, sort_results=True),
    ]
    for call in calls:
        answers = []
        for module in (ours, neighbors):
            try:
                found = call(module.NearestNeighbors(n_neighbors=4, metric=metric, algorithm="brute").fit(x))
                answers.append([np.sort(part, axis=None).tolist() for part in (found if isinstance(found, tuple) else (found,))][-1])
            except (TypeError, ValueError) as error:
                answers.append(str(error))
        assert str(answers[0]) == str(answers[1])
    for pair in ((x[:0], q), (x, q[:, :3]), (x[0], None)):
        words = []
        for function in (ours.pairwise_distances, metrics.pairwise_distances):
            with pytest.raises(ValueError) as caught:  # noqa: PT011
                function(*pair, metric=metric)
            words.append(type(caught.value))
        assert words[0] is words[1]


def test_duplicates_and_zero_rows() -> None:
    x = np.zeros((6, 20), np.float32)
    x[:3, 0], x[3, 1] = 1, 2
    d, i = ours.NearestNeighbors(n_neighbors=6, metric="cosine").fit(x).kneighbors(x[:1])
    assert (i == np.arange(6)).all() and (d == [[0, 0, 0, 1, 1, 1]]).all()
    _, i = ours.NearestNeighbors(n_neighbors=2, metric="cosine").fit(x).kneighbors()
    assert all(row not in i[row] for row in range(6)) and (i[:3] == [[1, 2], [0, 2], [0, 1]]).all()


def test_what_float32_cannot_hold_goes_the_hosts_way() -> None:
    x = np.random.default_rng(0).standard_normal((60, 20)) + 1e9
    mine, host = (module.NearestNeighbors(n_neighbors=4, metric="cosine").fit(x) for module in (ours, neighbors))
    assert not searched_here(mine)
    for a, b in zip(mine.kneighbors(x[:9]), host.kneighbors(x[:9]), strict=True):
        assert (a == b).all()
    wide = np.random.default_rng(1).standard_normal((60, 20)).astype(np.float32)
    mine, host = (module.NearestNeighbors(n_neighbors=4, metric="cosine").fit(wide) for module in (ours, neighbors))
    assert searched_here(mine)  # but these queries are finer than float32
    for a, b in zip(mine.kneighbors(x[:9] - 1e9), host.kneighbors(x[:9] - 1e9), strict=True):
        assert (a == b).all()


def test_trees_and_other_metrics_stay_the_hosts(vectors: Any) -> None:
    x = vectors(80, 8, 5)
    for options in ({"algorithm": "kd_tree"}, {"metric": "manhattan"}, {"metric": "minkowski", "p": 3}):
        mine, host = (module.NearestNeighbors(n_neighbors=3, **options).fit(x) for module in (ours, neighbors))
        assert not searched_here(mine)
        assert (mine.kneighbors(x)[0] == host.kneighbors(x)[0]).all()


def test_models_pickle_and_clone(vectors: Any) -> None:
    x = vectors(120, 32, 6)
    model = ours.NearestNeighbors(n_neighbors=3, metric="cosine").fit(x)
    again = pickle.loads(pickle.dumps(model))
    assert searched_here(again) and all((a == b).all() for a, b in zip(model.kneighbors(x), again.kneighbors(x), strict=True))
    assert not searched_here(clone(model))


def test_no_radius_where_the_host_has_none() -> None:
    assert not hasattr(ours.KNeighborsClassifier(), "radius_neighbors")
    assert not hasattr(ours.LocalOutlierFactor(), "radius_neighbors")


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "sqeuclidean", "manhattan"])
def test_pairwise_distances_is_the_hosts(metric: str, vectors: Any) -> None:
    x, y = vectors(30, 48, 7), vectors(20, 48, 8)
    for other in (y, None):
        mine, host = ours.pairwise_distances(x, other, metric), metrics.pairwise_distances(x, other, metric)
        assert mine.dtype == host.dtype
        np.testing.assert_allclose(mine, host, rtol=1e-5, atol=2e-5 if metric != "cosine" else 1e-6)


# --- what stands on neighbours: clustering, anomaly detection, a map ------------------------------------------------


@pytest.fixture(scope="module")
def intents(data: Any) -> np.ndarray:
    return np.load(data / "emb" / "clinc150_f16.npy")[:2000].astype(np.float32)


def test_dbscan(intents: np.ndarray) -> None:
    expected = DBSCAN(eps=0.25, metric="cosine").fit_predict(intents)
    graph = ours.RadiusNeighborsTransformer(mode="distance", radius=0.25, metric="cosine")
    got = make_pipeline(graph, DBSCAN(eps=0.25, metric="precomputed")).fit_predict(intents)
    assert (got == expected).all() and len(set(got)) > 5


def test_local_outlier_factor(intents: np.ndarray) -> None:
    mine, host = (module.LocalOutlierFactor(n_neighbors=15, metric="cosine", novelty=True) for module in (ours, neighbors))
    mine.fit(intents[:1500])
    host.fit(intents[:1500])
    assert searched_here(mine)
    np.testing.assert_allclose(mine.score_samples(intents[1500:]), host.score_samples(intents[1500:]), rtol=1e-4)


def test_tsne(intents: np.ndarray) -> None:
    """The graphs are one; the maps, whose descent magnifies the last bit of a distance, keep neighbours equally well."""
    graphs, kept = [], []
    for module in (ours, neighbors):
        graphs.append(module.KNeighborsTransformer(n_neighbors=31, mode="distance", metric="cosine").fit_transform(intents[:400]))
        points = TSNE(metric="precomputed", init="random", perplexity=10, max_iter=300, random_state=0).fit_transform(graphs[-1])
        kept.append(trustworthiness(intents[:400], points, n_neighbors=10, metric="cosine"))
    assert abs(graphs[0] - graphs[1]).max() < 1e-6
    assert kept[1] > 0.9 and abs(kept[0] - kept[1]) < 0.02


def test_classifier(intents: np.ndarray) -> None:
    labels = np.arange(len(intents)) // 100
    mine, host = (module.KNeighborsClassifier(n_neighbors=5, metric="cosine", weights="distance") for module in (ours, neighbors))
    np.testing.assert_allclose(
        mine.fit(intents, labels).predict_proba(intents[::7] + np.float32(0.01)),
        host.fit(intents, labels).predict_proba(intents[::7] + np.float32(0.01)),
        atol=1e-3,
    )
