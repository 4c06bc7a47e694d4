"""similarity and similarity_paired from Triton: the reference's bits for every operand, metric and kind of value."""

from __future__ import annotations

from typing import Any

import cases
import pytest

import fastembed_core as fc

from .operands import moved


def agree(device: str, a: Any, b: Any, metric: str, what: str = "", paired: bool = True) -> None:
    n = min(len(a), len(b))
    for op, left, right in ((fc.similarity, a, b), (fc.similarity_paired, a[:n], b[:n]))[: 1 + paired]:
        expected = op(left, right, metric, backend="reference")
        cases.assert_same(op(moved(left, device), moved(right, device), metric, backend="triton"), expected, what)


@pytest.mark.parametrize("pairing", cases.PAIRINGS, ids=str)
def test_every_pair_and_metric(device: str, pairing: cases.Pairing) -> None:
    """Pairs of rows by the same arithmetic, of one pairing of each form: a GPU's first run of this suite is spent on compiling."""
    for metric in pairing.metrics:
        agree(device, *cases.operands(pairing, 2, 3, 11), metric, metric, pairing in cases.FEW_PAIRINGS)


@pytest.mark.parametrize("values", cases.VALUES)
def test_every_kind_of_value(device: str, values: str) -> None:
    for pairing, metric in cases.FEW_SCORED[list(cases.VALUES).index(values) % 9 :: 9]:
        agree(device, *cases.operands(pairing, 5, 4, 9, values), metric, f"{pairing} {metric}")


@pytest.mark.parametrize(("q", "n", "d"), [(0, 3, 4), (3, 0, 4), (3, 5, 0), (3, 130, 8), (66, 2, 1)])
def test_shapes(device: str, q: int, n: int, d: int) -> None:
    agree(device, *cases.operands(cases.Pairing("f32", "bf16", ("l2",)), q, n, d), "l2")
