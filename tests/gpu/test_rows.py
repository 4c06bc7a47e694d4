"""normalize and quantize from Triton: codes bit for bit, lengths to the last place."""

from __future__ import annotations

import cases
import numpy as np
import pytest

import fastembed_core as fc
from fastembed_core.codes import DIM_PRECISIONS, PRECISIONS

from .operands import moved

DIMS = (1, 7, 16, 33, 130)


def ulps(a: np.ndarray, b: np.ndarray) -> int:
    """The most steps of their type that two arrays of floats are apart; NaN matches NaN."""
    signed = np.int32 if a.itemsize == 4 else np.int16
    assert (np.isnan(a.astype(np.float32)) == np.isnan(b.astype(np.float32))).all()
    number = ~np.isnan(a.astype(np.float32))
    x, y = (v[number].view(signed).astype(np.int64) for v in (a, b))
    x, y = (np.where(v < 0, np.iinfo(signed).min - v, v) for v in (x, y))
    return int(np.abs(x - y).max(initial=0))


@pytest.mark.parametrize("values", cases.VALUES)
@pytest.mark.parametrize("kind", cases.FLOATS)
def test_normalize(device: str, kind: str, values: str) -> None:
    for d in DIMS:
        x = cases.operand(kind, 9, d, cases.rng_of("normalize", kind, d), values)
        expected = fc.normalize(x, backend="reference")
        actual = fc.normalize(moved(x, device), backend="triton")
        assert str(actual.dtype).removeprefix("torch.") == expected.dtype.name
        result = (actual.float() if kind == "bf16" else actual).cpu().numpy().astype(expected.dtype)
        assert ulps(result, expected) <= 1


def test_normalize_of_views(device: str) -> None:
    x = cases.rng_of("views").standard_normal((3, 5, 40)).astype(np.float32)
    for take in (lambda v: v[:, ::2, :13], lambda v: v[..., ::3], lambda v: v[1, 2], lambda v: v[:0]):
        expected = fc.normalize(take(x), eps=1e-3, backend="reference")
        assert ulps(fc.normalize(take(moved(x, device)), eps=1e-3, backend="triton").cpu().numpy(), expected) <= 1


@pytest.mark.parametrize("values", cases.VALUES)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_quantize(device: str, precision: str, values: str) -> None:
    for kind in cases.FLOATS if values == "normal" else ("f32", "bf16"):
        for d in DIMS:
            x = cases.operand(kind, 9, d, cases.rng_of("quantize", kind, d), values)
            ranges = fc.calibrate(x, backend="reference") if precision in DIM_PRECISIONS else None
            expected = fc.quantize(x, precision, ranges=ranges, backend="reference")
            actual = fc.quantize(moved(x, device), precision, ranges=moved(ranges, device), backend="triton")
            np.testing.assert_array_equal(actual.data.cpu().numpy(), expected.data, f"{kind} D={d}")
            if expected.scale is not None:
                cases.assert_same(actual.scale, expected.scale, f"{kind} D={d}")
