"""quantize, dequantize, calibrate: the bits of every backend, the host they are equal to, layouts, and what they refuse."""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from typing import Any

import cases
import numpy as np
import pytest

import fastembed_core as fc
from fastembed_core import Codes, threads
from fastembed_core.codes import BIT_PRECISIONS, DIM_PRECISIONS, PRECISIONS, ROW_PRECISIONS, STORAGE

EDGES = ("normal", "zero_rows", "nan", "inf", "subnormal", "dynamic", "overflow", "ties")
DIMS = (1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 97, 127, 128, 129, 130)


@lru_cache(maxsize=1024)
def vectors(kind: str, n: int, d: int, values: str = "normal") -> np.ndarray:
    rng = cases.rng_of("quantize", kind, n, d, values)
    x = edges_of_codes(rng, n, d) if values == "edges" else cases.VALUES[values](rng, n, d)
    x = np.array(x)
    if n > 2 and d > 2:
        x[:, 1] = 0.25  # a dimension without width
        x[1, 2] = -0.0
    return cases.freeze(cases.floats(kind, x))


def ranges_of(kind: str, d: int, values: str = "normal") -> np.ndarray:
    """Minimum and maximum of other vectors than those to be quantized: some of them lie outside."""
    with np.errstate(over="ignore", invalid="ignore"):
        other = vectors(kind, 40, d, values).astype(np.float32)[7:]
    return np.stack([other.min(axis=0), other.max(axis=0)])


def edges_of_codes(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    """Values whose quotient lies at a whole number or a unit in the last place beside it, for the ranges -0.7 to 0.9."""
    low, high = np.float32(-0.7), np.float32(0.9)
    step = (high - low) / np.float32(255)
    at = low + rng.integers(-2, 258, (n, d)).astype(np.float32) * step
    for _ in range(2):
        at = np.where(rng.random((n, d)) < 0.4, np.nextafter(at, np.float32(np.inf) * rng.choice([-1, 1], (n, d))), at).astype(np.float32)
    return at.astype(np.float64)


def assert_same(actual: Codes, expected: Codes) -> None:
    """The same codes, scales and ranges, to the bit."""
    assert (actual.precision, actual.dim) == (expected.precision, expected.dim)
    assert_same_array(actual.data, expected.data)
    for a, e in ((actual.scale, expected.scale), (actual.ranges, expected.ranges)):
        assert (a is None) == (e is None)
        if e is not None:
            cases.assert_same(a, e)


def assert_same_array(actual: np.ndarray, expected: np.ndarray) -> None:
    assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape)
    differ = np.argwhere(actual != expected)
    assert not len(differ), f"{len(differ)} of {expected.size} differ, first at {differ[0]}"


# --- the bits of every backend --------------------------------------------------------------------------------------


@pytest.mark.op("quantize", "calibrate")
@pytest.mark.parametrize("kind", cases.FLOATS)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_equals_the_reference(backend: str, precision: str, kind: str) -> None:
    for d in DIMS:
        for values in EDGES:
            x = vectors(kind, 9, d, values)
            assert_same(fc.quantize(x, precision, backend=backend), fc.quantize(x, precision, backend="reference"))


@pytest.mark.op("quantize")
@pytest.mark.parametrize("precision", DIM_PRECISIONS)
@pytest.mark.parametrize("values", [*EDGES, "edges"])
def test_given_ranges_equal_the_reference(backend: str, precision: str, values: str) -> None:
    for d in DIMS:
        x = vectors("f32", 9, d, values)
        ranges = np.float32([[-0.7], [0.9]]).repeat(d, 1) if values == "edges" else ranges_of("f32", d, values)
        expected = fc.quantize(x, precision, ranges=ranges, backend="reference")
        assert_same(fc.quantize(x, precision, ranges=ranges, backend=backend), expected)


@pytest.mark.op("quantize", reference=True)
def test_quotients_at_whole_numbers_are_those_of_division(backend: str) -> None:
    """Where a reciprocal in place of the division would give other codes: it is seen that some do."""
    rng = np.random.default_rng(11)
    low = rng.standard_normal(512).astype(np.float32)
    high = low + np.abs(rng.standard_normal(512)).astype(np.float32) + np.float32(0.01)
    step = (high - low) / np.float32(255)
    x = (low + step * np.arange(256, dtype=np.float32)[:, None]).astype(np.float32)
    x = np.concatenate([x, np.nextafter(x, np.float32(9)), np.nextafter(x, np.float32(-9))])
    u = np.clip(np.floor((x - low) / step), 0, 255).astype(np.uint8)
    assert ((x - low) * (1 / step)).astype(np.uint8).tobytes() != u.tobytes()
    assert_same_array(fc.quantize(x, "uint8", ranges=np.stack([low, high]), backend=backend).data, u)


@pytest.mark.op("quantize", reference=True)
@pytest.mark.parametrize("precision", ["int8_row", "int4_row"])
def test_quotients_between_two_codes_are_those_of_division(backend: str, precision: str) -> None:
    levels = {"int8_row": 127, "int4_row": 7}[precision]
    most = np.abs(np.random.default_rng(12).standard_normal((300, 1))).astype(np.float32) + np.float32(0.01)
    most[:20] *= np.float32(10.0) ** np.arange(-44, -24, dtype=np.float32)[:, None]  # scales whose inverse is no normal number, too
    scale = most / np.float32(levels)
    x = scale * (np.arange(-levels, levels, dtype=np.float32) + np.float32(0.5))
    x = np.concatenate([most, x, np.nextafter(x, np.float32(9)), np.nextafter(x, np.float32(-9))], axis=1)
    x = np.clip(x, -most, most)
    with np.errstate(all="ignore"):
        expected = np.clip(np.rint(x / scale), -levels, levels)
        assert (np.rint(x[50:] * (1 / scale[50:])) != expected[50:]).any()
    codes = fc.quantize(x, precision, backend=backend)
    there = scale[:, 0] > 0
    expected = expected[there].astype(np.int8)
    if precision == "int8_row":
        assert_same_array(codes.data[there], expected)
    else:
        low, high = codes.data[there] & 15, codes.data[there] >> 4
        assert_same_array((np.stack([low, high], 2).reshape(len(low), -1)[:, : x.shape[1]]).astype(np.int8) - np.int8(8), expected)


@pytest.mark.op("dequantize")
@pytest.mark.parametrize("precision", PRECISIONS)
def test_dequantize_equals_the_reference(backend: str, precision: str) -> None:
    for d in DIMS:
        for values in ("normal", "nan", "subnormal", "dynamic", "zero_rows"):
            codes = cases.operand(precision, 9, d, cases.rng_of("dequantize", precision, d, values), values)
            cases.assert_same(fc.dequantize(codes, backend=backend), fc.dequantize(codes, backend="reference"))


@pytest.mark.op("calibrate")
@pytest.mark.parametrize("kind", cases.FLOATS)
def test_calibrate_equals_the_reference(backend: str, kind: str) -> None:
    for n, d in ((1, 5), (2, 1), (3, 17), (9, 64), (41, 130)):
        for values in EDGES:
            x = vectors(kind, n, d, values)
            cases.assert_same(fc.calibrate(x, backend=backend), fc.calibrate(x, backend="reference"))


@pytest.mark.op("quantize", "dequantize", "calibrate")
@pytest.mark.parametrize("precision", PRECISIONS)
def test_threads_and_batches_change_no_bit(backend: str, precision: str) -> None:
    x = vectors("f32", 3000, 384)
    with threads.limit(1):
        expected, ranges = fc.quantize(x, precision, backend=backend), fc.calibrate(x, backend=backend)
    with threads.limit(2):
        assert_same(fc.quantize(x, precision, backend=backend), expected)
        cases.assert_same(fc.calibrate(x, backend=backend), ranges)
        cases.assert_same(fc.dequantize(expected, backend=backend)[-9:], fc.dequantize(expected[-9:], backend=backend))
    given = ranges if precision in DIM_PRECISIONS else None
    parts = [fc.quantize(part, precision, ranges=given, backend=backend).data for part in np.array_split(x, 7)]
    assert_same_array(np.concatenate(parts), expected.data)


@pytest.mark.op("quantize")
@pytest.mark.parametrize("precision", ["int8_row", "int8", "uint8"])
@pytest.mark.parametrize("offset", [0, 1])
def test_outputs_too_large_for_the_cache_are_the_same(backend: str, precision: str, offset: int) -> None:
    one = vectors("f32", 1, 784)
    ranges = np.float32([[-1], [1]]).repeat(784, 1) if precision in DIM_PRECISIONS else None
    expected = fc.quantize(one, precision, ranges=ranges, backend=backend)
    n = (17 << 20) // 784
    raw = np.empty(n * 784 + 64, STORAGE[precision])
    start = -raw.ctypes.data % 64 + offset
    out = raw[start : start + n * 784].reshape(n, 784)
    got = fc.quantize(np.broadcast_to(one, (n, 784)), precision, ranges=ranges, out=out, backend=backend)
    assert (out == expected.data).all()
    if expected.scale is not None:
        assert (got.scale == expected.scale).all()


@pytest.mark.op("quantize", "calibrate", reference=True)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_flushed_subnormals_change_nothing(backend: str, precision: str) -> None:
    torch = pytest.importorskip("torch")
    x = vectors("f32", 6, 50, "subnormal")
    expected = fc.quantize(x, precision, backend=backend)
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor flushes no subnormals")
    try:
        got = fc.quantize(x, precision, backend=backend)
    finally:
        torch.set_flush_denormal(False)
    assert_same(got, expected)


# --- what the codes are ---------------------------------------------------------------------------------------------


def nearest_float32(exact: Fraction) -> np.float32:
    """The float32 nearest to a number, ties to the even one, from the definition."""
    around = np.float32(float(exact))
    near = [np.nextafter(around, np.float32(-np.inf)), around, np.nextafter(around, np.float32(np.inf))]
    return min(near, key=lambda v: (abs(Fraction(float(v)) - exact), int(v.view(np.uint32)) & 1))


@pytest.mark.parametrize(("precision", "levels"), [("int8_row", 127), ("int4_row", 7)])
@pytest.mark.parametrize("values", ["normal", "subnormal", "dynamic", "ties"])
def test_the_reference_rounds_as_the_formula_says(precision: str, levels: int, values: str) -> None:
    x = vectors("f32", 5, 21, values)
    codes = fc.quantize(x, precision, backend="reference")
    unpacked = codes.data if precision == "int8_row" else unpack(codes)
    for row, scale, got in zip(x, codes.scale, unpacked, strict=True):
        exact = [Fraction(float(v)) for v in row]
        assert scale == nearest_float32(max(map(abs, exact)) / levels)
        for v, code in zip(exact, got, strict=True):
            whole = round(Fraction(float(nearest_float32(v / Fraction(float(scale)))))) if scale else 0
            assert code == max(-levels, min(levels, whole))


def unpack(codes: Codes) -> np.ndarray:
    low, high = codes.data % 16, codes.data // 16
    return (np.stack([low, high], 2).reshape(len(codes), -1)[:, : codes.dim]).astype(np.int8) - 8


@pytest.mark.op("quantize", reference=True)
def test_the_place_of_each_nibble(backend: str) -> None:
    x = np.float32([[7, -7, 1, 0, -3]])
    codes = fc.quantize(x, "int4_row", backend=backend)
    assert codes.data.tolist() == [[15 + 16 * 1, 9 + 16 * 8, 5 + 16 * 8]]
    assert codes.scale.tolist() == [1.0]


@pytest.mark.op("quantize", reference=True)
def test_the_place_of_each_bit(backend: str) -> None:
    x = np.float32([[1, -1, 0, -0.0, 1e-45, np.nan, np.inf, -np.inf, 2, 0]])
    assert fc.quantize(x, "ubinary", backend=backend).data.tolist() == [[0b10001010, 0b10000000]]
    assert fc.quantize(x, "binary", backend=backend).data.tolist() == [[0b10001010 - 128, 0]]


@pytest.mark.op("quantize", "dequantize", reference=True)
@pytest.mark.parametrize("precision", ROW_PRECISIONS)
def test_rows_of_zeros_and_rows_that_hold_no_number(backend: str, precision: str) -> None:
    x = np.float32([[0, -0.0, 0], [1, np.nan, 2], [1, np.inf, 2], [-np.inf, 1, 1], [1, 2, 1e-45], [1e-45, 0, -1e-45]])
    codes = fc.quantize(x, precision, backend=backend)
    zeros = np.zeros(3, np.int8) if precision == "int8_row" else np.uint8([0x88, 0x88])
    for i in (0, 1, 2, 3, 5):
        assert np.array_equal(codes.data[i], zeros)
    scale = codes.scale
    assert scale[0] == 0
    assert scale[5] == 0  # a subnormal too small to be divided by the number of levels
    assert np.isnan(scale[1:4]).all()
    back = fc.dequantize(codes, backend=backend)
    assert np.array_equal(np.isnan(back).all(axis=1), [False, True, True, True, False, False])
    assert (back[[0, 5]] == 0).all()


@pytest.mark.op("quantize", reference=True)
@pytest.mark.parametrize("precision", DIM_PRECISIONS)
def test_ranged_codes_at_their_ends(backend: str, precision: str) -> None:
    ranges = np.float32([[-1, 0, 5, np.nan, -np.inf], [1, 255, 5, 1, 1]])
    x = np.float32([[-9, -1, 4, 0, 0], [9, 300, 7, 0, 0], [np.nan, 254.5, 5, 0, 0], [-np.inf, 255, 5.5, 0, 0], [np.inf, 0.5, 6, 0, 0]])
    u = np.array([[0, 0, 0, 0, 0], [255, 255, 2, 0, 0], [0, 254, 0, 0, 0], [0, 255, 0, 0, 0], [255, 0, 1, 0, 0]])
    got = fc.quantize(x, precision, ranges=ranges, backend=backend).data
    assert np.array_equal(got, u if precision == "uint8" else u - 128)


@pytest.mark.op("quantize", "dequantize", reference=True)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_there_and_back(backend: str, precision: str) -> None:
    x = vectors("f32", 20, 67)
    codes = fc.quantize(x, precision, backend=backend)
    back = fc.dequantize(codes, backend=backend)
    assert (back.dtype, back.shape) == (np.float32, x.shape)
    if precision in BIT_PRECISIONS:
        assert np.array_equal(back, np.where(x > 0, 1, -1))
        return
    bound = codes.scale[:, None] / 2 if precision in ROW_PRECISIONS else (codes.ranges[1] - codes.ranges[0]) / 255
    assert (np.abs(back - x) <= bound * 1.0001 + 1e-7).all()
    again = fc.quantize(back, precision, ranges=codes.ranges, backend=backend)
    if precision in ROW_PRECISIONS:
        assert_same_array(again.data, codes.data)


# --- calibrate ------------------------------------------------------------------------------------------------------


@pytest.mark.op("calibrate", reference=True)
def test_calibrate_takes_batches(backend: str) -> None:
    x = vectors("f32", 100, 13)
    expected = np.stack([x.min(axis=0), x.max(axis=0)])
    cases.assert_same(fc.calibrate(x, backend=backend), expected)
    cases.assert_same(fc.calibrate((x[i : i + 7] for i in range(0, 100, 7)), backend=backend), expected)
    cases.assert_same(fc.calibrate([x[:0], x[:60], x[60:].astype(np.float64)], backend=backend), expected)


@pytest.mark.op("calibrate", reference=True)
def test_calibrate_keeps_nan_and_signs_no_zero(backend: str) -> None:
    x = np.float32([[1, -0.0, np.inf, 3], [np.nan, 0.0, -np.inf, 3], [2, -0.0, 0, 3]])
    for rows in (x, x[::-1], list(x[:, None]), list(x[::-1, None])):
        cases.assert_same(fc.calibrate(rows, backend=backend), np.float32([[np.nan, 0, -np.inf, 3], [np.nan, 0, np.inf, 3]]))


# --- torch ----------------------------------------------------------------------------------------------------------


@pytest.mark.op("quantize", "dequantize", "calibrate", reference=True)
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
def test_torch_tensors(backend: str, precision: str, dtype: str) -> None:
    torch = pytest.importorskip("torch")
    t = torch.randn((6, 19), generator=torch.Generator().manual_seed(1)).to(getattr(torch, dtype))
    codes = fc.quantize(t, precision, backend=backend)
    arrays = [a for a in (codes.data, codes.scale, codes.ranges) if a is not None]
    assert all(isinstance(a, torch.Tensor) for a in arrays)
    expected = fc.quantize(t.float().numpy(), precision, backend="reference")
    assert_same_array(codes.data.numpy(), expected.data)
    values = fc.dequantize(codes, backend=backend)
    cases.assert_same(values, fc.dequantize(expected, backend="reference"))
    ranges = fc.calibrate(t, backend=backend)
    assert isinstance(ranges, torch.Tensor)
    given = ranges if precision in DIM_PRECISIONS else None
    out = torch.empty_like(codes.data)
    again = fc.quantize(t, precision, ranges=given, out=out, backend=backend)
    assert again.data is out
    assert torch.equal(out, codes.data)
    floats = torch.empty((6, 19))
    assert fc.dequantize(codes, out=floats, backend=backend) is floats
    assert torch.equal(floats, values)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_codes_have_no_gradient(precision: str) -> None:
    torch = pytest.importorskip("torch")
    t = torch.randn((3, 8), requires_grad=True)
    sentence = "x: got a tensor that requires grad, expected a plain one, for codes have no gradient"
    with pytest.raises(TypeError, match=sentence):
        fc.quantize(t, precision)
    with pytest.raises(TypeError, match=sentence):
        fc.calibrate(t)
    with torch.no_grad():
        codes = fc.quantize(t, precision)
    assert torch.equal(codes.data, fc.quantize(t.detach(), precision).data)


def test_a_learned_scale_is_not_cut_off_silently() -> None:
    torch = pytest.importorskip("torch")
    codes = fc.quantize(torch.randn((3, 8)), "int8_row")
    with pytest.raises(TypeError, match="scale: got a tensor that requires grad"):
        fc.dequantize(Codes(codes.data, "int8_row", 8, scale=codes.scale.requires_grad_()))


# --- what is refused ------------------------------------------------------------------------------------------------

X = np.ones((3, 4), np.float32)
RANGES = np.ones((2, 4), np.float32)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "sentence"),
    [
        ((X, "int3"), {}, ValueError, "precision: got 'int3', expected one of int8_row, int4_row, int8, uint8, binary, ubinary"),
        ((X, "float32"), {}, ValueError, "precision: got 'float32', expected one of"),
        ((X, None), {}, ValueError, "precision: got None, expected one of"),
        (([[1.0]], "int8_row"), {}, TypeError, "x: got list, expected a numpy, torch or DLPack array"),
        ((X.astype(np.int8), "int8_row"), {}, TypeError, "x: got int8, expected float32, float16, bfloat16 or float64"),
        ((X[0], "int8_row"), {}, ValueError, r"x: got shape \(4,\), expected 2 dimensions"),
        ((X[None], "ubinary"), {}, ValueError, r"x: got shape \(1, 3, 4\), expected 2 dimensions"),
        ((X, "int8_row"), {"ranges": RANGES}, ValueError, "ranges: got an array for int8_row codes, which have none"),
        ((X, "binary"), {"ranges": RANGES}, ValueError, "ranges: got an array for binary codes, which have none"),
        ((X, "int8"), {"ranges": RANGES[:, :3]}, ValueError, r"ranges: got shape \(2, 3\), expected \(2, 4\)"),
        ((X, "int8"), {"ranges": RANGES.astype(int)}, TypeError, "ranges: got int64, expected float32"),
        ((X, "int8"), {"ranges": (0, 1)}, TypeError, "ranges: got tuple, expected a numpy, torch or DLPack array"),
        ((X, "int8_row"), {"out": np.ones((3, 4), np.uint8)}, ValueError, "out: got uint8 of shape .* expected int8 of shape"),
        ((X, "ubinary"), {"out": np.ones((3, 4), np.uint8)}, ValueError, r"out: .* expected uint8 of shape \(3, 1\)"),
        ((X, "int8_row"), {"out": cases.read_only(X.astype(np.int8))}, ValueError, "out: got a read-only array"),
        ((X, "int8_row"), {"backend": "numba"}, ValueError, "backend: numba has no quantize"),
    ],
)
def test_wrong_arguments_of_quantize(arguments: Any, options: dict[str, Any], error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        fc.quantize(*arguments, **options)


def test_wrong_arguments_of_dequantize() -> None:
    with pytest.raises(TypeError, match="codes: got ndarray, expected Codes"):
        fc.dequantize(X)
    bare = Codes(np.ones((3, 4), np.int8), "int8", 4)
    with pytest.raises(ValueError, match="codes: got int8 codes without ranges"):
        fc.dequantize(bare)
    codes = fc.quantize(X, "int8_row")
    with pytest.raises(ValueError, match=r"out: got float64 of shape \(3, 4\), expected float32"):
        fc.dequantize(codes, out=X.astype(np.float64))


@pytest.mark.parametrize(
    ("x", "error", "sentence"),
    [
        (X[:0], ValueError, "x: got no rows, expected at least one"),
        ([], ValueError, "x: got no rows, expected at least one"),
        ([X, X[:, :3]], ValueError, "x: got an array of dimension 3, expected 4 as in the first"),
        (X[0], ValueError, r"x: got shape \(4,\), expected 2 dimensions"),
        ([[1.0, 2.0]], TypeError, "x: got list, expected a numpy, torch or DLPack array"),
        (3, TypeError, "x: got int, expected a numpy, torch or DLPack array"),
        (X.astype(np.int8), TypeError, "x: got int8, expected float32"),
    ],
)
def test_wrong_arguments_of_calibrate(x: Any, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        fc.calibrate(x)
