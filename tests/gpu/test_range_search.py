"""range_search from Triton: the reference's bits."""

from __future__ import annotations

import cases
import numpy as np
import pytest
import torch

import fastembed_core as fc
from fastembed_core.ops.range_search import _packed

from .operands import agree, moved

# Some rows reach these and some do not.
LIMITS = {"cosine": 0.3, "ip": 20.0, "l2": 7.0, "sqeuclidean": 60.0, "hamming": 17, "jaccard": 0.62}


@pytest.mark.parametrize("values", ["normal", "ties", "nan"])
def test_against_the_reference(device: str, values: str) -> None:
    for pairing, metric in cases.FEW_SCORED[:: 3 if values == "normal" else 9]:
        queries, corpus = cases.operands(pairing, 2, 90, 37, values)
        for limit in (LIMITS[metric], -np.inf) if values == "nan" else (LIMITS[metric],):
            agree(fc.range_search, device, queries, corpus, limit, metric=metric, what=f"{pairing} {metric}")


def test_masks_excludes_and_limits_of_each_query(device: str) -> None:
    x = cases.rng_of("range").standard_normal((90, 8)).astype(np.float32)
    queries, limits = x[:4].copy(), np.array([0.2, np.inf, -np.inf, 0.9], np.float32)
    for name, mask in cases.masks(4, 90, cases.rng_of("rows")):
        expected = fc.range_search(queries, x, limits, metric="cosine", mask=mask, exclude="self", backend="reference")
        given = moved(np.ascontiguousarray(mask), device)
        result = fc.range_search(
            moved(queries, device), moved(x, device), limits, metric="cosine", mask=given, exclude="self", backend="triton"
        )
        cases.assert_same(result, expected, name)


@pytest.mark.parametrize(("q", "n"), [(0, 5), (3, 0), (1, 1)])
def test_shapes(device: str, q: int, n: int) -> None:
    queries, corpus = cases.operands(cases.Pairing("f32", "f32", ("ip",)), q, n, 5)
    agree(fc.range_search, device, queries, corpus, 0.1, metric="ip")


@pytest.mark.parametrize("metric", ["ip", "sqeuclidean"])
def test_so_many_at_most(device: str, metric: str) -> None:
    """Without a look at how many there are: what is kept stands before unfilled places."""
    queries, corpus = cases.operands(cases.Pairing("f32", "f32", (metric,)), 5, 90, 9)
    scores, rows = (torch.from_numpy(part).to(device) for part in fc.topk(queries, corpus, 4, metric=metric))
    limit = float(scores[:, 1].median())
    kept = (scores >= limit if metric == "ip" else scores <= limit) & (rows >= 0)
    expected = fc.range_search(queries, corpus, limit, metric=metric, max_results=4)
    assert 0 < expected[0][-1] < 20
    packed = _packed(scores, rows, kept, -np.inf if metric == "ip" else np.inf)
    if device != "cpu":
        torch.cuda.set_sync_debug_mode("error")
        try:
            packed = fc.range_search(moved(queries, device), moved(corpus, device), limit, metric=metric, max_results=4)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    count = int(packed[0][-1])
    cases.assert_same((packed[0], packed[1][:count], packed[2][:count]), expected)
    assert (packed[2][count:] == -1).all() and (packed[1][count:].abs() == np.inf).all() and len(packed[2]) == 20
