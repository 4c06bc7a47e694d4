"""topk from Triton: the reference's bits, whichever way the groups were found."""

from __future__ import annotations

import cases
import numpy as np
import pytest

import fastembed_core as fc

from .operands import agree, moved


@pytest.mark.parametrize("values", ["normal", "nan", "ties", "near"])
def test_small_corpora(device: str, values: str) -> None:
    """Every row scored canonically."""
    for pairing, metric in cases.FEW_SCORED[::2]:
        queries, corpus = cases.operands(pairing, 2, 50, 9, values)
        agree(fc.topk, device, queries, corpus, 7, metric=metric, what=f"{pairing} {metric}")


@pytest.mark.parametrize(("q", "n", "d", "k"), [(0, 5, 4, 2), (3, 0, 4, 2), (3, 5, 0, 2), (3, 5, 4, 0), (3, 5, 4, 99), (1, 1, 1, 1)])
def test_shapes(device: str, q: int, n: int, d: int, k: int) -> None:
    for pairing, metric in cases.FEW_SCORED[::5]:
        queries, corpus = cases.operands(pairing, q, n, d)
        agree(fc.topk, device, queries, corpus, k, metric=metric, what=f"{pairing} {metric}")


def test_masks_and_excludes(device: str) -> None:
    n = 60
    x = cases.rng_of("masks").standard_normal((n, 8)).astype(np.float32)
    queries, rng = x[:4].copy(), cases.rng_of("rows", n)
    for name, mask in cases.masks(4, n, rng):
        for exclude in (None, rng.integers(-1, n, (4, 5))):
            expected = fc.topk(queries, x, 6, mask=mask, exclude=exclude, backend="reference")
            given = moved(np.ascontiguousarray(mask), device)
            result = fc.topk(moved(queries, device), moved(x, device), 6, mask=given, exclude=exclude, backend="triton")
            cases.assert_same(result, expected, name)


# Of each way to scan, one.
SCANS = {
    "f32-f32": ("cosine", "l2"),
    "f16-bf16": ("ip",),
    "f64-f64": ("sqeuclidean",),
    "f32-int8_row": ("ip", "l2"),
    "f32-binary": ("cosine",),
    "bf16-uint8": ("cosine",),
    "i8-i8": ("ip", "l2"),
    "int8_row-int4_row": ("cosine",),
    "ubinary-binary": ("hamming", "jaccard"),
}
SCANNED = [(p, m) for p in cases.FEW_PAIRINGS for m in SCANS[str(p)]]


@pytest.mark.parametrize(("pairing", "metric"), SCANNED, ids=lambda x: str(x))
@pytest.mark.parametrize("values", ["normal", "ties"])
def test_groups(device: str, pairing: cases.Pairing, metric: str, values: str) -> None:
    """A corpus large enough for rows in groups, of which few are taken."""
    queries, corpus = cases.operands(pairing, 2, 1100, 37, values)
    agree(fc.topk, device, queries, corpus, 9, metric=metric)


def test_many_queries(device: str) -> None:
    """More than one tile of them: rows' norms are made ahead, and queries are the product's first operand."""
    queries, corpus = cases.operands(cases.Pairing("f32", "int4_row", ("l2",)), 65, 600, 9)
    agree(fc.topk, device, queries, corpus, 1, metric="l2")


@pytest.mark.parametrize("values", ["duplicates", "nan", "inf", "zero_rows", "subnormal", "dynamic", "overflow", "offset", "near"])
def test_what_bounds_cannot_prove(device: str, values: str) -> None:
    """Queries whose certificate fails are scanned again, canonically."""
    for metric in ("cosine", "l2"):
        queries, corpus = cases.operands(cases.Pairing("f32", "f32", (metric,)), 2, 700, 9, values)
        agree(fc.topk, device, queries, corpus, 3, metric=metric, what=metric)


def test_masks_and_excludes_of_groups(device: str) -> None:
    x = cases.rng_of("group masks").standard_normal((900, 8)).astype(np.float32)
    queries, rng = x[:3].copy(), cases.rng_of("group rows")
    for name, mask in (
        ("own packed", np.packbits(rng.random((3, 900)) < 0.4, axis=1, bitorder="little")),
        ("few", np.arange(900) % 300 == 7),
    ):
        exclude = rng.integers(-1, 900, (3, 2))
        expected = fc.topk(queries, x, 5, mask=mask, exclude=exclude, backend="reference")
        result = fc.topk(moved(queries, device), moved(x, device), 5, mask=moved(mask, device), exclude=exclude, backend="triton")
        cases.assert_same(result, expected, name)
