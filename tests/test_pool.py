"""pool: every mode, type, padding and layout against the float64 reference, inside the error its docstring states."""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Callable
from typing import Any

import cases
import numpy as np
import pytest

import fastembed_core as fc
from fastembed_core import threads
from fastembed_core.codes import PRECISIONS
from fastembed_core.ops.pool import MODES, SUMS

pytestmark = pytest.mark.op("pool")

DIMS = (1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 63, 64, 65, 96, 100, 127, 128, 129, 130)


def tokens_of(kind: str, b: int, t: int, d: int, *key: Any) -> np.ndarray:
    return cases.floats(kind, cases.rng_of("pool", kind, b, t, d, *key).standard_normal((b, t, d)))


def mask_of(padding: str, b: int, t: int) -> np.ndarray | None:
    """Row 0 is whole; the last row of three or more has no valid token."""
    rng = cases.rng_of(padding, b, t)
    if padding == "none":
        return None
    length = np.where(np.arange(b) == 0, t, rng.integers(0, t + 1, b))
    place = np.arange(t) if padding == "right" else np.arange(t)[::-1]
    mask = place[None] < length[:, None] if padding != "holes" else rng.random((b, t)) < 0.6
    mask[2:][-1:] = False
    return mask


def arguments(mode: str, d: int, heads: int = 1, key: Any = 0) -> dict[str, Any]:
    """mode= and what it needs."""
    if mode != "attention":
        return {"mode": mode}
    return {"mode": mode, "query": cases.rng_of("query", d, heads, key).standard_normal((heads, d)).astype(np.float32)}


def bound_of(x: np.ndarray, mask: np.ndarray | None, how: dict[str, Any], expected: np.ndarray) -> np.ndarray:
    """The error the docstring allows."""
    size = np.abs(x.astype(np.float32))
    mode, b, n = how["mode"], len(x), x.shape[1]
    slack = 2.0**-149 + np.abs(expected) * 2.0**-24
    if mode not in SUMS and mode != "attention":
        return np.zeros_like(expected)
    if mode in SUMS:
        extra = {k: v for k, v in how.items() if k != "token_weights"}
        if "token_weights" in how:
            extra["token_weights"] = np.abs(how["token_weights"])
        return (80 + n / 64) * 2.0**-24 * fc.pool(size, mask, **extra, backend="reference") + slack
    query = how["query"].astype(np.float64).reshape(-1, how["query"].shape[-1])
    scale = how.get("scale", 1 / math.sqrt(query.shape[1]))
    largest = fc.pool(size, mask, mode="max", backend="reference")
    norms = np.linalg.norm(size.astype(np.float64), axis=2).max(axis=1, initial=0)
    weight = (x.shape[2] / 8 + 64) * 2.0**-23 * abs(scale) * np.linalg.norm(query, axis=1)[None] * norms[:, None]
    relative = (80 + n / 64) * 2.0**-24 + 2 * weight
    wide = np.tile(largest, (1, len(query))) if query.shape[1] == x.shape[2] else largest
    return np.repeat(relative, query.shape[1], axis=1).reshape(b, -1) * wide + slack


def check(x: np.ndarray, mask: np.ndarray | None, how: dict[str, Any], backend: str) -> None:
    expected = fc.pool(x, mask, **how, backend="reference")
    got = fc.pool(x, mask, **how, backend=backend)
    assert (got.dtype, got.shape) == (np.float32, expected.shape)
    error = np.abs(got.astype(np.float64) - expected)
    over = error > bound_of(x, mask, how, expected)
    assert not over.any() and np.isfinite(got).all(), f"{over.sum()} of {over.size} beyond the bound, the worst by {error.max():.2e}"


def same(a: Any, b: Any) -> None:
    """Equal in type, shape and every bit; of Codes, all their arrays."""
    if isinstance(a, fc.Codes):
        assert (a.precision, a.dim) == (b.precision, b.dim)
        for name in ("data", "scale", "ranges"):
            same(getattr(a, name), getattr(b, name))
        return
    if a is None or b is None:
        assert a is b
        return
    assert (a.dtype, a.shape) == (b.dtype, b.shape)
    assert np.ascontiguousarray(a).tobytes() == np.ascontiguousarray(b).tobytes()


# --- values ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", cases.FLOATS)
@pytest.mark.parametrize("mode", MODES)
def test_against_the_reference(backend: str, mode: str, kind: str) -> None:
    for padding in ("none", "right", "left", "holes"):
        for b, t, d in ((4, 1, 33), (5, 70, 7), (3, 150, 64), (4, 9, 130)):
            check(tokens_of(kind, b, t, d), mask_of(padding, b, t), arguments(mode, d), backend)


@pytest.mark.parametrize("mode", ["mean", "max", "attention"])
def test_dims(backend: str, mode: str) -> None:
    for d in DIMS:
        for kind in ("f32", "f16"):
            check(tokens_of(kind, 3, 13, d), mask_of("holes", 3, 13), arguments(mode, d), backend)


@pytest.mark.parametrize("mode", MODES)
def test_long_sequences(backend: str, mode: str) -> None:
    """Past one span of 512 tokens, where partial results are merged."""
    for padding in ("none", "holes"):
        check(tokens_of("f32", 3, 1400, 24), mask_of(padding, 3, 1400), arguments(mode, 24), backend)


@pytest.mark.parametrize("heads", [2, 3, 8])
def test_many_queries(backend: str, heads: int) -> None:
    """(H, D) queries side by side, equal to one at a time; (H, D / H) heads over slices, equal to each slice alone."""
    x, mask = tokens_of("f32", 4, 40, 48), mask_of("right", 4, 40)
    whole = arguments("attention", 48, heads)
    check(x, mask, whole, backend)
    sliced = {"mode": "attention", "query": whole["query"][:, : 48 // heads]} if 48 % heads == 0 else whole
    check(x, mask, sliced, backend)
    if 48 % heads == 0:
        parts = [
            fc.pool(part, mask, mode="attention", query=q, backend="reference")
            for part, q in zip(np.split(x, heads, 2), sliced["query"], strict=True)
        ]
        same(fc.pool(x, mask, **sliced, backend="reference"), np.concatenate(parts, axis=1))


@pytest.mark.parametrize("mode", sorted(SUMS))
def test_token_weights(backend: str, mode: str) -> None:
    x, mask = tokens_of("f32", 5, 90, 20), mask_of("holes", 5, 90)
    weights = cases.rng_of("weights").random((5, 90)).astype(np.float32) + 0.1
    check(x, mask, {"mode": mode, "token_weights": weights}, backend)
    half = fc.pool(x, mask, mode=mode, token_weights=weights.astype(np.float16), backend=backend)
    same(half, fc.pool(x, mask, mode=mode, token_weights=weights.astype(np.float16).astype(np.float64), backend=backend))


def test_scale(backend: str) -> None:
    x, how = tokens_of("f32", 3, 30, 16), arguments("attention", 16)
    for scale in (0.0, -0.5, 2.0):
        check(x, None, {**how, "scale": scale}, backend)
    uniform = fc.pool(x, None, **how, scale=0.0, backend=backend)
    np.testing.assert_allclose(uniform, x.mean(axis=1), rtol=1e-5, atol=1e-6)


def test_attention_with_large_scores(backend: str) -> None:
    """Scores that rise by hundreds from token to token, and fall: nothing overflows, the last digit is not lost."""
    x = np.zeros((2, 50, 4), np.float32)
    x[0, :, 0], x[1, :, 0] = np.arange(50) * 40.0, -np.arange(50) * 40.0
    x[:, :, 1] = np.arange(50)
    got = fc.pool(x, mode="attention", query=np.array([1, 0, 0, 0], np.float32), scale=2.0, backend=backend)
    np.testing.assert_allclose(got[:, 1], [49, 0], atol=1e-30)


@pytest.mark.op("pool", reference=True)
@pytest.mark.parametrize("mode", MODES)
def test_empty_sequences_are_zero(backend: str, mode: str) -> None:
    x, how = np.full((3, 4, 5), np.nan, np.float32), arguments(mode, 5)
    x[1] = 1
    mask = np.array([[0] * 4, [1] * 4, [0] * 4])
    assert not fc.pool(x, mask, **how, normalize=True, backend=backend)[[0, 2]].any()
    assert not fc.pool(np.ones((2, 0, 5), np.float32), **how, backend=backend).any()
    codes = fc.pool(x, mask, **how, precision="int8_row", backend=backend)
    assert not codes.data[[0, 2]].any() and not codes.scale[[0, 2]].any()


@pytest.mark.op("pool", reference=True)
def test_values_that_are_no_numbers(backend: str) -> None:
    x = tokens_of("f32", 1, 80, 40)
    x[0, 3, 5], x[0, 70, 6], x[0, 20, 7] = np.nan, np.inf, -np.inf
    largest = fc.pool(x, mode="max", backend=backend)[0]
    assert np.isnan(largest[5]) and largest[6] == np.inf and np.isfinite(np.delete(largest, [5, 6])).all()
    x[0, :, 7] = -np.inf
    assert fc.pool(x, mode="max", backend=backend)[0, 7] == -np.inf
    mean = fc.pool(x, mode="mean", backend=backend)[0]
    assert np.isnan(mean[5]) and mean[6] == np.inf and mean[7] == -np.inf
    assert np.isnan(fc.pool(x, **arguments("attention", 40), backend=backend)).all()  # one score is NaN, so the softmax is
    assert np.isnan(fc.pool(x, mode="mean", precision="int8_row", backend=backend).scale).all()


@pytest.mark.op("pool", reference=True)
@pytest.mark.parametrize("mode", MODES)
def test_masked_tokens_are_not_read(backend: str, mode: str) -> None:
    for padding in ("left", "right", "holes"):
        x, mask = tokens_of("f32", 5, 70, 33), mask_of(padding, 5, 70)
        assert mask is not None
        clean = fc.pool(x, mask, **arguments(mode, 33), backend=backend)
        for poison in (np.nan, np.inf, -np.inf, 3e38):
            x[~mask] = poison
            same(fc.pool(x, mask, **arguments(mode, 33), backend=backend), clean)


def test_the_reference_against_fsum() -> None:
    rng = cases.rng_of("fsum")
    for x in (
        rng.standard_normal((1, 300, 3)),
        rng.standard_normal((1, 300, 3)) * 1e-40,
        np.tile([[1e30], [1.0], [-1e30]], (1, 100, 1)).reshape(1, 300, 1),
    ):
        x = x.astype(np.float32)
        w = rng.random((1, 300)).astype(np.float32)
        place = 1.0 + np.arange(300)
        columns = [x[0, :, j].astype(np.float64) for j in range(x.shape[2])]
        for mode, weight, total in (
            ("mean", np.ones(300), 300.0),
            ("mean_sqrt_len_tokens", np.ones(300), math.sqrt(300)),
            ("weightedmean", place, math.fsum(place)),
        ):
            expected = [math.fsum(weight * column) / total for column in columns]
            # float64 sums round at 2**-53 of their largest term, then once to float32
            slack = 2.0**-24 * np.abs(expected) + 2.0**-150 + 300 * 2.0**-52 * np.abs(x[0]).max() * weight.max() * 300 / total
            assert (np.abs(fc.pool(x, mode=mode, backend="reference")[0] - expected) <= slack).all()
        weighted = [math.fsum(w[0].astype(np.float64) * column) / math.fsum(w[0].astype(np.float64)) for column in columns]
        got = fc.pool(x, token_weights=w, backend="reference")[0]
        assert (np.abs(got - weighted) <= 2.0**-23 * np.abs(weighted) + 2.0**-149 + 1e-11 * np.abs(x).max()).all()


# --- the same bits --------------------------------------------------------------------------------------------------


@pytest.mark.op("pool", reference=True)
@pytest.mark.parametrize("mode", MODES)
def test_batch_padding_and_threads_change_no_bit(backend: str, mode: str) -> None:
    lengths = (5, 0, 700, 64, 1, 130)
    rng = cases.rng_of("ragged")
    sequences = [rng.standard_normal((n, 21)).astype(np.float32) for n in lengths]
    how: dict[str, Any] = {**arguments(mode, 21), "backend": backend}
    alone = np.concatenate([fc.pool(s[None], **how) for s in sequences])
    ends = np.concatenate([[0], np.cumsum(lengths)])
    same(fc.pool(np.concatenate(sequences), cu_seqlens=ends, **how), alone)
    for t in (700, 777):
        for left in (False, True):
            x, mask = np.full((len(lengths), t, 21), np.nan, np.float32), np.zeros((len(lengths), t), bool)
            for i, s in enumerate(sequences):
                place = slice(t - len(s), t) if left else slice(0, len(s))
                x[i, place], mask[i, place] = s, True
            for count in (1, 2, 5):
                with threads.limit(count):
                    same(fc.pool(x, mask, **how), alone)
    same(fc.pool(np.stack([sequences[2]] * 3), **how), np.stack([alone[2]] * 3))


@pytest.mark.parametrize("mode", ["mean", "max", "attention", "weightedmean"])
def test_large_calls_on_several_threads(mode: str, backend: str) -> None:
    """Enough work for the threads to be used: many sequences, and one whose spans are shared out."""
    for b, t in ((40, 300), (2, 9000)):
        x, mask = tokens_of("f32", b, t, 100), mask_of("holes", b, t)
        with threads.limit(1):
            one = fc.pool(x, mask, **arguments(mode, 100), precision="int8_row", backend=backend)
        with threads.limit(3):
            same(fc.pool(x, mask, **arguments(mode, 100), precision="int8_row", backend=backend), one)


def test_concurrent_callers(backend: str) -> None:
    x, mask = tokens_of("f32", 30, 200, 65), mask_of("holes", 30, 200)
    expected, failures = fc.pool(x, mask, backend=backend), []

    def call() -> None:
        for _ in range(5):
            if fc.pool(x, mask, backend=backend).tobytes() != expected.tobytes():
                failures.append(1)

    workers = [threading.Thread(target=call) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not failures


def _unaligned(x: np.ndarray) -> np.ndarray:
    rows = cases.unaligned(x.reshape(-1, x.shape[2]))
    step = rows.strides[0]
    return np.lib.stride_tricks.as_strided(rows, x.shape, (step * x.shape[1], step, x.itemsize))


LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "read_only": cases.read_only,
    "every_second_token": lambda x: np.repeat(x, 2, axis=1)[:, ::2],
    "reversed": lambda x: x[::-1, ::-1].copy()[::-1, ::-1],
    "transposed": lambda x: x.transpose(1, 0, 2).copy().transpose(1, 0, 2),
    "truncated": lambda x: np.concatenate([x, np.full_like(x, np.nan)], axis=2)[:, :, : x.shape[2]],
    "fortran": np.asfortranarray,
    "unaligned": _unaligned,
    "big_endian": lambda x: x.astype(x.dtype.newbyteorder(">")) if x.dtype.isbuiltin == 1 else x,
}


@pytest.mark.op("pool", reference=True)
@pytest.mark.parametrize("kind", ["f32", "f16", "bf16", "f64"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(backend: str, layout: str, kind: str) -> None:
    for d in (1, 20, 33):
        x, mask = tokens_of(kind, 4, 11, d), mask_of("right", 4, 11)
        for mode in ("mean", "lasttoken", "attention"):
            how: dict[str, Any] = {**arguments(mode, d), "backend": backend}
            same(fc.pool(LAYOUTS[layout](x), mask, **how), fc.pool(x, mask, **how))


@pytest.mark.op("pool", reference=True)
def test_broadcast_tokens_and_strided_sides(backend: str) -> None:
    x = np.broadcast_to(tokens_of("f32", 1, 12, 9), (4, 12, 9))
    mask, weights = np.repeat(mask_of("holes", 4, 12), 2, axis=1), cases.rng_of("w").random((12, 4)).astype(np.float32)
    dense: dict[str, Any] = {"token_weights": weights.T.copy(), "backend": backend}
    expected = fc.pool(x.copy(), mask[:, ::2].copy(), **dense)
    same(fc.pool(x, mask[:, ::2], token_weights=weights.T, backend=backend), expected)


@pytest.mark.op("pool", reference=True)
def test_mask_types(backend: str) -> None:
    x, mask = tokens_of("f32", 4, 12, 9), mask_of("holes", 4, 12)
    assert mask is not None
    expected = fc.pool(x, mask, backend=backend)
    for dtype in (np.int8, np.uint8, np.int32, np.int64, np.uint64, np.float16, np.float32, np.float64, ">i4", cases.ml_dtypes.bfloat16):
        same(fc.pool(x, mask.astype(dtype), backend=backend), expected)


# --- unpadded -------------------------------------------------------------------------------------------------------


@pytest.mark.op("pool", reference=True)
@pytest.mark.parametrize("mode", MODES)
def test_cu_seqlens(backend: str, mode: str) -> None:
    """Empty sequences in front, between and behind; a mask over the flat tokens."""
    ends = np.array([0, 0, 3, 3, 40, 41, 41])
    x, keep = tokens_of("f16", 1, 41, 17)[0], cases.rng_of("keep").random(41) < 0.7
    for mask in (None, keep, np.zeros(41, bool)):
        got = fc.pool(x, mask, cu_seqlens=ends.astype(np.int32), **arguments(mode, 17), backend=backend)
        assert got.shape == (6, 17)
        for i, (lo, hi) in enumerate(itertools.pairwise(ends)):
            alone = fc.pool(x[None, lo:hi], None if mask is None else mask[None, lo:hi], **arguments(mode, 17), backend=backend)
            same(got[i], alone[0])


@pytest.mark.op("pool", reference=True)
@pytest.mark.parametrize("shape", [(0, 5, 8), (3, 0, 8), (3, 5, 0), (0, 0, 0)])
def test_empty_shapes(backend: str, shape: tuple[int, int, int]) -> None:
    x = np.zeros(shape, np.float32)
    for mode in MODES:
        how: dict[str, Any] = {**arguments(mode, shape[2]), "backend": backend}
        assert fc.pool(x, **how).shape == (shape[0], shape[2])
        assert fc.pool(x, np.zeros(shape[:2], bool), **how, normalize=True).shape == (shape[0], shape[2])
        codes = fc.pool(x, **how, precision="int4_row")
        assert (len(codes), codes.dim) == (shape[0], shape[2]) and not codes.scale.any()
    flat = x.reshape(shape[0] * shape[1], shape[2])
    assert fc.pool(flat, cu_seqlens=np.array([0, len(flat)]), backend=backend).shape == (1, shape[2])
    assert fc.pool(flat[:0], cu_seqlens=np.array([0]), backend=backend).shape == (0, shape[2])


# --- what comes out -------------------------------------------------------------------------------------------------


@pytest.mark.op("pool", "quantize", "normalize", reference=True)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_codes_are_those_of_quantize(backend: str, precision: str) -> None:
    for d in (1, 7, 33, 64, 130):
        x, mask = tokens_of("f32", 6, 20, d), mask_of("holes", 6, 20)
        kept = (d + 1) // 2
        ranges = np.stack([np.full(kept, -0.3), np.linspace(-0.3, 0.4, kept)]) if precision in ("int8", "uint8") else None
        for normalize in (False, True):
            how: dict[str, Any] = {"truncate_dim": kept, "normalize": normalize, "backend": backend}
            got = fc.pool(x, mask, **how, precision=precision, ranges=ranges)
            same(got, fc.quantize(fc.pool(x, mask, **how), precision, ranges=ranges, backend=backend))


@pytest.mark.op("pool", "normalize", reference=True)
@pytest.mark.parametrize("mode", MODES)
def test_truncation_and_normalization(backend: str, mode: str) -> None:
    x, mask, how = tokens_of("f32", 5, 20, 50), mask_of("right", 5, 20), arguments(mode, 50)
    whole = fc.pool(x, mask, **how, backend=backend)
    same(fc.pool(x, mask, **how, truncate_dim=19, backend=backend), whole[:, :19].copy())
    unit = fc.pool(x, mask, **how, truncate_dim=19, normalize=True, backend=backend)
    np.testing.assert_array_max_ulp(unit, fc.normalize(whole[:, :19], backend="reference"), 1 if backend != "reference" else 4)
    half = fc.pool(x, mask, **how, precision="float16", backend=backend)
    same(half, whole.astype(np.float16))


@pytest.mark.op("pool", reference=True)
def test_extreme_norms(backend: str) -> None:
    """Norms beyond float32, subnormal rows and rows shorter than eps."""
    x = np.stack([np.full((1, 32), v, np.float32) for v in (3e38, 1e-30, 1e-45, 0.0)])
    unit = fc.pool(x, normalize=True, backend=backend)
    np.testing.assert_allclose(unit[0], 1 / math.sqrt(32), rtol=1e-6)
    np.testing.assert_allclose(unit[1], 1e-18, rtol=1e-6)  # divided by eps, as torch does
    np.testing.assert_allclose(unit[2], x[2, 0] * 1e12, rtol=1e-6)
    assert not unit[3].any()


@pytest.mark.op("pool", reference=True)
def test_out(backend: str) -> None:
    x, mask = tokens_of("f32", 4, 9, 12), mask_of("right", 4, 9)
    for precision, dtype, width in (
        ("float32", np.float32, 12),
        ("float16", np.float16, 12),
        ("int8_row", np.int8, 12),
        ("ubinary", np.uint8, 2),
    ):
        expected = fc.pool(x, mask, precision=precision, backend=backend)
        for out in (np.empty((4, width), dtype), np.empty((4, 30), dtype)[:, :width], np.empty((4, 2 * width), dtype)[:, ::2]):
            got = fc.pool(x, mask, precision=precision, out=out, backend=backend)
            assert (got.data if isinstance(got, fc.Codes) else got) is out
            same(got, expected)


# --- memory ---------------------------------------------------------------------------------------------------------
