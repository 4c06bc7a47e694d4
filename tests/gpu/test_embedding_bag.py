"""embedding_bag from Triton: inside the error its docstring states, over every kind of table."""

from __future__ import annotations

import cases
import numpy as np
import pytest
from oracle import values64

import fastembed_core as fc

from .operands import moved

KINDS = ("f32", "f16", "bf16", "f64", "i8", "u8", "int8_row", "int4_row", "int8", "uint8", "binary", "ubinary")
OFFSETS = np.array([0, 3, 3, 80, 81, 150])
IDS = cases.rng_of("bags").integers(0, 30, 150)


def bagged(device: str, table: object, ids: np.ndarray = IDS, offsets: np.ndarray = OFFSETS, **how: object) -> np.ndarray:
    how["weights"] = moved(how.get("weights"), device)
    return fc.embedding_bag(moved(table, device), ids, offsets, **how, backend="triton").cpu().numpy()


@pytest.mark.parametrize("kind", KINDS)
def test_against_the_reference(device: str, kind: str) -> None:
    table = cases.operand(kind, 30, 21, cases.rng_of("table", kind))
    size = np.abs(values64(table) if kind not in ("i8", "u8") else table.astype(np.float64))
    weights = cases.rng_of("weights").random(150).astype(np.float32)
    for mode, w in (("sum", None), ("mean", None), ("max", None), ("sum", weights), ("mean", weights)):
        expected = fc.embedding_bag(table, IDS, OFFSETS, mode=mode, weights=w, backend="reference")
        error = np.abs(bagged(device, table, mode=mode, weights=w).astype(np.float64) - expected)
        share = np.ones(150) if w is None else w
        for b in range(5):
            at = slice(OFFSETS[b], OFFSETS[b + 1])
            if at.start == at.stop:
                assert not error[b].any()
                continue
            bound = (80 + 150 / 64) * 2.0**-24 * (share[at, None] * size[IDS[at]]).sum(0) / (share[at].sum() if mode == "mean" else 1)
            assert (error[b] <= (bound if mode != "max" else 0.0) + 2.0**-24 * np.abs(expected[b])).all(), (mode, b)


def test_batch_changes_no_bit(device: str) -> None:
    table = cases.operand("f32", 30, 17, cases.rng_of("batch"))
    for mode in ("sum", "mean", "max"):
        whole = bagged(device, table, mode=mode)
        alone = bagged(device, table, IDS[3:80], np.array([0, 77]), mode=mode)
        cases.assert_same(alone, whole[2:3], mode)


@pytest.mark.parametrize("precision", ["int8_row", "ubinary"])
def test_codes(device: str, precision: str) -> None:
    table = cases.operand("f16", 30, 17, cases.rng_of("codes"))
    floats = fc.embedding_bag(moved(table, device), IDS, OFFSETS, normalize=True, truncate_dim=13, backend="triton")
    result = fc.embedding_bag(moved(table, device), IDS, OFFSETS, normalize=True, truncate_dim=13, precision=precision, backend="triton")
    assert (result.data == fc.quantize(floats, precision, backend="triton").data).all()
