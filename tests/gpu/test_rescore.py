"""Canonical scores from Triton: the reference's bits for every operand, metric and kind of value."""

from __future__ import annotations

import cases
import numpy as np
import pytest

import fastembed_core as fc

from .operands import agree, moved


def ids_of(q: int, n: int, c: int) -> np.ndarray:
    """(q, c) ids in no order, some named twice, some -1."""
    return cases.rng_of("candidates", q, n, c).integers(-1, n, (q, c))


@pytest.mark.parametrize("pairing", cases.PAIRINGS, ids=str)
def test_every_pair_and_metric(device: str, pairing: cases.Pairing) -> None:
    for metric in pairing.metrics:
        queries, corpus = cases.operands(pairing, 1, 40, 19)
        agree(fc.rescore, device, queries, corpus, ids_of(1, 40, 19), 7, metric=metric, what=metric)


@pytest.mark.parametrize("values", cases.VALUES)
def test_every_kind_of_value(device: str, values: str) -> None:
    for pairing, metric in cases.FEW_SCORED[list(cases.VALUES).index(values) % 3 :: 3]:
        queries, corpus = cases.operands(pairing, 1, 41, 9, values)
        agree(fc.rescore, device, queries, corpus, ids_of(1, 41, 60), 50, metric=metric, what=f"{pairing} {metric}")


@pytest.mark.parametrize(
    ("q", "n", "d", "c", "k"), [(0, 5, 4, 3, 2), (3, 5, 4, 0, 2), (3, 5, 0, 3, 2), (3, 5, 4, 3, 0), (3, 5, 4, 3, 99), (2, 0, 4, 0, 1)]
)
def test_empty(device: str, q: int, n: int, d: int, c: int, k: int) -> None:
    for pairing, metric in cases.FEW_SCORED[::5]:
        queries, corpus = cases.operands(pairing, q, n, d)
        agree(fc.rescore, device, queries, corpus, ids_of(q, max(n, 1), c), k, metric=metric)


def test_row_slices(device: str) -> None:
    """A Matryoshka slice is read in place. (The interpreter takes no two tensors of different length at one address.)"""
    x = cases.rng_of("slices").standard_normal((30, 40)).astype(np.float32)
    ids = ids_of(4, 30, 6)
    wide = moved(x, device)
    cases.assert_same(fc.rescore(wide[1:5, :13], wide[:, :13], ids, backend="triton"), fc.rescore(x[1:5, :13], x[:, :13], ids))
