"""rescore: canonical scores of given candidates, the same bits as the reference from every backend."""

from __future__ import annotations

import pathlib

import cases
import numpy as np
import pytest

import fastembed_core as fc

pytestmark = pytest.mark.op("rescore")


def candidates_of(q: int, n: int, c: int) -> np.ndarray:
    """(q, c) ids in no order, some named twice, some -1."""
    return cases.rng_of("candidates", q, n, c).integers(-1, n, (q, c))


@pytest.mark.parametrize("pairing", cases.PAIRINGS, ids=str)
def test_every_pair_and_metric(backend: str, pairing: cases.Pairing) -> None:
    for metric in pairing.metrics:
        for d in cases.FEW_DIMS:
            queries, corpus = cases.operands(pairing, 5, 60, d)
            ids = candidates_of(5, 60, 23)
            for k in (None, 4):
                expected = fc.rescore(queries, corpus, ids, k, metric=metric, backend="reference")
                cases.assert_same(fc.rescore(queries, corpus, ids, k, metric=metric, backend=backend), expected, f"D={d} k={k}")


@pytest.mark.parametrize("values", cases.VALUES)
@pytest.mark.parametrize("pairing", cases.FEW_PAIRINGS, ids=str)
def test_every_kind_of_value(backend: str, pairing: cases.Pairing, values: str) -> None:
    for metric in pairing.metrics:
        for d in (1, 9, 64):
            queries, corpus = cases.operands(pairing, 6, 61, d, values)
            ids = candidates_of(6, 61, 30)
            expected = fc.rescore(queries, corpus, ids, 20, metric=metric, backend="reference")
            cases.assert_same(fc.rescore(queries, corpus, ids, 20, metric=metric, backend=backend), expected, f"{values} D={d}")


@pytest.mark.parametrize(
    ("q", "n", "d", "c", "k"), [(0, 5, 4, 3, 2), (3, 5, 4, 0, 2), (3, 5, 0, 3, 2), (3, 5, 4, 3, 0), (3, 5, 4, 3, 99), (2, 0, 4, 0, 1)]
)
@pytest.mark.parametrize("pairing", cases.FEW_PAIRINGS, ids=str)
def test_empty(backend: str, pairing: cases.Pairing, q: int, n: int, d: int, c: int, k: int) -> None:
    for metric in pairing.metrics:
        queries, corpus = cases.operands(pairing, q, n, d)
        ids = candidates_of(q, max(n, 1), c)
        expected = fc.rescore(queries, corpus, ids, k, metric=metric, backend="reference")
        cases.assert_same(fc.rescore(queries, corpus, ids, k, metric=metric, backend=backend), expected)
        assert expected[0].shape == (q, min(k, c))


def test_no_candidates_in_an_empty_corpus(backend: str) -> None:
    scores, indices = fc.rescore(np.ones((2, 3), np.float32), np.empty((0, 3), np.float32), np.full((2, 4), -1), backend=backend)
    assert (indices == -1).all()
    assert (scores == -np.inf).all()


def test_lists_of_different_lengths(backend: str) -> None:
    x = cases.rng_of("csr").standard_normal((40, 9)).astype(np.float32)
    indptr, rows = np.array([0, 3, 3, 8]), np.array([5, 1, 9, 0, 39, 7, 7, -1])
    scores, indices = fc.rescore(x[:3], x, (indptr, rows), metric="l2", backend=backend)
    cases.assert_same((scores, indices), fc.rescore(x[:3], x, (indptr, rows), metric="l2", backend="reference"))
    assert indices.shape == (3, 5)
    assert sorted(indices[0]) == [-1, -1, 1, 5, 9]
    assert (indices[1] == -1).all()
    assert sorted(indices[2]) == [-1, 0, 7, 7, 39]


def test_all_rows_as_candidates_is_topk(backend: str) -> None:
    for pairing, metric in cases.FEW_SCORED:
        queries, corpus = cases.operands(pairing, 4, 50, 20, "ties")
        everything = np.tile(np.arange(49, -1, -1), (4, 1))
        expected = fc.topk(queries, corpus, 12, metric=metric, backend="reference")
        cases.assert_same(fc.rescore(queries, corpus, everything, 12, metric=metric, backend=backend), expected)


def test_many_candidates(backend: str) -> None:
    """More than a workspace's worth of pairs."""
    x = cases.rng_of("many").standard_normal((500, 64)).astype(np.float32)
    ids = candidates_of(40, 500, 4000)
    expected = fc.rescore(x[:40], x, ids, 10, backend="reference")
    cases.assert_same(fc.rescore(x[:40], x, ids, 10, backend=backend), expected)


@pytest.mark.parametrize("layout", [*cases.LAYOUTS, "mapped"])
@pytest.mark.parametrize("pairing", cases.FEW_PAIRINGS, ids=str)
def test_layouts(backend: str, pairing: cases.Pairing, layout: str, tmp_path: pathlib.Path) -> None:
    for metric in pairing.metrics:
        queries, corpus = cases.operands(pairing, 4, 50, 33)
        ids = candidates_of(4, 50, 9)
        expected = fc.rescore(queries, corpus, ids, metric=metric, backend="reference")
        change = (lambda x: cases.mapped(x, tmp_path)) if layout == "mapped" else cases.LAYOUTS[layout]
        moved = cases.laid_out(corpus, change)
        cases.assert_same(fc.rescore(queries, moved, ids, metric=metric, backend=backend), expected, layout)


def test_out_and_id_types(backend: str) -> None:
    x = cases.rng_of("out").standard_normal((40, 12)).astype(np.float32)
    ids = candidates_of(3, 40, 8)
    expected = fc.rescore(x[:3], x, ids, 5, backend="reference")
    out = np.zeros((3, 5), np.float32), np.zeros((3, 5), np.int64)
    for given in (ids, ids.astype(np.int32), np.asfortranarray(ids)):
        assert fc.rescore(x[:3], x, given, 5, out=out, backend=backend)[1] is out[1]
        cases.assert_same(out, expected)
