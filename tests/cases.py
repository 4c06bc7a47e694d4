"""Operands, layouts and comparisons every search test draws from: one place that knows how awkward an array can be."""

from __future__ import annotations

import ctypes
import mmap
import pathlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import ml_dtypes
import numpy as np

import fastembed_core as fc
from fastembed_core.codes import code_width

# 1..17 walks the eight lanes and their tails; the rest sits beside vector widths, cache lines and half-filled bytes.
DIMS = (1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 24, 31, 33, 63, 64, 65, 97, 127, 128, 129, 130, 384)
FEW_DIMS = (1, 7, 16, 33, 130)

FLOATS = ("f32", "f16", "bf16", "f64")
FLOAT_METRICS = ("cosine", "ip", "l2", "sqeuclidean")
BIT_METRICS = ("hamming", "jaccard")


@dataclass(frozen=True)
class Pairing:
    """A kind of query against a kind of corpus, and the metrics they have."""

    query: str
    corpus: str
    metrics: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.query}-{self.corpus}"


# Every operand pair that has a score. `*_codes` are Codes with ranges, `*_bare` Codes of that precision without.
PAIRINGS = (
    *(Pairing(q, x, FLOAT_METRICS) for q in FLOATS for x in FLOATS),
    *(Pairing(q, x, FLOAT_METRICS) for q in ("f32", "bf16") for x in ("int8_row", "int4_row", "int8", "uint8", "i8", "u8")),
    *(Pairing(q, x, ("cosine", "ip")) for q in ("f32", "f16") for x in ("binary", "ubinary")),
    *(Pairing(k, k, FLOAT_METRICS) for k in ("i8", "u8", "int8", "uint8", "int8_row", "int4_row")),
    Pairing("int8_row", "int4_row", FLOAT_METRICS),
    Pairing("int4_row", "int8_row", FLOAT_METRICS),
    Pairing("i8", "int8", FLOAT_METRICS),
    Pairing("binary", "binary", BIT_METRICS),
    Pairing("ubinary", "binary", BIT_METRICS),
    Pairing("i8_bits", "i8_bits", BIT_METRICS),
    Pairing("u8_bits", "u8_bits", BIT_METRICS),
)
# One of each form of arithmetic, for the tests that are about something else.
FEW_PAIRINGS = tuple(
    p
    for p in PAIRINGS
    if str(p)
    in ("f32-f32", "f16-bf16", "f32-int8_row", "f32-binary", "i8-i8", "int8_row-int4_row", "ubinary-binary", "f64-f64", "bf16-uint8")
)
SCORED = tuple((p, m) for p in PAIRINGS for m in p.metrics)
FEW_SCORED = tuple((p, m) for p in FEW_PAIRINGS for m in p.metrics)


def rng_of(*key: Any) -> np.random.Generator:
    """A generator seeded by what it is for."""
    return np.random.default_rng([sum(ord(c) * 31**i for i, c in enumerate(str(part))) % 2**31 for part in key])


# --- values ---------------------------------------------------------------------------------------------------------


def _normal(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    return rng.standard_normal((n, d))


def _ties(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    return rng.integers(-1, 2, (n, d)).astype(np.float64)


def _duplicates(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    return rng.standard_normal((max(1, n // 8), d))[rng.integers(0, max(1, n // 8), n)]


def _zero_rows(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    return rng.standard_normal((n, d)) * (rng.random((n, 1)) < 0.6)


def _nan(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    return np.where(rng.random((n, d)) < 0.5 / d, np.nan, rng.standard_normal((n, d)))


def _inf(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    x = np.where(rng.random((n, d)) < 0.4 / d, np.inf * rng.choice([-1, 1], (n, d)), rng.standard_normal((n, d)))
    return np.where(rng.random((n, d)) < 0.1 / d, np.nan, x)


def _subnormal(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    return rng.standard_normal((n, d)) * np.where(rng.random((n, d)) < 0.5, 1e-40, 1e-42)


def _dynamic(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    return rng.standard_normal((n, d)) * 2.0 ** rng.integers(-70, 63, (n, 1)) * 2.0 ** rng.integers(-30, 30, (n, d))


def _overflow(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    return rng.choice([-3.0e38, 1e30, 3.0e38, 1.0], (n, d))


def _offset(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    return 100.0 + rng.standard_normal((n, d))


def _near(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    """Rows a few last places apart: what an estimate cannot order and canonical scores must."""
    x = np.repeat(rng.standard_normal((1, d)), n, 0)
    return x * (1 + rng.integers(-2, 3, (n, d)) * 2.0**-23)


VALUES: dict[str, Callable[[np.random.Generator, int, int], np.ndarray]] = {
    "normal": _normal,
    "ties": _ties,
    "duplicates": _duplicates,
    "zero_rows": _zero_rows,
    "nan": _nan,
    "inf": _inf,
    "subnormal": _subnormal,
    "dynamic": _dynamic,
    "overflow": _overflow,
    "offset": _offset,
    "near": _near,
}


def floats(kind: str, values: np.ndarray) -> np.ndarray:
    """float64 values in a float kind's own type; what is too large for it becomes inf, quietly."""
    dtype = {"f32": np.float32, "f16": np.float16, "bf16": ml_dtypes.bfloat16, "f64": np.float64}[kind]
    with np.errstate(over="ignore", invalid="ignore"):
        return values.astype(dtype)


# --- operands -------------------------------------------------------------------------------------------------------


def operand(kind: str, n: int, d: int, rng: np.random.Generator, values: str = "normal") -> Any:
    """n vectors of d elements as an array or Codes; `values` shapes floats, and scales of codes where it can."""
    if kind in FLOATS:
        return floats(kind, VALUES[values](rng, n, d))
    if kind in ("i8", "u8"):
        return integers(rng, n, d, np.int8 if kind == "i8" else np.uint8, values)
    if kind in ("i8_bits", "u8_bits"):
        return integers(rng, n, (d + 7) // 8, np.int8 if kind == "i8_bits" else np.uint8, values)
    if kind in ("int8", "uint8"):
        low = rng.standard_normal(d)
        ranges = np.stack([low, low + np.where(rng.random(d) < 0.1, 0, rng.random(d) * 3)]).astype(np.float32)
        return fc.Codes(integers(rng, n, d, np.dtype(kind), values), kind, d, ranges=ranges)
    if kind == "int8_row":
        return fc.Codes(integers(rng, n, d, np.int8, values), kind, d, scale=scales(rng, n, values))
    if kind == "int4_row":
        low, high = (rng.integers(1, 16, (n, (d + 1) // 2)) for _ in range(2))
        if values in ("ties", "zero_rows"):
            low[:] = 8 + low % 2
            high[: n // 2] = low[: n // 2] = 8
        return fc.Codes((low + 16 * high).astype(np.uint8), kind, d, scale=scales(rng, n, values))
    if kind in ("binary", "ubinary"):
        bits = integers(rng, n, code_width(kind, d), np.uint8, values)  # pad bits hold noise: they must not count
        return fc.Codes((bits ^ np.uint8(0x80)).view(np.int8) if kind == "binary" else bits, kind, d)
    raise ValueError(kind)


def integers(rng: np.random.Generator, n: int, d: int, dtype: Any, values: str) -> np.ndarray:
    info = np.iinfo(dtype)
    x = rng.integers(info.min, info.max + 1, (n, d))
    if values in ("ties", "duplicates"):
        x = rng.integers(0, 2, (n, d))
    elif values in ("overflow", "inf"):
        x = rng.choice([info.min, info.max, max(info.min, -127)], (n, d))  # the extremes where int16 products saturate
    elif values == "zero_rows":
        x = x * (rng.random((n, 1)) < 0.5)
    return x.astype(dtype)


def scales(rng: np.random.Generator, n: int, values: str) -> np.ndarray:
    scale = (rng.random(n) + 0.1).astype(np.float32)
    if values == "nan":
        scale[rng.random(n) < 0.2] = np.nan
    elif values == "subnormal":
        scale *= np.float32(1e-38)
    elif values == "dynamic":
        scale *= 2.0 ** rng.integers(-80, 80, n)
    elif values in ("ties", "duplicates"):
        scale[:] = 0.5
    elif values == "zero_rows":
        scale[rng.random(n) < 0.2] = 0
    return scale.astype(np.float32)


@lru_cache(maxsize=4096)
def operands(pairing: Pairing, q: int, n: int, d: int, values: str = "normal") -> tuple[Any, Any]:
    """A seeded pair of operands, the same object for every backend, marked read-only."""
    rng = rng_of(pairing, q, n, d, values)
    queries, corpus = operand(pairing.query, q, d, rng, values), operand(pairing.corpus, n, d, rng, values)
    if q and n and values in ("near", "duplicates", "offset") and pairing.query in FLOATS and pairing.corpus in FLOATS:
        queries = floats(pairing.query, corpus[np.arange(q) % n].astype(np.float64))  # every query has its own row to find
    for x in (queries, corpus):
        freeze(x)
    return queries, corpus


def freeze(x: Any) -> Any:
    """x, read-only: a cell that writes to its input raises."""
    for array in (x,) if isinstance(x, np.ndarray) else (x.data, x.scale, x.ranges):
        if array is not None:
            array.flags.writeable = False
    return x


# --- layouts --------------------------------------------------------------------------------------------------------


def truncated(x: np.ndarray) -> np.ndarray:
    """Rows as a Matryoshka slice of longer ones; what lies between them is poison."""
    wide = np.full((x.shape[0], x.shape[1] + 5), poison(x.dtype), x.dtype)
    wide[:, : x.shape[1]] = x
    return wide[:, : x.shape[1]]


def unaligned(x: np.ndarray) -> np.ndarray:
    """The same rows one byte off any alignment, an odd number of bytes apart."""
    stride = x.shape[1] * x.itemsize + 3
    raw = np.full(1 + stride * max(1, x.shape[0]), 0xFF, np.uint8)
    view = np.ndarray(x.shape, x.dtype, raw.data, 1, (stride, x.itemsize))
    view[...] = x
    return view


def read_only(x: np.ndarray) -> np.ndarray:
    y = x.copy()
    y.flags.writeable = False
    return y


def reversed_rows(x: np.ndarray) -> np.ndarray:
    """The same rows, stored last first: a negative stride."""
    return x[::-1].copy()[::-1]


def fortran(x: np.ndarray) -> np.ndarray:
    return np.asfortranarray(x)


def mapped(x: np.ndarray, folder: pathlib.Path) -> np.ndarray:
    """The same rows in a read-only memory-mapped file."""
    path = folder / f"{abs(hash((x.shape, x.dtype.str, x.tobytes())))}.bin"
    x.tofile(path)
    return np.memmap(path, x.dtype, "r", shape=x.shape) if x.size else x


LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "truncated": truncated,
    "unaligned": unaligned,
    "read_only": read_only,
    "reversed": reversed_rows,
}


def poison(dtype: np.dtype) -> Any:
    return 0x55 if dtype.kind in "iu" else np.nan


def laid_out(x: Any, layout: Callable[[np.ndarray], np.ndarray]) -> Any:
    """An array or Codes with its data in another layout."""
    if isinstance(x, np.ndarray):
        return layout(x)
    return fc.Codes(layout(x.data), x.precision, x.dim, x.scale, x.ranges)


class Guarded:
    """A copy of an array that ends exactly where readable memory ends (or begins where it begins).

    The page next to it has no access rights, so that a read past the end (before the start) is a crash and not luck.
    `array` is valid while this object lives; row_gap bytes of padding between rows make the stride odd.
    """

    def __init__(self, x: np.ndarray, side: str = "end", row_gap: int = 0) -> None:
        page = mmap.PAGESIZE
        stride = x.shape[1] * x.itemsize + row_gap if x.ndim == 2 else x.itemsize
        used = max(0, x.shape[0] - 1) * stride + (x.shape[1] * x.itemsize if x.ndim == 2 else x.itemsize) if x.size else 0
        pages = max(1, -(-used // page))
        self._map = mmap.mmap(-1, (pages + 2) * page)
        self._base = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        start = page + pages * page - used if side == "end" else page
        strides = (stride, x.itemsize) if x.ndim == 2 else (x.itemsize,)
        self.array: np.ndarray = np.ndarray(x.shape, x.dtype, self._map, start, strides)
        self.array[...] = x
        self._protect(self._base, page, 0)
        self._protect(self._base + (pages + 1) * page, page, 0)

    @staticmethod
    def _protect(address: int, size: int, rights: int) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(size), rights):
            raise OSError(ctypes.get_errno(), "mprotect")


def guarded(x: Any, keep: list[Guarded], side: str = "end", row_gap: int = 0) -> Any:
    """An array or Codes whose every array touches forbidden memory; `keep` holds the mappings."""

    def one(array: np.ndarray | None) -> np.ndarray | None:
        if array is None:
            return None
        keep.append(Guarded(array, side, row_gap if array.ndim == 2 else 0))
        return keep[-1].array

    return one(x) if isinstance(x, np.ndarray) else fc.Codes(one(x.data), x.precision, x.dim, one(x.scale), x.ranges)


# --- comparison -----------------------------------------------------------------------------------------------------


def host(x: Any) -> np.ndarray:
    return x if isinstance(x, np.ndarray) else x.detach().cpu().numpy()


def bits(x: np.ndarray) -> np.ndarray:
    return x.view({4: np.uint32, 8: np.uint64}[x.itemsize])


def assert_same(actual: Any, expected: Any, what: str = "") -> None:
    """Two results (arrays, or tuples of them) are the same in type, shape and every bit."""
    if isinstance(expected, tuple):
        assert len(actual) == len(expected)
        for place, (a, e) in enumerate(zip(actual, expected, strict=True)):
            assert_same(a, e, f"{what} result {place}")
        return
    a, e = np.ascontiguousarray(host(actual)), np.ascontiguousarray(host(expected))
    assert (a.dtype, a.shape) == (e.dtype, e.shape), f"{what}: {a.dtype} {a.shape}, expected {e.dtype} {e.shape}"
    differ = np.argwhere(bits(a) != bits(e))
    if len(differ):
        at = tuple(differ[0])
        raise AssertionError(f"{what}: {len(differ)} of {e.size} differ, first at {at}: {a[at]!r}, expected {e[at]!r}")


def masks(q: int, n: int, rng: np.random.Generator) -> Iterator[tuple[str, np.ndarray]]:
    """Every form a mask takes: shared or per query, bool or packed little-endian, plus all and none."""
    shared, own = rng.random(n) < 0.5, rng.random((q, n)) < 0.3
    yield "shared", shared
    yield "shared packed", np.packbits(shared, bitorder="little")
    yield "own", own
    yield "own packed", np.packbits(own, axis=1, bitorder="little")
    yield "all", np.ones(n, bool)
    yield "none", np.zeros(n, bool)
    yield "strided", np.repeat(own, 2, 1)[:, ::2]
