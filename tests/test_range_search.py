"""range_search: the same bits as the reference from every backend, for every operand pair, metric, threshold and edge."""

from __future__ import annotations

import cases
import numpy as np
import oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastembed_core as fc
from fastembed_core import threads

pytestmark = pytest.mark.op("range_search")

F32 = cases.PAIRINGS[0]


def cut(scores: np.ndarray, indices: np.ndarray, threshold: object, metric: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What a complete ranking says is in range: an oracle that shares nothing with a range search but the scores."""
    wide, limits = scores.astype(np.float64), np.broadcast_to(np.float32(threshold).astype(np.float64), len(scores))[:, None]
    kept = (wide >= limits if metric in ("cosine", "ip") else wide <= limits) & (indices >= 0)
    return np.concatenate([[0], np.cumsum(kept.sum(1))]), scores[kept], indices[kept]


def thresholds_in(scores: np.ndarray) -> list[float]:
    """Thresholds that rows hit exactly, that all or none reach, and some between."""
    finite = scores.astype(np.float64)[np.isfinite(scores)]
    hit = [float(np.quantile(finite, part, method="nearest")) for part in (0.1, 0.5)] if finite.size else []
    return [*hit, 0.0, -1.0, np.inf, -np.inf]


def check(backend: str, pairing: cases.Pairing, q: int, n: int, d: int, values: str, metric: str) -> None:
    queries, corpus = cases.operands(pairing, q, n, d, values)
    ranked = oracle.topk(pairing, q, n, d, values, n, metric)
    for threshold in thresholds_in(ranked[0]):
        result = fc.range_search(queries, corpus, threshold, metric=metric, backend=backend)
        cases.assert_same(result, cut(*ranked, threshold, metric), f"{pairing} {metric} {values} Q={q} N={n} D={d} threshold={threshold}")


def test_the_reference_is_the_ranking_cut_off() -> None:
    for pairing, metric in cases.SCORED:
        check("reference", pairing, 4, 30, 9, "ties", metric)
        check("reference", pairing, 4, 30, 9, "nan", metric)


@pytest.mark.parametrize("pairing", cases.PAIRINGS, ids=str)
def test_every_pair_and_metric(backend: str, pairing: cases.Pairing) -> None:
    for metric in pairing.metrics:
        for d in cases.FEW_DIMS[::2]:
            check(backend, pairing, 5, 70, d, "normal", metric)
        check(backend, pairing, 3, 40, 33, "ties", metric)
        check(backend, pairing, 7, 700, 130, "normal", metric)  # enough to be scanned rather than scored whole
        check(backend, pairing, 2, 1100, 64, "ties", metric)


@pytest.mark.parametrize("values", cases.VALUES)
@pytest.mark.parametrize("pairing", cases.FEW_PAIRINGS, ids=str)
def test_every_kind_of_value(backend: str, pairing: cases.Pairing, values: str) -> None:
    for metric in pairing.metrics:
        for q, d in ((6, 1), (12, 200)):
            check(backend, pairing, q, 161, d, values, metric)


@pytest.mark.parametrize("metric", cases.FLOAT_METRICS)
@pytest.mark.parametrize("values", ["normal", "duplicates", "near", "offset", "nan"])
def test_corpus_of_many_blocks(backend: str, metric: str, values: str) -> None:
    check(backend, F32, 37, 5001, 24, values, metric)


@pytest.mark.parametrize(("q", "n", "d"), [(0, 5, 4), (3, 0, 4), (0, 0, 4), (3, 5, 0), (1, 1, 1), (70, 1, 3), (1, 70, 3)])
@pytest.mark.parametrize("pairing", cases.FEW_PAIRINGS, ids=str)
def test_empty_and_single(backend: str, pairing: cases.Pairing, q: int, n: int, d: int) -> None:
    for metric in pairing.metrics:
        check(backend, pairing, q, n, d, "normal", metric)


@pytest.mark.parametrize("pairing", cases.FEW_PAIRINGS, ids=str)
def test_masks_and_excludes(backend: str, pairing: cases.Pairing) -> None:
    for metric in pairing.metrics:
        q, n, d = 6, 403, 97
        queries, corpus = cases.operands(pairing, q, n, d, "nan" if pairing.corpus in cases.FLOATS else "ties")
        for exclude in (None, "self", cases.rng_of("exclude").integers(-1, n, (q, 30))):
            for name, mask in cases.masks(q, n, cases.rng_of("masks", pairing)):
                ranked = fc.topk(queries, corpus, n, metric=metric, mask=mask, exclude=exclude, backend="reference")
                for threshold in thresholds_in(ranked[0][:, : n // 4])[:3]:
                    result = fc.range_search(queries, corpus, threshold, metric=metric, mask=mask, exclude=exclude, backend=backend)
                    cases.assert_same(result, cut(*ranked, threshold, metric), f"mask {name} exclude {exclude!r}")


def test_a_threshold_for_each_query(backend: str) -> None:
    for pairing, metric in cases.FEW_SCORED:
        queries, corpus = cases.operands(pairing, 5, 300, 33)
        ranked = fc.topk(queries, corpus, 300, metric=metric, backend="reference")
        limits = ranked[0][np.arange(5), [0, 10, 100, 299, 5]].astype(np.float32)
        cases.assert_same(fc.range_search(queries, corpus, limits, metric=metric, backend=backend), cut(*ranked, limits, metric))


def test_at_most_so_many(backend: str) -> None:
    for pairing, metric in cases.FEW_SCORED:
        queries, corpus = cases.operands(pairing, 5, 300, 33, "ties")
        ranked = fc.topk(queries, corpus, 300, metric=metric, backend="reference")
        for most in (0, 1, 7, 10**9):
            for threshold in thresholds_in(ranked[0]):
                result = fc.range_search(queries, corpus, threshold, metric=metric, max_results=most, backend=backend)
                cases.assert_same(result, cut(ranked[0][:, :most], ranked[1][:, :most], threshold, metric), f"{metric} {most}")


def test_the_threshold_is_float32_and_inclusive(backend: str) -> None:
    x = np.array([[0.1], [0.3], [0.30000004]], np.float32)
    assert fc.range_search(np.ones((1, 1), np.float32), x, 0.1, metric="ip", backend=backend)[0].tolist() == [0, 3]
    assert fc.range_search(np.ones((1, 1), np.float32), x, 0.3, metric="ip", backend=backend)[2].tolist() == [2, 1]
    zeros = np.zeros((1, 1), np.float32)
    assert fc.range_search(zeros, x, 0.3, metric="l2", backend=backend)[2].tolist() == [0, 1]
    assert fc.range_search(zeros, x, np.float32(0.3), metric="sqeuclidean", backend=backend)[2].tolist() == [0, 1, 2]


def test_integers_are_compared_as_integers(backend: str) -> None:
    """2**24 + 1 is no float32: the threshold is rounded, the scores are not."""
    x = np.full((3, 3000), 127, np.int8)
    x[:, :2] = [[127, 127], [127, 126], [126, 126]]
    exact = fc.similarity(x, x, "ip")[0].astype(np.float64)
    threshold = np.float32(exact[1])
    result = fc.range_search(x[:1], x, threshold, metric="ip", backend=backend)
    assert result[2].tolist() == [i for i in range(3) if exact[i] >= np.float64(threshold)]


def test_the_same_on_any_number_of_threads_and_batch(backend: str) -> None:
    for pairing, metric in cases.FEW_SCORED:
        queries, corpus = cases.operands(pairing, 19, 4000, 48)
        ranked = fc.topk(queries, corpus, 40, metric=metric)
        threshold = float(np.median(ranked[0][:, -1].astype(np.float64)))
        expected = cut(*fc.topk(queries, corpus, 4000, metric=metric), threshold, metric)
        for n in (1, 2, 3):
            with threads.limit(n):
                cases.assert_same(fc.range_search(queries, corpus, threshold, metric=metric, backend=backend), expected, f"{pairing} {n}")
        indptr, scores, rows = fc.range_search(queries[3:11], corpus, threshold, metric=metric, backend=backend)
        part = slice(expected[0][3], expected[0][11])
        cases.assert_same((indptr, scores, rows), (expected[0][3:12] - expected[0][3], expected[1][part], expected[2][part]))


@pytest.mark.parametrize("layout", cases.LAYOUTS)
@pytest.mark.parametrize("pairing", cases.FEW_PAIRINGS, ids=str)
def test_layouts(backend: str, pairing: cases.Pairing, layout: str) -> None:
    for metric in pairing.metrics:
        queries, corpus = cases.operands(pairing, 9, 500, 33)
        ranked = fc.topk(queries, corpus, 500, metric=metric, backend="reference")
        threshold = float(ranked[0][0, 50])
        queries, corpus = (cases.laid_out(x, cases.LAYOUTS[layout]) for x in (queries, corpus))
        result = fc.range_search(queries, corpus, threshold, metric=metric, backend=backend)
        cases.assert_same(result, cut(*ranked, threshold, metric), layout)


@given(data=st.data())
def test_random_cases(backend: str, data: st.DataObject) -> None:
    pairing, metric = data.draw(st.sampled_from(cases.SCORED))
    q, n, d = data.draw(st.integers(0, 9)), data.draw(st.integers(0, 400)), data.draw(st.integers(0, 140))
    values = data.draw(st.sampled_from(sorted(cases.VALUES)))
    queries, corpus = cases.operands(pairing, q, n, d, values)
    ranked = fc.topk(queries, corpus, n, metric=metric, backend="reference")
    threshold = data.draw(st.sampled_from(thresholds_in(ranked[0])))
    cases.assert_same(fc.range_search(queries, corpus, threshold, metric=metric, backend=backend), cut(*ranked, threshold, metric))


def test_gradients_flow_into_the_scores() -> None:
    torch = pytest.importorskip("torch")
    q = torch.tensor([[1.0, 2.0], [0.5, -1.0]], requires_grad=True)
    x = torch.tensor([[1.0, 0.0], [0.0, 1.0], [3.0, 3.0]])
    for most in (None, 3):
        indptr, scores, rows = fc.range_search(q, x, 0.25, metric="ip", max_results=most)
        assert indptr.tolist() == [0, 3, 4]
        assert rows.tolist() == [2, 1, 0, 0]
        (gradient,) = torch.autograd.grad(scores.sum(), q)
        assert gradient.tolist() == [[4.0, 4.0], [1.0, 0.0]]
    with pytest.raises(TypeError, match="cpu keeps no gradients"):
        fc.range_search(q, x, 0.25, metric="ip", backend="cpu")


def test_tensors_come_back_as_tensors() -> None:
    torch = pytest.importorskip("torch")
    x = torch.arange(12.0).reshape(4, 3)
    expected = fc.range_search(x[:2].numpy(), x.numpy(), torch.tensor(0.9).numpy())
    result = fc.range_search(x[:2], x, torch.tensor(0.9))
    assert all(isinstance(part, torch.Tensor) for part in result)
    cases.assert_same(tuple(part.numpy() for part in result), expected)


@pytest.mark.parametrize(
    ("threshold", "error"),
    [("0.5", TypeError), (None, TypeError), (True, TypeError), ([[1.0]], ValueError), (np.nan, ValueError), (1j, TypeError)],
)
def test_thresholds_that_are_none(threshold: object, error: type[Exception]) -> None:
    x = np.ones((2, 3), np.float32)
    with pytest.raises(error, match=r"^threshold: got .*, expected"):
        fc.range_search(x, x, threshold)
    with pytest.raises(ValueError, match=r"^threshold: got shape \(3,\), expected"):
        fc.range_search(x, x, [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match=r"^max_results: got -1"):
        fc.range_search(x, x, 0.0, max_results=-1)
