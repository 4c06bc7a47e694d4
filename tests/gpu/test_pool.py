"""pool from Triton: inside the error its docstring states, and the same bits whatever surrounds a sequence."""

from __future__ import annotations

from typing import Any

import cases
import numpy as np
import pytest
from test_pool import arguments, bound_of, mask_of, tokens_of

import fastembed_core as fc
from fastembed_core.codes import DIM_PRECISIONS, PRECISIONS
from fastembed_core.ops.pool import MODES, SUMS

from .operands import moved


def pooled(device: str, x: np.ndarray, mask: np.ndarray | None = None, **how: Any) -> np.ndarray:
    how |= {name: moved(how[name], device) for name in ("query", "token_weights", "cu_seqlens") if name in how}
    return fc.pool(moved(x, device), moved(mask, device), **how, backend="triton").cpu().numpy()


@pytest.mark.parametrize("kind", cases.FLOATS)
@pytest.mark.parametrize("mode", MODES)
def test_against_the_reference(device: str, mode: str, kind: str) -> None:
    for t, d, padding in ((9, 33, "none"), (9, 33, "left"), (70, 16, "holes")):
        x, mask, how = tokens_of(kind, 3, t, d), mask_of(padding, 3, t), arguments(mode, d, 2)
        expected = fc.pool(x, mask, **how, backend="reference")
        error = np.abs(pooled(device, x, mask, **how).astype(np.float64) - expected)
        assert (error <= bound_of(x, mask, how, expected)).all(), (padding, error.max())


@pytest.mark.parametrize("mode", sorted(SUMS))
def test_token_weights(device: str, mode: str) -> None:
    x, mask = tokens_of("f32", 3, 70, 9), mask_of("holes", 3, 70)
    how = {"mode": mode, "token_weights": cases.rng_of("weights", mode).random((3, 70)).astype(np.float32)}
    expected = fc.pool(x, mask, **how, backend="reference")
    assert (np.abs(pooled(device, x, mask, **how) - expected) <= bound_of(x, mask, how, expected)).all()


@pytest.mark.parametrize("mode", MODES)
def test_padding_batch_and_layout_change_no_bit(device: str, mode: str) -> None:
    """One sequence alone, padded on either side, with holes, among others, and packed."""
    x, how = tokens_of("bf16", 1, 150, 20, mode), arguments(mode, 20)
    expected = pooled(device, x, **how)
    poison = np.full((3, 250, 20), np.nan, x.dtype)
    mask = np.zeros((3, 250), bool)
    for row, places in enumerate((np.arange(150), np.arange(100, 250))):
        poison[row, places], mask[row, places] = x[0], True
    holes = np.sort(cases.rng_of("holes", mode).permutation(250)[:150])
    if mode == "weightedmean":  # its weights are positions
        holes = np.arange(50, 200)
    poison[2, holes], mask[2, holes] = x[0], True
    cases.assert_same(pooled(device, poison, mask, **how), np.repeat(expected, 3, 0), "padded")
    packed, ends = np.concatenate([x[0, :70], x[0], x[0, :0]]), np.array([0, 70, 220, 220])
    cases.assert_same(pooled(device, packed, cu_seqlens=ends, **how)[1:2], expected, "packed")
    if mode != "attention":
        cases.assert_same(pooled(device, x, truncate_dim=7, **how), expected[:, :7], "truncated")


def test_values_that_are_no_numbers(device: str) -> None:
    x = tokens_of("f32", 4, 12, 6)
    x[0, 3, 2], x[1, 1, 1], x[2, :, 0], x[3, 5] = np.nan, np.inf, -np.inf, -0.0
    for mode in ("mean", "max", "cls", "lasttoken"):
        np.testing.assert_array_equal(np.isnan(pooled(device, x, mode=mode)), np.isnan(fc.pool(x, mode=mode, backend="reference")), mode)
    cases.assert_same(pooled(device, x, mode="max"), fc.pool(x, mode="max", backend="reference"))


@pytest.mark.parametrize("precision", [*PRECISIONS, "float16"])
def test_codes_are_those_of_quantize(device: str, precision: str) -> None:
    x, mask = tokens_of("f16", 5, 66, 21), mask_of("right", 5, 66)
    ranges = fc.calibrate(fc.pool(x, mask, normalize=True, truncate_dim=19)) if precision in DIM_PRECISIONS else None
    how: dict[str, Any] = {"normalize": True, "truncate_dim": 19}
    given = {"ranges": moved(ranges, device)} if precision in DIM_PRECISIONS else {}
    floats = fc.pool(moved(x, device), moved(mask, device), **how, backend="triton")
    result = fc.pool(moved(x, device), moved(mask, device), **how, precision=precision, **given, backend="triton")
    if precision == "float16":
        assert (result == floats.half()).all()
        return
    codes = fc.quantize(floats, precision, **given, backend="reference" if device == "cpu" else "triton")
    assert (result.data == codes.data).all()
    assert result.scale is None or (result.scale == codes.scale).all()


@pytest.mark.parametrize("shape", [(0, 5, 8), (3, 0, 8), (2, 5, 1)])
def test_shapes(device: str, shape: tuple[int, int, int]) -> None:
    x = np.ones(shape, np.float32)
    for mode in MODES:
        cases.assert_same(pooled(device, x, **arguments(mode, shape[2])), fc.pool(x, **arguments(mode, shape[2]), backend="reference"))
