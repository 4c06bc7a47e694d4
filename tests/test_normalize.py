"""normalize: every backend against exact lengths, the same bits, arrays of other libraries, the gradient, and what it refuses."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import cases
import ml_dtypes
import numpy as np
import pytest

import fastembed_core as fc
from fastembed_core import threads

EDGES = ("normal", "zero_rows", "nan", "inf", "subnormal", "dynamic", "overflow", "offset")
ULP = 0.5 + 2.0**-20


def isas() -> list[str]:
    core = pytest.importorskip("fastembed_core._core")
    return list(core.isas())


def vectors(kind: str, n: int, d: int, values: str = "normal") -> np.ndarray:
    return cases.floats(kind, cases.VALUES[values](cases.rng_of("normalize", kind, n, d, values), n, d))


FORMATS = {"float32": (23, -126), "float16": (10, -14), "bfloat16": (7, -126)}  # bits of fraction, least exponent


def spacing(x: np.ndarray) -> np.ndarray:
    """The distance between x and the next number of its type, in float64."""
    fraction, least = FORMATS[x.dtype.name]
    return 2.0 ** (np.maximum(np.frexp(x.astype(np.float64))[1] - 1, least) - fraction)


def assert_within_one_ulp(actual: np.ndarray, expected: np.ndarray) -> None:
    assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape)
    a, e = actual.astype(np.float64), expected.astype(np.float64)
    assert np.array_equal(np.isnan(a), np.isnan(e))
    real = ~np.isnan(e)
    assert (np.abs(a - e)[real] <= spacing(expected[real])).all()
    assert np.array_equal(np.signbit(a)[real], np.signbit(e)[real])


def assert_same_bits(actual: np.ndarray, expected: np.ndarray) -> None:
    assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape)
    assert np.array_equal(np.ascontiguousarray(actual).view(np.uint8), np.ascontiguousarray(expected).view(np.uint8))


# --- what is computed -----------------------------------------------------------------------------------------------


@pytest.mark.op("normalize")
@pytest.mark.parametrize("kind", cases.FLOATS)
def test_equals_the_reference(backend: str, kind: str) -> None:
    for d in (*cases.DIMS, 257, 300):
        for values in EDGES:
            x = cases.freeze(vectors(kind, 9, d, values))
            assert_within_one_ulp(fc.normalize(x, backend=backend), fc.normalize(x, backend="reference"))


def exact_root(square: Fraction) -> Fraction:
    """The square root, exact to 2**-200 of itself."""
    shift = 2 * (200 + max(0, square.denominator.bit_length() - square.numerator.bit_length()))
    return Fraction(math.isqrt((square.numerator << shift) // square.denominator), 1 << (shift // 2))


@pytest.mark.op("normalize", reference=True)
@pytest.mark.parametrize("values", ["normal", "subnormal", "dynamic", "overflow", "near"])
def test_lies_within_half_an_ulp_of_the_exact_quotient(backend: str, values: str) -> None:
    x = vectors("f32", 4, 37, values)
    y = fc.normalize(x, eps=1e-60, backend=backend)
    for row, unit in zip(x, y, strict=True):
        exact = [Fraction(float(v)) for v in row]
        length = exact_root(sum((v * v for v in exact), Fraction(0)))
        for v, got in zip(exact, unit, strict=True):
            assert abs(Fraction(float(got)) - v / length) <= Fraction(ULP) * Fraction(float(spacing(got)))


@pytest.mark.op("normalize", reference=True)
@pytest.mark.parametrize("size", [1e30, 3.4e38, 1e-30, 1e-38, 1e-44])
def test_no_float32_vector_over_or_underflows(backend: str, size: float) -> None:
    x = np.full((3, 16), size, np.float32)
    x[1, 8:] = 0
    y = fc.normalize(x, eps=0, backend=backend)
    assert np.array_equal(y[0], np.full(16, 0.25, np.float32))
    assert np.array_equal(y[1, :8], np.full(8, np.float32(math.sqrt(0.125))))


@pytest.mark.op("normalize", reference=True)
@pytest.mark.parametrize("eps", [0, 1e-320, 1e-12, 0.5])
def test_zero_vectors_stay_zero(backend: str, eps: float) -> None:
    x = np.zeros((3, 21), np.float32)
    x[1] = -0.0
    assert_same_bits(fc.normalize(x, eps=eps, backend=backend), x)


@pytest.mark.op("normalize", reference=True)
def test_what_is_shorter_than_eps_is_divided_by_it(backend: str) -> None:
    x = np.array([[3e-14, 4e-14], [3, 4]], np.float32)
    assert_within_one_ulp(fc.normalize(x, backend=backend), (x / np.array([[1e-12], [5]])).astype(np.float32))
    assert_within_one_ulp(fc.normalize(x, eps=10, backend=backend), (x / 10.0).astype(np.float32))


@pytest.mark.op("normalize", reference=True)
def test_nan_and_infinity(backend: str) -> None:
    x = np.array([[1, np.nan, 2], [1, np.inf, -2], [-np.inf, 0, np.inf], [1, 0, 0]], np.float32)
    y = fc.normalize(x, backend=backend)
    assert np.isnan(y[0]).all()
    assert np.array_equal(y[1:], np.array([[0, np.nan, -0.0], [np.nan, 0, np.nan], [1, 0, 0]], np.float32), equal_nan=True)


@pytest.mark.op("normalize")
@pytest.mark.parametrize("kind", ["f32", "f16", "bf16"])
def test_truncation_comes_before_the_length(backend: str, kind: str) -> None:
    x = vectors(kind, 6, 40)
    for dim in (1, 13, 39, 40):
        expected = fc.normalize(x[:, :dim].copy(), backend=backend)
        assert_same_bits(fc.normalize(x, truncate_dim=dim, backend=backend), expected)


@pytest.mark.op("normalize")
def test_float64_is_rounded_to_float32(backend: str) -> None:
    x = np.random.default_rng(3).standard_normal((5, 70)) * 1e39
    with np.errstate(over="ignore"):
        rounded = x.astype(np.float32)
    assert_same_bits(fc.normalize(x, backend=backend), fc.normalize(rounded, backend=backend))


# --- the same bits --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", cases.FLOATS)
def test_the_extension_gives_the_same_bits_at_every_level(kind: str) -> None:
    core = pytest.importorskip("fastembed_core._core")
    before = core.isa()
    try:
        for d in cases.DIMS:
            for values in EDGES:
                x = vectors(kind, 5, d, values)
                found = []
                for isa in isas():
                    core.select_isa(isa)
                    found.append(fc.normalize(x, backend="cpu"))
                for other in found[1:]:
                    assert np.array_equal(np.isnan(found[0]), np.isnan(other))
                    assert np.array_equal(found[0], other, equal_nan=True)
    finally:
        core.select_isa(before)


@pytest.mark.op("normalize")
def test_threads_and_batches_change_no_bit(backend: str) -> None:
    x = vectors("f32", 3000, 384, "dynamic")
    with threads.limit(1):
        expected = fc.normalize(x, backend=backend)
    with threads.limit(2):
        assert_same_bits(fc.normalize(x, backend=backend), expected)
    assert_same_bits(np.concatenate([fc.normalize(part, backend=backend) for part in np.array_split(x, 7)]), expected)


@pytest.mark.op("normalize")
@pytest.mark.parametrize("offset", [0, 4, 16, 36, 1])
def test_outputs_too_large_for_the_cache_are_the_same(backend: str, offset: int) -> None:
    x = vectors("f32", 1, 771, "dynamic").repeat(6000, 0)
    raw = np.empty(x.nbytes + 128, np.uint8)
    start = -raw.ctypes.data % 64 + offset
    out = raw[start : start + x.nbytes].view(np.float32).reshape(x.shape)
    fc.normalize(x, out=out, backend=backend)
    expected = fc.normalize(x[:1], backend=backend)
    assert np.array_equal(out.view(np.uint32), np.broadcast_to(expected, x.shape).view(np.uint32))


@pytest.mark.op("normalize", reference=True)
def test_flushed_subnormals_change_nothing(backend: str) -> None:
    torch = pytest.importorskip("torch")
    x = vectors("f32", 6, 50, "subnormal")
    expected = fc.normalize(x, eps=0, backend=backend)
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor flushes no subnormals")
    try:
        got = fc.normalize(x, eps=0, backend=backend)
    finally:
        torch.set_flush_denormal(False)
    assert_same_bits(got, expected)


# --- arrays of other libraries --------------------------------------------------------------------------------------


@pytest.mark.op("normalize", reference=True)
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
def test_torch_tensors(backend: str, dtype: str) -> None:
    torch = pytest.importorskip("torch")
    t = torch.randn((4, 19), generator=torch.Generator().manual_seed(1)).to(getattr(torch, dtype))
    y = fc.normalize(t, backend=backend)
    assert y.dtype == (torch.float32 if dtype == "float64" else t.dtype)
    host = t.view(torch.int16).numpy().view(ml_dtypes.bfloat16) if dtype == "bfloat16" else t.numpy()
    assert np.array_equal(y.double().numpy(), fc.normalize(host, backend=backend).astype(np.float64))
    out = torch.empty_like(y)
    assert fc.normalize(t, out=out, backend=backend) is out
    assert torch.equal(out, y)
    assert torch.equal(fc.normalize(t[:, ::2], backend=backend), fc.normalize(t[:, ::2].contiguous(), backend=backend))


class Foreign:
    """An array of some library that speaks DLPack."""

    def __init__(self, x: Any) -> None:
        self.x = x

    def __dlpack__(self, **options: Any) -> Any:
        return self.x.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self.x.__dlpack_device__()

    def __array_namespace__(self) -> Any:
        return type("library", (), {"from_dlpack": Foreign})


def test_dlpack_arrays_come_back_as_their_own_kind() -> None:
    x = vectors("f32", 3, 5)
    y = fc.normalize(Foreign(x))
    assert isinstance(y, Foreign)
    assert_same_bits(np.from_dlpack(y), fc.normalize(x))
    torch = pytest.importorskip("torch")
    t = torch.randn(3, 5).bfloat16()
    y = fc.normalize(Foreign(t))
    assert isinstance(y, Foreign)
    assert torch.equal(torch.from_dlpack(y), fc.normalize(t))


# --- the gradient ---------------------------------------------------------------------------------------------------


def test_the_gradient_is_right() -> None:
    torch = pytest.importorskip("torch")
    x = (torch.randn((3, 6), generator=torch.Generator().manual_seed(2)) + 0.3).requires_grad_()
    with pytest.warns(UserWarning, match="double precision"):  # results are float32: the differences must be wide
        assert torch.autograd.gradcheck(fc.normalize, x, eps=1e-2, atol=2e-3, rtol=0)
    upstream = torch.randn((3, 6), generator=torch.Generator().manual_seed(3))
    fc.normalize(x).backward(upstream)
    v, g = x.detach().double(), upstream.double()
    length = v.norm(dim=1, keepdim=True)
    unit = v / length
    expected = (g - unit * (g * unit).sum(1, keepdim=True)) / length
    assert x.grad.dtype == torch.float32
    assert torch.allclose(x.grad.double(), expected, rtol=0, atol=2e-7)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_the_gradient_has_the_operand_s_type(dtype: str) -> None:
    torch = pytest.importorskip("torch")
    x = torch.randn((2, 8)).to(getattr(torch, dtype)).requires_grad_()
    y = fc.normalize(x, truncate_dim=5)
    y.sum().backward()
    assert y.dtype == (torch.float32 if dtype == "float64" else x.dtype)
    assert x.grad.dtype == x.dtype
    assert (x.grad[:, 5:] == 0).all()
    assert (x.grad[:, :5] != 0).any()


def test_zero_vectors_have_a_finite_gradient() -> None:
    torch = pytest.importorskip("torch")
    x = torch.zeros((2, 4), requires_grad=True)
    fc.normalize(x, eps=0.5).sum().backward()
    assert torch.equal(x.grad, torch.full((2, 4), 2.0))


def test_without_grad_mode_no_graph_is_kept() -> None:
    torch = pytest.importorskip("torch")
    x = torch.randn((3, 4), requires_grad=True)
    with torch.no_grad():
        y = fc.normalize(x)
        assert not y.requires_grad
        assert torch.equal(y, fc.normalize(x.detach()))
    assert fc.normalize(x).grad_fn is not None


# --- what is refused ------------------------------------------------------------------------------------------------

X = np.ones((3, 4), np.float32)


@pytest.mark.parametrize(
    ("x", "options", "error", "sentence"),
    [
        ([[1.0]], {}, TypeError, "x: got list, expected a numpy, torch or DLPack array"),
        (np.ones((2, 2), np.int8), {}, TypeError, "x: got int8, expected float32, float16, bfloat16 or float64"),
        (np.ones((2, 2), complex), {}, TypeError, "x: got complex128, expected float32"),
        (np.array(1.0), {}, ValueError, "x: got a scalar, expected at least 1 dimension"),
        (X, {"truncate_dim": 0}, ValueError, "truncate_dim: got 0, expected 1 to 4"),
        (X, {"truncate_dim": 5}, ValueError, "truncate_dim: got 5, expected 1 to 4"),
        (X, {"truncate_dim": 2.0}, TypeError, "truncate_dim: got float, expected an int"),
        (X, {"truncate_dim": True}, TypeError, "truncate_dim: got bool, expected an int"),
        (X, {"eps": -1}, ValueError, "eps: got -1, expected a finite number of at least 0"),
        (X, {"eps": math.nan}, ValueError, "eps: got nan, expected a finite number"),
        (X, {"eps": math.inf}, ValueError, "eps: got inf, expected a finite number"),
        (X, {"eps": "small"}, TypeError, "eps: got str, expected a number of at least 0"),
        (X, {"out": np.ones((3, 5), np.float32)}, ValueError, r"out: got float32 of shape \(3, 5\), expected float32 of shape \(3, 4\)"),
        (X, {"out": np.ones((3, 4))}, ValueError, "out: got float64 of shape"),
        (X, {"out": cases.read_only(X)}, ValueError, "out: got a read-only array, expected a writable one"),
        (X, {"out": 3}, TypeError, "out: got int, expected a numpy, torch or DLPack array"),
        (X, {"backend": "nothing"}, ValueError, "backend: got 'nothing'"),
    ],
)
def test_wrong_arguments(x: Any, options: dict[str, Any], error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        fc.normalize(x, **options)


def test_what_a_gradient_rules_out() -> None:
    torch = pytest.importorskip("torch")
    x = torch.ones((2, 3), requires_grad=True)
    with pytest.raises(TypeError, match="out: got an array for an x that requires grad"):
        fc.normalize(x, out=torch.empty(2, 3))
    with pytest.raises(TypeError, match="out: got a tensor that requires grad"):
        fc.normalize(x.detach(), out=torch.empty((2, 3), requires_grad=True))
    with pytest.raises(TypeError, match="backend: numpy keeps no gradients"):
        fc.normalize(x, backend="numpy")
