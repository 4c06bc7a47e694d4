"""maxsim from Triton: the reference's bits, of all documents and of the k best."""

from __future__ import annotations

from typing import Any

import cases
import numpy as np
import pytest

import fastembed_core as fc

from .operands import moved

KINDS = (("f32", "f32"), ("f16", "bf16"), ("f32", "int8_row"), ("i8", "i8"), ("f32", "binary"), ("ubinary", "ubinary"), ("f32", "uint8"))


def agree(device: str, queries: Any, documents: Any, k: int | None, what: str = "", **how: Any) -> None:
    expected = fc.maxsim(queries, documents, k=k, **how, backend="reference")
    arrays = {name: moved(value, device) if name.endswith("mask") else value for name, value in how.items()}
    result = fc.maxsim(moved(queries, device), moved(documents, device), k=k, **arrays, backend="triton")
    cases.assert_same(result, expected, what)


def lengths(n: int, total: int, *key: Any) -> np.ndarray:
    """Offsets of n sets of `total` tokens, some of them empty."""
    inner = np.sort(cases.rng_of("lengths", n, *key).integers(0, total + 1, n - 1))
    return np.concatenate([[0], inner, [total]])


@pytest.mark.parametrize(("query", "document"), KINDS)
def test_every_document_canonically(device: str, query: str, document: str) -> None:
    metric = "cosine" if query == "f16" or document == "ubinary" else "ip"
    queries, documents = cases.operands(cases.Pairing(query, document, (metric,)), 11, 60, 12)
    for k in (4, None):
        agree(device, queries, documents, k, metric=metric, query_offsets=lengths(2, 11), document_offsets=lengths(6, 60))


@pytest.mark.parametrize(
    ("query", "document", "values"),
    [("f32", "f32", "normal"), ("f16", "int8_row", "normal"), ("f32", "bf16", "ties"), ("bf16", "f16", "nan")],
)
def test_documents_bounded_first(device: str, query: str, document: str, values: str) -> None:
    queries, documents = cases.operands(cases.Pairing(query, document, ("ip",)), 3, 90, 7, values)
    agree(device, queries, documents, 2, query_offsets=np.array([0, 3]), document_offsets=lengths(72, 90))


def test_tokens_whose_products_float32_has_not(device: str) -> None:
    """Each rounds to zero, their sum does not."""
    queries, documents = np.zeros((1, 16, 8), np.float32), np.zeros((80, 1, 8), np.float32)
    queries[:, :, 0] = 2.0**-100
    documents[:, 0, 0], documents[:, 0, 1] = np.linspace(0.1, 0.95, 80) * 2.0**-50, 2.0**-49
    agree(device, queries, documents, 3)


def test_masks(device: str) -> None:
    rng = cases.rng_of("late masks")
    queries, documents = (rng.standard_normal(shape).astype(np.float32) for shape in ((2, 2, 7), (70, 2, 7)))
    token_masks = {"query_mask": rng.random((2, 2)) < 0.7, "document_mask": rng.random((70, 2)) < 0.8}
    agree(device, queries, documents, 2, mask=np.packbits(rng.random((2, 70)) < 0.6, axis=1, bitorder="little"), **token_masks)
    agree(device, queries, documents[:9], 9, mask=rng.random(9) < 0.6, **token_masks | {"document_mask": rng.random((9, 2)) < 0.8})
