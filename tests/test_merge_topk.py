"""merge_topk and assign: shards merged are one search over the whole, and assignment is a search of one."""

from __future__ import annotations

import itertools
from typing import Any

import cases
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastembed_core as fc


def shards(queries: Any, corpus: Any, cuts: list[int], k: int, metric: str, **how: Any) -> tuple[list[Any], list[int]]:
    bounds = [0, *cuts, len(corpus)]
    return [fc.topk(queries, corpus[lo:hi], k, metric=metric, **how) for lo, hi in itertools.pairwise(bounds)], bounds[:-1]


@pytest.mark.op("merge_topk", reference=True)
@pytest.mark.parametrize("values", ["ties", "nan", "inf", "normal"])
def test_shards_are_one_search(backend: str, values: str) -> None:
    for pairing, metric in cases.FEW_SCORED:
        queries, corpus = cases.operands(pairing, 5, 60, 9, values)
        for k in (0, 1, 7, 60, 99):
            for cuts in ([], [30], [0, 3, 3, 50], [59]):
                parts, first = shards(queries, corpus, cuts, k, metric)
                merged = fc.merge_topk(parts, k, metric=metric, offsets=first, backend=backend)
                cases.assert_same(merged, fc.topk(queries, corpus, k, metric=metric), f"{pairing} {metric} k={k} {cuts}")


@pytest.mark.op("merge_topk", reference=True)
def test_masks_leave_unfilled_places(backend: str) -> None:
    for pairing, metric in cases.FEW_SCORED:
        queries, corpus = cases.operands(pairing, 4, 40, 9, "ties")
        mask = np.zeros(40, bool)
        mask[[3, 25, 39]] = True
        parts = [fc.topk(queries, corpus[lo:hi], 6, metric=metric, mask=mask[lo:hi]) for lo, hi in ((0, 20), (20, 40))]
        merged = fc.merge_topk(parts, 6, metric=metric, offsets=[0, 20], backend=backend)
        cases.assert_same(merged, fc.topk(queries, corpus, 6, metric=metric, mask=mask))


@pytest.mark.op("merge_topk", reference=True)
@given(data=st.data())
def test_order_whatever_the_parts(backend: str, data: st.DataObject) -> None:
    """Parts in any order and no order, against sorting triples in Python."""
    larger, integers = data.draw(st.booleans()), data.draw(st.booleans())
    q = data.draw(st.integers(0, 3))
    number = st.integers(-3, 3) if integers else st.sampled_from([-np.inf, -1.5, -0.0, 0.0, 2.0, np.inf, np.nan])
    parts = []
    for _ in range(data.draw(st.integers(1, 4))):
        width = data.draw(st.integers(0, 5))
        scores = data.draw(st.lists(number, min_size=q * width, max_size=q * width))
        rows = data.draw(st.lists(st.integers(-1, 2**40), min_size=q * width, max_size=q * width))
        parts.append((np.array(scores, np.int32 if integers else np.float32).reshape(q, width), np.array(rows, np.int64).reshape(q, width)))
    k = data.draw(st.integers(0, 12))
    scores, rows = fc.merge_topk(parts, k, larger=larger, backend=backend)
    assert scores.shape == rows.shape == (q, min(k, sum(p[0].shape[1] for p in parts)))
    for i in range(q):
        places = [(float(s), int(r)) for p in parts for s, r in zip(p[0][i], p[1][i], strict=True)]
        filled = [p for p in places if p[1] >= 0]
        filled.sort(key=lambda p: (np.isnan(p[0]), 0 if np.isnan(p[0]) else -p[0] if larger else p[0], p[1]))
        expected = (filled + [(0.0, -1)] * len(places))[: rows.shape[1]]
        assert rows[i].tolist() == [p[1] for p in expected]
        np.testing.assert_array_equal(scores[i][rows[i] >= 0].astype(float), [p[0] for p in expected if p[1] >= 0])


def test_torch_parts_and_their_gradient() -> None:
    torch = pytest.importorskip("torch")
    scores = torch.tensor([[3.0, 1.0]], requires_grad=True)
    other = torch.tensor([[2.0]])
    merged, rows = fc.merge_topk([(scores, torch.tensor([[0, 1]])), (other, torch.tensor([[0]]))], 2, metric="ip", offsets=[0, 10])
    assert rows.tolist() == [[0, 10]]
    (gradient,) = torch.autograd.grad(merged.sum(), scores)
    assert gradient.tolist() == [[1.0, 0.0]]
    plain = fc.merge_topk([(scores.detach(), torch.tensor([[0, 1]]))], 1, metric="ip")
    assert isinstance(plain[0], torch.Tensor)


GOOD = (np.zeros((2, 3), np.float32), np.zeros((2, 3), np.int64))


@pytest.mark.parametrize(
    ("argument", "error", "call"),
    [
        ("parts", TypeError, lambda: fc.merge_topk([], 1, metric="ip")),
        ("parts", TypeError, lambda: fc.merge_topk(GOOD, 1, metric="ip")),
        ("parts", TypeError, lambda: fc.merge_topk([(GOOD[0].astype(np.float64), GOOD[1])], 1, metric="ip")),
        ("parts", TypeError, lambda: fc.merge_topk([(GOOD[0], GOOD[1].astype(np.int32))], 1, metric="ip")),
        ("parts", TypeError, lambda: fc.merge_topk([GOOD, (GOOD[0].astype(np.int32), GOOD[1])], 1, metric="ip")),
        ("parts", ValueError, lambda: fc.merge_topk([GOOD, (GOOD[0][:1], GOOD[1][:1])], 1, metric="ip")),
        ("parts", ValueError, lambda: fc.merge_topk([(GOOD[0], GOOD[1][:, :2])], 1, metric="ip")),
        ("metric", ValueError, lambda: fc.merge_topk([GOOD], 1)),
        ("metric", ValueError, lambda: fc.merge_topk([GOOD], 1, metric="ip", larger=True)),
        ("metric", ValueError, lambda: fc.merge_topk([GOOD], 1, metric="nearness")),
        ("offsets", ValueError, lambda: fc.merge_topk([GOOD], 1, metric="ip", offsets=[0, 1])),
        ("offsets", ValueError, lambda: fc.merge_topk([GOOD], 1, metric="ip", offsets=[-1])),
        ("k", ValueError, lambda: fc.merge_topk([GOOD], -1, metric="ip")),
        ("centroids", ValueError, lambda: fc.assign(GOOD[0], GOOD[0][:0])),
    ],
)
def test_bad_input(argument: str, error: type[Exception], call: Any) -> None:
    with pytest.raises(error, match=f"^{argument}: got ") as caught:
        call()
    assert "\n" not in str(caught.value)


@pytest.mark.op("topk", reference=True)
def test_assign_is_the_nearest_centroid(backend: str) -> None:
    for pairing, metric in cases.FEW_SCORED:
        x, centroids = cases.operands(pairing, 50, 7, 12, "ties")
        labels, scores = fc.assign(x, centroids, metric=metric, backend=backend)
        expected = fc.topk(x, centroids, 1, metric=metric, backend="reference")
        cases.assert_same((scores, labels), (expected[0][:, 0], expected[1][:, 0]))


@pytest.mark.op("topk", reference=True)
def test_assign_breaks_ties_low_and_takes_nan_to_zero(backend: str) -> None:
    centroids = np.array([[1, 0], [0, 1], [1, 0]], np.float32)
    labels, scores = fc.assign(np.array([[2, 0], [0, 2], [0.5, 0.5], [np.nan, 0]], np.float32), centroids, backend=backend)
    assert labels.tolist() == [0, 1, 0, 0]
    assert scores[:2].tolist() == [1.0, 1.0]
    assert np.isnan(scores[3])
