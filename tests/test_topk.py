"""topk: the same bits as the reference from every backend, for every operand pair, metric and edge."""

from __future__ import annotations

import pathlib

import cases
import numpy as np
import oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastembed_core as fc

pytestmark = pytest.mark.op("topk")

F32 = cases.PAIRINGS[0]


def check(backend: str, pairing: cases.Pairing, q: int, n: int, d: int, values: str, k: int, metric: str) -> None:
    queries, corpus = cases.operands(pairing, q, n, d, values)
    result = fc.topk(queries, corpus, k, metric=metric, backend=backend)
    cases.assert_same(result, oracle.topk(pairing, q, n, d, values, k, metric), f"{pairing} {metric} {values} Q={q} N={n} D={d} k={k}")


@pytest.mark.parametrize("pairing", cases.PAIRINGS, ids=str)
def test_every_pair_and_metric(backend: str, pairing: cases.Pairing) -> None:
    for metric in pairing.metrics:
        for d in cases.FEW_DIMS:
            check(backend, pairing, 5, 70, d, "normal", 7, metric)
        check(backend, pairing, 3, 40, 33, "ties", 40, metric)


@pytest.mark.parametrize("pairing", cases.PAIRINGS, ids=str)
def test_every_pair_scanned(backend: str, pairing: cases.Pairing) -> None:
    """Enough work for estimates: a few rows walked, then tiles with an edge each way, at dimensions that fill no byte and no vector."""
    for metric in pairing.metrics:
        check(backend, pairing, 2, 1100, 67, "normal", 7, metric)
        check(backend, pairing, 19, 301, 133, "normal", 7, metric)
        check(backend, pairing, 40, 301, 36, "ties", 30, metric)


@pytest.mark.parametrize("pairing", cases.FEW_PAIRINGS, ids=str)
def test_every_dimension(backend: str, pairing: cases.Pairing) -> None:
    for metric in pairing.metrics:
        for d in cases.DIMS:
            check(backend, pairing, 3, 33, d, "normal", 5, metric)


@pytest.mark.parametrize("values", cases.VALUES)
@pytest.mark.parametrize("pairing", cases.FEW_PAIRINGS, ids=str)
def test_every_kind_of_value(backend: str, pairing: cases.Pairing, values: str) -> None:
    for metric in pairing.metrics:
        for d in (1, 9, 64):
            for k in (1, 6, 61):
                check(backend, pairing, 6, 61, d, values, k, metric)


@pytest.mark.parametrize("metric", cases.FLOAT_METRICS)
@pytest.mark.parametrize("values", ["normal", "ties", "duplicates", "near", "offset", "nan", "zero_rows"])
def test_corpus_of_many_blocks(backend: str, metric: str, values: str) -> None:
    """Long enough for thresholds to be carried over from block to block, and for the tile of queries to have an edge."""
    check(backend, F32, 37, 9001, 24, values, 11, metric)


@pytest.mark.parametrize(("q", "n", "d"), [(0, 5, 4), (3, 0, 4), (0, 0, 4), (3, 5, 0), (0, 5, 0), (1, 1, 1), (70, 1, 3), (1, 70, 3)])
@pytest.mark.parametrize("pairing", cases.FEW_PAIRINGS, ids=str)
def test_empty_and_single(backend: str, pairing: cases.Pairing, q: int, n: int, d: int) -> None:
    for metric in pairing.metrics:
        check(backend, pairing, q, n, d, "normal", 4, metric)


@pytest.mark.parametrize("pairing", cases.FEW_PAIRINGS, ids=str)
def test_any_k(backend: str, pairing: cases.Pairing) -> None:
    for metric in pairing.metrics:
        for k in (0, 1, 2, 1025, 1499, 1500, 10**6, 2**62):
            queries, corpus = cases.operands(pairing, 2, 1500, 16, "ties")
            expected = oracle.topk(pairing, 2, 1500, 16, "ties", 1500, metric)
            scores, indices = fc.topk(queries, corpus, k, metric=metric, backend=backend)
            cases.assert_same((scores, indices), (expected[0][:, :k], expected[1][:, :k]), f"k={k}")


@pytest.mark.parametrize("pairing", cases.FEW_PAIRINGS, ids=str)
def test_masks(backend: str, pairing: cases.Pairing) -> None:
    for metric in pairing.metrics:
        q, n = 5, 203
        queries, corpus = cases.operands(pairing, q, n, 17, "nan" if pairing.corpus in cases.FLOATS else "ties")
        for name, mask in cases.masks(q, n, cases.rng_of("masks", pairing)):
            for k in (1, 10, n):
                expected = fc.topk(queries, corpus, k, metric=metric, mask=mask, backend="reference")
                cases.assert_same(fc.topk(queries, corpus, k, metric=metric, mask=mask, backend=backend), expected, f"mask {name} k={k}")


@pytest.mark.parametrize("pairing", cases.FEW_PAIRINGS, ids=str)
def test_excludes(backend: str, pairing: cases.Pairing) -> None:
    for metric in pairing.metrics:
        q, n = 6, 90
        queries, corpus = cases.operands(pairing, q, n, 12, "ties")
        rng = cases.rng_of("exclude")
        own = rng.integers(-1, n, (q, 30))
        own[0] = -1
        mask = rng.random((q, n)) < 0.5
        for exclude in ("self", own[:, 0], own, own.astype(np.int32), np.empty((q, 0), np.int64)):
            for k in (1, 8, n):
                expected = fc.topk(queries, corpus, k, metric=metric, exclude=exclude, mask=mask, backend="reference")
                result = fc.topk(queries, corpus, k, metric=metric, exclude=exclude, mask=mask, backend=backend)
                cases.assert_same(result, expected, f"exclude {exclude!r} k={k}")


def test_self_finds_the_second_best(backend: str) -> None:
    x = cases.rng_of("self").standard_normal((50, 20)).astype(np.float32)
    with_self = fc.topk(x, x, 2, backend=backend)
    without = fc.topk(x, x, 1, exclude="self", backend=backend)
    assert (with_self[1][:, 0] == np.arange(50)).all()
    cases.assert_same((without[0][:, 0], without[1][:, 0]), (with_self[0][:, 1], with_self[1][:, 1]))


def test_more_queries_than_rows_under_self(backend: str) -> None:
    x = cases.rng_of("self").standard_normal((9, 4)).astype(np.float32)
    cases.assert_same(fc.topk(x, x[:5], 5, exclude="self", backend=backend), fc.topk(x, x[:5], 5, exclude="self", backend="reference"))


@pytest.mark.parametrize("metric", cases.FLOAT_METRICS)
def test_unfilled_places(backend: str, metric: str) -> None:
    x = cases.rng_of("unfilled").standard_normal((6, 4)).astype(np.float32)
    mask = np.array([True, False, True, False, False, False])
    scores, indices = fc.topk(x[:2], x, 5, metric=metric, mask=mask, backend=backend)
    assert (np.sort(indices[:, :2]) == [0, 2]).all()
    assert (indices[:, 2:] == -1).all()
    assert (scores[:, 2:] == (-np.inf if metric in ("cosine", "ip") else np.inf)).all()


@pytest.mark.parametrize(("metric", "worst"), [("ip", np.iinfo(np.int32).min), ("sqeuclidean", np.iinfo(np.int32).max)])
def test_unfilled_integer_places(backend: str, metric: str, worst: int) -> None:
    x = np.arange(12, dtype=np.int8).reshape(3, 4)
    scores, indices = fc.topk(x, x, 3, metric=metric, mask=np.array([False, True, False]), backend=backend)
    assert scores.dtype == np.int32
    assert (indices == [[1, -1, -1]] * 3).all()
    assert (scores[:, 1:] == worst).all()


def test_nan_ranks_last_and_displaces_nothing(backend: str) -> None:
    x = np.eye(5, dtype=np.float32)
    x[1] = np.nan
    scores, indices = fc.topk(np.ones((1, 5), np.float32), x, 5, metric="ip", backend=backend)
    assert indices[0].tolist() == [0, 2, 3, 4, 1]
    assert np.isnan(scores[0, 4])
    assert scores.view(np.uint32)[0, 4] == 0x7FC00000


def test_nan_query_returns_its_first_allowed_rows(backend: str) -> None:
    x = cases.rng_of("nan query").standard_normal((5000, 8)).astype(np.float32)
    q = np.full((2, 8), np.nan, np.float32)
    q[1] = 1
    mask = np.arange(5000) >= 7
    scores, indices = fc.topk(q, x, 4, mask=mask, exclude=np.array([[8], [-1]]), backend=backend)
    assert indices[0].tolist() == [7, 9, 10, 11]
    assert (scores.view(np.uint32)[0] == 0x7FC00000).all()
    assert not np.isnan(scores[1]).any()


def test_infinities_are_numbers(backend: str) -> None:
    x = np.array([[1], [np.inf], [-np.inf], [0], [np.nan]], np.float32)
    scores, indices = fc.topk(np.ones((1, 1), np.float32), x, 5, metric="ip", backend=backend)
    assert indices[0].tolist() == [1, 0, 3, 2, 4]
    assert scores[0, :4].tolist() == [np.inf, 1, 0, -np.inf]


def test_a_zero_row_has_cosine_zero(backend: str) -> None:
    x = np.zeros((3, 7), np.float32)
    x[1] = 1
    for q in (np.ones((1, 7), np.float32), np.zeros((1, 7), np.float32)):
        cases.assert_same(fc.topk(q, x, 3, backend=backend), fc.topk(q, x, 3, backend="reference"))
    assert fc.topk(np.zeros((1, 7), np.float32), x, 3, backend=backend)[0].tolist() == [[0, 0, 0]]


def test_minus_zero_becomes_zero(backend: str) -> None:
    x = np.array([[-0.0], [0.0]], np.float32)
    scores, indices = fc.topk(np.array([[1], [-1]], np.float32), x, 2, metric="ip", backend=backend)
    assert not scores.view(np.uint32).any()
    assert indices.tolist() == [[0, 1], [0, 1]]


@pytest.mark.parametrize("layout", [*cases.LAYOUTS, "fortran queries", "mapped"])
@pytest.mark.parametrize("pairing", cases.FEW_PAIRINGS, ids=str)
def test_layouts(backend: str, pairing: cases.Pairing, layout: str, tmp_path: pathlib.Path) -> None:
    for metric in pairing.metrics:
        for d in (7, 33):
            queries, corpus = cases.operands(pairing, 4, 50, d)
            expected = oracle.topk(pairing, 4, 50, d, "normal", 6, metric)
            if layout == "mapped":
                corpus = cases.laid_out(corpus, lambda x: cases.mapped(x, tmp_path))
            elif layout == "fortran queries":
                queries = cases.laid_out(queries, cases.fortran)
            else:
                queries, corpus = (cases.laid_out(x, cases.LAYOUTS[layout]) for x in (queries, corpus))
            cases.assert_same(fc.topk(queries, corpus, 6, metric=metric, backend=backend), expected, f"{layout} D={d}")


def test_scales_in_another_byte_order(backend: str) -> None:
    codes = fc.quantize(cases.rng_of("scales").standard_normal((50, 16)).astype(np.float32), "int8_row")
    assert codes.scale is not None
    swapped = fc.Codes(codes.data, codes.precision, codes.dim, codes.scale.astype(codes.scale.dtype.newbyteorder()))
    expected = fc.topk(codes[:3], codes, 4, metric="ip", backend="reference")
    cases.assert_same(fc.topk(codes[:3], swapped, 4, metric="ip", backend=backend), expected)


def test_one_row_repeated_by_a_zero_stride(backend: str) -> None:
    row = cases.rng_of("broadcast").standard_normal((1, 19)).astype(np.float32)
    corpus = np.broadcast_to(row, (3000, 19))
    scores, indices = fc.topk(row, corpus, 5, metric="l2", backend=backend)
    assert indices.tolist() == [[0, 1, 2, 3, 4]]
    assert not scores.any()


@pytest.mark.parametrize("dtype", [np.float32, np.int8])
def test_out(backend: str, dtype: type) -> None:
    x = cases.rng_of("out").integers(-100, 100, (40, 12)).astype(dtype)
    expected = fc.topk(x[:3], x, 5, metric="ip", backend="reference")
    out = np.zeros((3, 10), expected[0].dtype)[:, ::2], np.zeros((3, 5), np.int64)
    result = fc.topk(x[:3], x, 5, metric="ip", out=out, backend=backend)
    assert result[0] is out[0]
    assert result[1] is out[1]
    cases.assert_same(out, expected)


def test_a_threshold_from_a_block_of_the_best_rows(backend: str) -> None:
    """The best rows come first and last: a threshold taken too high would drop the last ones, too low keeps all."""
    rng = cases.rng_of("edges")
    x = rng.standard_normal((20_000, 16)).astype(np.float32)
    x[:5] *= 10
    x[-5:] = x[:5]
    check_against_reference(backend, x[:3], x, 10)
    check_against_reference(backend, x[:3], x[::-1].copy(), 10)


def check_against_reference(backend: str, queries: np.ndarray, corpus: np.ndarray, k: int) -> None:
    for metric in cases.FLOAT_METRICS:
        expected = fc.topk(queries, corpus, k, metric=metric, backend="reference")
        cases.assert_same(fc.topk(queries, corpus, k, metric=metric, backend=backend), expected, metric)


def test_large_dimension(backend: str) -> None:
    """Longer than any block of a sum over D."""
    rng = cases.rng_of("large")
    x = rng.standard_normal((9, 40_001)).astype(np.float32)
    check_against_reference(backend, x[:2] + x[3:5], x, 4)


def test_integers_beyond_two_to_the_24(backend: str) -> None:
    """Scores that differ by one where float32 no longer tells them apart."""
    x = np.full((300, 3000), 127, np.int8)
    x[np.arange(300), np.arange(300) % 7] = 126 + np.arange(300) % 2
    for metric in ("ip", "sqeuclidean", "cosine", "l2"):
        expected = fc.topk(x[:2], x, 50, metric=metric, backend="reference")
        cases.assert_same(fc.topk(x[:2], x, 50, metric=metric, backend=backend), expected, metric)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_integer_extremes_at_the_largest_dimension(backend: str, dtype: type) -> None:
    from fastembed_core.ops.scores import MAX_DIM_8BIT, MAX_DIM_INT8_IP

    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    d = MAX_DIM_INT8_IP if dtype is np.int8 else MAX_DIM_8BIT
    x = np.full((2, d), high, dtype)
    x[0] = low if dtype is np.int8 else high
    assert fc.topk(x[:1], x, 1, metric="ip", backend=backend)[0].tolist() == [[int(x[0, 0]) ** 2 * d]]
    y = np.full((1, MAX_DIM_8BIT), low, dtype)
    z = np.full((1, MAX_DIM_8BIT), high, dtype)
    assert fc.topk(y, z, 1, metric="sqeuclidean", backend=backend)[0].tolist() == [[255**2 * MAX_DIM_8BIT]]


@given(data=st.data())
def test_random_cases(backend: str, data: st.DataObject) -> None:
    pairing, metric = data.draw(st.sampled_from(cases.SCORED))
    q, n, d = data.draw(st.integers(0, 9)), data.draw(st.integers(0, 150)), data.draw(st.integers(0, 140))
    k, values = data.draw(st.integers(0, 160)), data.draw(st.sampled_from(sorted(cases.VALUES)))
    queries, corpus = cases.operands(pairing, q, n, d, values)
    mask = cases.rng_of(q, n).random((q, n)) < 0.7 if data.draw(st.booleans()) else None
    exclude = "self" if data.draw(st.booleans()) else None
    expected = fc.topk(queries, corpus, k, metric=metric, mask=mask, exclude=exclude, backend="reference")
    cases.assert_same(fc.topk(queries, corpus, k, metric=metric, mask=mask, exclude=exclude, backend=backend), expected)
