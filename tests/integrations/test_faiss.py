"""knn beside faiss' own: order, padding, dtypes, ties."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("faiss")

import faiss

from fastembed_core.integrations import faiss as ours

METRICS = [faiss.METRIC_L2, faiss.METRIC_INNER_PRODUCT]


def scores64(xq: np.ndarray, xb: np.ndarray, metric: int) -> np.ndarray:
    a, b = xq.astype(np.float64), xb.astype(np.float64)
    return a @ b.T if metric == faiss.METRIC_INNER_PRODUCT else ((a[:, None] - b[None]) ** 2).sum(-1)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("q", "n", "dim", "k"), [(1, 1, 1, 1), (7, 300, 33, 10), (40, 500, 96, 100), (3, 5, 8, 9), (2, 64, 384, 64)])
def test_knn_is_faiss_knn(metric, q, n, dim, k, vectors):
    xq, xb = vectors(q, dim, 1), vectors(n, dim, 2)
    expected, got = faiss.knn(xq, xb, k, metric=metric), ours.knn(xq, xb, k, metric=metric)
    for ours_part, theirs in zip(got, expected, strict=True):
        assert ours_part.dtype == theirs.dtype and ours_part.shape == theirs.shape
    (distances, rows), (their_distances, their_rows) = got, expected
    assert (distances[:, min(k, n) :] == their_distances[:, min(k, n) :]).all()  # the same padding
    assert (rows[:, min(k, n) :] == -1).all() and (their_rows[:, min(k, n) :] == -1).all()
    exact = scores64(xq, xb, metric)
    scale = np.abs(exact).max() + 1
    np.testing.assert_allclose(distances[:, :n], their_distances[:, :n], rtol=2e-5, atol=2e-5 * scale)
    np.testing.assert_allclose(distances[:, :n], np.take_along_axis(exact, rows[:, :n], 1), rtol=1e-6, atol=1e-6)
    differs = rows[:, :n] != their_rows[:, :n]  # where faiss' own rounding, or a tie, turned two neighbours
    gap = np.abs(np.take_along_axis(exact, rows[:, :n], 1) - np.take_along_axis(exact, their_rows[:, :n], 1))
    assert (gap[differs] <= 2e-5 * scale).all() and (gap > 0).mean() < 0.02


def test_lists_are_taken_as_faiss_takes_them(vectors):
    xq, xb = vectors(3, 8, 1), vectors(30, 8, 2)
    for got, expected in zip(ours.knn(xq.tolist(), xb.tolist(), 4), faiss.knn(xq.tolist(), xb.tolist(), 4), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_knn_of_integers_is_faiss_bit_for_bit():
    """Small integers are summed without rounding, so that scores are equal to the bit and rows wherever no two tie."""
    rng = np.random.default_rng(5)
    xq, xb = rng.integers(-9, 10, (20, 48)).astype(np.float32), rng.integers(-9, 10, (400, 48)).astype(np.float32)
    for metric in METRICS:
        (distances, rows), (their_distances, their_rows) = ours.knn(xq, xb, 12, metric), faiss.knn(xq, xb, 12, metric)
        assert (their_distances == distances).all()
        single = np.ones(distances.shape, bool)
        single[:, 1:] &= distances[:, 1:] != distances[:, :-1]
        single[:, :-1] &= distances[:, :-1] != distances[:, 1:]
        single[:, -1] = False  # may tie with a row left out
        assert single.mean() > 0.3 and (their_rows == rows)[single].all()


def test_ties_go_to_the_lowest_row():
    xb = np.repeat(np.eye(4, dtype=np.float32), 5, axis=0)
    _, rows = ours.knn(np.eye(4, dtype=np.float32), xb, 5)
    assert (rows == np.arange(20).reshape(4, 5)).all()


def test_real_vectors(data):
    xb, xq = np.load(data / "emb" / "scifact_corpus.npy"), np.load(data / "emb" / "scifact_queries_test.npy")
    distances, rows = ours.knn(xq, xb, 10, ours.METRIC_INNER_PRODUCT)
    their_distances, their_rows = faiss.knn(xq, xb, 10, faiss.METRIC_INNER_PRODUCT)
    assert (their_rows == rows).all() and np.abs(distances - their_distances).max() < 5e-7


def test_normalize_L2_is_faiss(vectors):
    mine = vectors(50, 65, 3)
    theirs = mine.copy()
    ours.normalize_L2(mine)
    faiss.normalize_L2(theirs)
    np.testing.assert_allclose(mine, theirs, rtol=1e-6)
    assert (mine[-1] == 0).all()


def test_bad_input_is_refused(vectors):
    x = vectors(4, 8, 0)
    with pytest.raises(ValueError, match=r"metric: got 7, expected METRIC_L2 \(1\) or METRIC_INNER_PRODUCT \(0\)"):
        ours.knn(x, x, 2, 7)
    with pytest.raises(ValueError, match="k: got -1"):
        ours.knn(x, x, -1)
    with pytest.raises(TypeError, match="x: got float64"):
        ours.normalize_L2(x.astype(np.float64))
