"""similarity and similarity_paired: exact for integers, within the stated bound for floats, the same however it is cut."""

from __future__ import annotations

import cases
import numpy as np
import oracle
import pytest

import fastembed_core as fc

both = pytest.mark.op("similarity", "similarity_paired")
pytestmark = pytest.mark.op("similarity")


def exact(score: np.ndarray, pairing: cases.Pairing, metric: str) -> bool:
    """Whether SEMANTICS promises these scores to the bit: integers, and what comes out of exact integers in one step."""
    return score.dtype == np.int32 or metric in cases.BIT_METRICS


def assert_close(actual: np.ndarray, expected: np.ndarray, a: np.ndarray, b: np.ndarray, metric: str) -> None:
    """|error| <= 2**-23 * (D / 8 + 64) * size, size = |a||b| for ip, 1 for cosine, |a| + |b| for l2 and its square for sqeuclidean."""
    assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape)
    na, nb = (np.sqrt((np.abs(v) ** 2).sum(1)) for v in (a, b))
    size = {
        "ip": lambda: na[:, None] * nb,
        "cosine": lambda: 1.0,
        "l2": lambda: na[:, None] + nb,
        "sqeuclidean": lambda: (na[:, None] + nb) ** 2,
    }[metric]()
    bound = 2.0**-23 * (a.shape[1] / 8 + 64) * size + 2.0**-149
    settled = np.isfinite(expected)  # beyond float32 a bound says nothing: there the two agree on which infinity, or NaN
    assert (np.abs(actual.astype(np.float64) - expected)[settled] <= np.broadcast_to(bound, expected.shape)[settled]).all()
    assert np.array_equal(np.where(settled, 0, actual), np.where(settled, 0, expected), equal_nan=True)


def check(result: np.ndarray, pairing: cases.Pairing, q: int, n: int, d: int, values: str, metric: str) -> None:
    expected = oracle.similarity(pairing, q, n, d, values, metric)
    if exact(expected, pairing, metric):
        cases.assert_same(result, expected, f"{pairing} {metric} {values} D={d}")
    else:
        queries, corpus = cases.operands(pairing, q, n, d, values)
        with np.errstate(over="ignore", invalid="ignore"):
            assert_close(result, expected, oracle.values64(queries), oracle.values64(corpus), metric)


@pytest.mark.parametrize("pairing", cases.PAIRINGS, ids=str)
def test_every_pair_and_metric(backend: str, pairing: cases.Pairing) -> None:
    for metric in pairing.metrics:
        for d in cases.FEW_DIMS:
            queries, corpus = cases.operands(pairing, 5, 70, d)
            check(fc.similarity(queries, corpus, metric, backend=backend), pairing, 5, 70, d, "normal", metric)


@pytest.mark.parametrize("values", ["ties", "duplicates", "zero_rows", "nan", "inf", "subnormal", "offset", "near"])
@pytest.mark.parametrize("pairing", cases.FEW_PAIRINGS, ids=str)
def test_every_kind_of_value(backend: str, pairing: cases.Pairing, values: str) -> None:
    for metric in pairing.metrics:
        for d in (1, 9, 64):
            queries, corpus = cases.operands(pairing, 6, 61, d, values)
            check(fc.similarity(queries, corpus, metric, backend=backend), pairing, 6, 61, d, values, metric)


@pytest.mark.parametrize(("q", "n", "d"), [(0, 5, 4), (3, 0, 4), (0, 0, 4), (3, 5, 0), (1, 1, 1), (300, 300, 3)])
@pytest.mark.parametrize("pairing", cases.FEW_PAIRINGS, ids=str)
def test_shapes(backend: str, pairing: cases.Pairing, q: int, n: int, d: int) -> None:
    for metric in pairing.metrics:
        queries, corpus = cases.operands(pairing, q, n, d)
        check(fc.similarity(queries, corpus, metric, backend=backend), pairing, q, n, d, "normal", metric)


@pytest.mark.parametrize("pairing", cases.FEW_PAIRINGS, ids=str)
def test_the_same_however_it_is_cut(backend: str, pairing: cases.Pairing) -> None:
    """Batch splits, on either side, change no bit."""
    for metric in pairing.metrics:
        queries, corpus = cases.operands(pairing, 33, 77, 65)
        whole = fc.similarity(queries, corpus, metric, backend=backend)
        for i, j in ((0, 0), (5, 70), (32, 76)):
            cases.assert_same(fc.similarity(queries[i : i + 1], corpus, metric, backend=backend), whole[i : i + 1])
            cases.assert_same(fc.similarity(queries, corpus[j : j + 1], metric, backend=backend), whole[:, j : j + 1])
            cases.assert_same(fc.similarity(queries[i:], corpus[: j + 1], metric, backend=backend), whole[i:, : j + 1])


@pytest.mark.parametrize("layout", cases.LAYOUTS)
@pytest.mark.parametrize("pairing", cases.FEW_PAIRINGS, ids=str)
def test_layouts(backend: str, pairing: cases.Pairing, layout: str) -> None:
    for metric in pairing.metrics:
        queries, corpus = cases.operands(pairing, 4, 50, 33)
        plain = fc.similarity(queries, corpus, metric, backend=backend)
        moved = [cases.laid_out(x, cases.LAYOUTS[layout]) for x in (queries, corpus)]
        cases.assert_same(fc.similarity(*moved, metric, backend=backend), plain, layout)


@both
@pytest.mark.parametrize("pairing", cases.PAIRINGS, ids=str)
def test_paired_is_the_diagonal(backend: str, pairing: cases.Pairing) -> None:
    for metric in pairing.metrics:
        for d in (7, 33):
            queries, corpus = cases.operands(pairing, 20, 20, d)
            expected = np.diagonal(oracle.similarity(pairing, 20, 20, d, "normal", metric))
            result = fc.similarity_paired(queries, corpus, metric, backend=backend)
            assert (result.dtype, result.shape) == (expected.dtype, expected.shape)
            tolerance = 0 if exact(expected, pairing, metric) else 1e-5 * np.abs(expected).max()
            assert np.abs(result.astype(np.float64) - expected).max() <= tolerance


@both
@pytest.mark.parametrize("n", [0, 1, 3000])
def test_paired_lengths(backend: str, n: int) -> None:
    x = cases.rng_of("paired").standard_normal((n, 12)).astype(np.float32)
    result = fc.similarity_paired(x, x[::-1], backend=backend)
    norms = np.linalg.norm(x, axis=1)
    assert result.shape == (n,)
    assert np.allclose(result, (x * x[::-1]).sum(1) / norms / norms[::-1], atol=1e-5)


@both
def test_out(backend: str) -> None:
    x = cases.rng_of("out").standard_normal((9, 12)).astype(np.float32)
    out = np.zeros((9, 9), np.float32)
    assert fc.similarity(x, x, out=out, backend=backend) is out
    cases.assert_same(out, fc.similarity(x, x, backend=backend))
    line = np.zeros(9, np.float32)
    assert fc.similarity_paired(x, x, out=line, backend=backend) is line
    assert np.allclose(line, 1)


@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
def test_few_queries(backend: str, metric: str) -> None:
    """Up to four have a walk of their own, whatever a search does with so few."""
    rng = cases.rng_of("few queries", metric)
    x = rng.standard_normal((70, 33)).astype(np.float32)
    for queries in range(1, 10):
        q = rng.standard_normal((queries, 33)).astype(np.float32)
        expected = fc.similarity(q, x, metric, backend="reference")
        assert np.allclose(fc.similarity(q, x, metric, backend=backend), expected, rtol=1e-5, atol=1e-5), queries


def test_a_zero_row_has_cosine_zero(backend: str) -> None:
    x = np.zeros((2, 5), np.float32)
    x[1] = 3
    assert fc.similarity(x, x, backend=backend).tolist() == [[0, 0], [0, 1]]


def test_values_beyond_float32(backend: str) -> None:
    """Accumulated in float32 these would overflow or vanish; the scores themselves are ordinary numbers."""
    huge = np.full((1, 4), 3e38, np.float32)
    tiny = np.full((1, 4), 1e-40, np.float32)
    assert np.allclose(fc.similarity(huge, huge, backend=backend), 1)
    assert np.allclose(fc.similarity(tiny, tiny, backend=backend), 1)
    assert np.allclose(fc.similarity(huge, tiny, "ip", backend=backend), 4 * 3e38 * float(tiny[0, 0]), rtol=1e-6)
