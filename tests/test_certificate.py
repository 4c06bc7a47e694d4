"""The certificate under attack: data made so that an estimate's bound is all that stands between a search and a wrong answer.

A trial is one query whose answer by coded scans must be, to the bit, the one that scoring every row gives. Each run of this file makes
more than 100,000 of them where the machine has several instruction sets: all metrics, all scans, every shape of the data below.
"""

from __future__ import annotations

from collections.abc import Callable

import cases
import numpy as np
import pytest

import fastembed_core as fc
from fastembed_core import scan_codes

pytestmark = [
    pytest.mark.op("topk"),
    pytest.mark.skipif(not scan_codes.available(), reason="the extension makes the codes"),
]


def _clusters(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    """Rows closer to each other than the steps of their codes."""
    return rng.standard_normal((1, d)) + rng.standard_normal((n, d)) * 10.0 ** rng.integers(-7, 0)


def _far_away(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    """A common offset that swallows most digits of what differs."""
    return 10.0 ** rng.integers(0, 8) * rng.standard_normal((1, d)) + rng.standard_normal((n, d))


def _lengths(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    return rng.standard_normal((n, d)) * 10.0 ** rng.integers(-18, 18, (n, 1))


def _one_hot(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    """Codes that are exact, or nothing but the rounding of the center."""
    x = np.zeros((n, d))
    x[np.arange(n), rng.integers(0, d, n)] = rng.choice([1, 2, -1], n)
    return x


def _outlying_dimension(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    """One element takes all the steps; the others, which decide, are coded as zeros."""
    x = rng.standard_normal((n, d))
    x[:, 0] = 1e4 * rng.choice([1, -1], n) if rng.random() < 0.5 else 1e4
    return x


def _around_the_query(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    """Nearly equal distances on a sphere around the first row."""
    x = rng.standard_normal((n, d))
    return x[:1] + x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-30) * (1 + 1e-7 * rng.standard_normal((n, 1)))


DATA: dict[str, Callable[[np.random.Generator, int, int], np.ndarray]] = {
    **cases.VALUES,
    "clusters": _clusters,
    "far_away": _far_away,
    "lengths": _lengths,
    "one_hot": _one_hot,
    "outlying_dimension": _outlying_dimension,
    "around_the_query": _around_the_query,
}


@np.errstate(all="ignore")
def attack(rng: np.random.Generator, data: str, n: int, d: int, q: int) -> tuple[np.ndarray, np.ndarray]:
    """(queries, rows) in one of the float types; most queries lie next to a row, at a distance of any size."""
    x = cases.floats(str(rng.choice(["f32", "f32", "f16", "bf16"])), DATA[data](rng, n, d))
    near = x[rng.integers(0, n, q)].astype(np.float64) * (1 + rng.standard_normal((q, d)) * 10.0 ** rng.integers(-8, 0, (q, 1)))
    other = DATA[data](rng, q, d)
    return np.where(rng.random((q, 1)) < 0.7, near, other).astype(np.float32), x


def check(backend: str, queries: np.ndarray, x: np.ndarray, metric: str, k: int, at_once: int, what: str) -> int:
    expected = fc.topk(queries, x, k, metric=metric, backend="numpy")
    for scan in ("int8", "int4", "auto", None):  # None: the rows themselves, or codes made as a scan comes to them
        corpus = fc.Corpus(x, scan=scan, metric=metric, copy=False)
        for lo in range(0, len(queries), at_once):
            part = slice(lo, lo + at_once)
            answer = corpus.search(queries[part], k, backend=backend)
            cases.assert_same(answer, (expected[0][part], expected[1][part]), f"{what} {metric} {scan} k={k}")
    return 4 * len(queries)


@pytest.mark.parametrize("metric", cases.FLOAT_METRICS)
@pytest.mark.parametrize("data", DATA)
def test_no_row_is_dropped_that_belongs(backend: str, data: str, metric: str) -> None:
    if backend != "cpu":
        pytest.skip("scans the rows, whatever stands beside them")
    rng = cases.rng_of("certificate", data, metric)
    trials = 0
    for d in (31, 64):  # many queries together
        queries, x = attack(rng, data, 700, d, 96)
        trials += check(backend, queries, x, metric, int(rng.choice([1, 3, 10, 50])), 96, f"{data} D={d}")
    queries, x = attack(rng, data, 3000, 48, 6)  # one query, walked row by row
    trials += check(backend, queries, x, metric, int(rng.choice([1, 10])), 1, data)
    assert trials == 4 * (2 * 96 + 6)


@pytest.mark.parametrize("at_once", [1, 9])
def test_sums_of_codes_that_would_leave_int32(backend: str, at_once: int) -> None:
    if backend != "cpu":
        pytest.skip("scans the rows, whatever stands beside them")
    d = 140_000  # of the largest codes: 127 * 127 * d is beyond 2^31
    x = np.outer([1, 3, 2, -4, 2.5, -1, 0.5, 2], np.ones(d)).astype(np.float32)
    queries = np.ones((9, d), np.float32)
    expected = fc.topk(queries, x, 1, metric="ip", backend="numpy")
    for scan in ("int8", "int4", None):
        corpus = fc.Corpus(x, scan=scan, metric="ip", copy=False)
        cases.assert_same(corpus.search(queries[:at_once], 1, backend=backend), (expected[0][:at_once], expected[1][:at_once]), str(scan))
    codes = fc.quantize(x, "int8_row")
    expected = fc.topk(queries[:at_once], codes, 1, metric="ip", backend="numpy")
    cases.assert_same(fc.topk(queries[:at_once], codes, 1, metric="ip", backend=backend), expected, "int8")


@pytest.mark.parametrize("metric", ["l2", "sqeuclidean"])
def test_estimates_that_leave_float32(backend: str, metric: str) -> None:
    """Bytes count a distance in steps of the query: of a tiny one and large rows all are beyond the largest float."""
    if backend != "cpu":
        pytest.skip("scans the rows, whatever stands beside them")
    rng = cases.rng_of("beyond", metric)
    queries = (rng.standard_normal((12, 64)) * 2.0**-34).astype(np.float32)
    half = (rng.standard_normal((400, 64)) * 2.0**45).astype(np.float32)
    x = np.concatenate([half, -half])
    check(backend, queries, x, metric, 3, 12, "beyond")


@pytest.mark.parametrize("queries", [1, 9])
def test_many_products_too_small_for_float32(backend: str, queries: int) -> None:
    """Each is rounded by half the least float there is, all of a row's in one direction, and a row of NaN lies beside."""
    if backend != "cpu":
        pytest.skip("sums in float64")
    d, least = 1 << 20, 2.0**-75  # whose square is half the least float
    far = np.where(np.arange(d) % 2, 0.51, -0.49) * least  # as near as rounding makes it seem
    x = np.stack([far, far, far, np.full(d, 0.49 * least), np.full(d, np.nan), far]).astype(np.float32)
    assert fc.topk(np.full((queries, d), 2 * least, np.float32), x, 1, metric="l2", backend=backend)[1].tolist() == [[3]] * queries


@pytest.mark.parametrize("metric", ["ip", "cosine"])
def test_rows_that_bfloat16_rounds_apart(backend: str, metric: str) -> None:
    """A few queries meet rows as bfloat16: here each element of the best row is rounded down by half a step, and all others' are up."""
    if backend != "cpu":
        pytest.skip("scans floats")
    rng = cases.rng_of("bfloat16", metric)
    d, half = 32, 2.0**-8
    x = np.full((400, d), 1 + 1.01 * half, np.float32)
    x[np.arange(400), rng.integers(0, d, 400)] -= rng.uniform(0.002, 0.004, 400).astype(np.float32)
    x[[131, 257, 390]] = 1 + half
    for queries in range(1, 18):
        q = np.ones((queries, d), np.float32)
        expected = fc.topk(q, x, 3, metric=metric, backend="numpy")
        assert set(expected[1][0]) == {131, 257, 390}
        cases.assert_same(fc.topk(q, x, 3, metric=metric, backend=backend), expected, f"Q={queries}")


@pytest.mark.parametrize("metric", cases.FLOAT_METRICS)
@pytest.mark.parametrize("at_once", [1, 20])
def test_runs_of_allowed_rows_between_single_ones(backend: str, metric: str, at_once: int) -> None:
    """A scan takes what lies beside the codes where it lies in a run of rows, and gathers it where rows are missing."""
    if backend != "cpu":
        pytest.skip("scans the rows, whatever stands beside them")
    rng = cases.rng_of("runs", metric, at_once)
    for n, d in ((600, 16), (5000, 31)):
        x = rng.standard_normal((n, d)).astype(np.float32) * 10.0 ** rng.integers(-1, 2, (n, 1)).astype(np.float32)
        queries = x[rng.integers(0, n, 20)]
        for run in (60, 240, 1100):
            mask = np.where((np.arange(n) + run // 3) // run % 2 == 0, True, rng.random(n) < 0.6)
            expected = fc.topk(queries, x, 3, metric=metric, mask=mask, backend="numpy")
            for scan in ("int8", "int4", "auto", None):
                corpus = fc.Corpus(x, scan=scan, metric=metric, copy=False)
                for lo in range(0, len(queries), at_once):
                    part = slice(lo, lo + at_once)
                    answer = corpus.search(queries[part], 3, mask=mask, backend=backend)
                    cases.assert_same(answer, (expected[0][part], expected[1][part]), f"{metric} {scan} N={n} run={run}")
