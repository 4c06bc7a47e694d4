"""The named workloads: what is searched, pooled, normalized or quantized, and the least work that takes.

Working sets of memory-bound work are several times the last-level cache. `scale` shrinks the number of rows for a quick run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from fastembed_core.codes import Codes

from . import operands


@dataclass(frozen=True)
class Case:
    """The operands of a workload, and what doing it takes.

    work : the least any implementation must do, in units of each resource; empty where none of them is its limit
    bytes : of memory traffic, at the least
    ops : arithmetic operations, a multiply-add or a compared bit counted as two
    """

    operands: SimpleNamespace
    shape: str
    work: dict[str, float]
    bytes: float
    ops: float


@dataclass(frozen=True)
class Workload:
    """family: what backends and rivals implement it, ``<operation>/<operands>``. beside: the workload it is compared with."""

    name: str
    family: str
    title: str
    make: Callable[[float], Case]
    beside: str | None = None

    @property
    def op(self) -> str:
        return self.family.partition("/")[0]


class Sides(NamedTuple):
    """The operands of a search. itemsize: bytes an element of the corpus takes; resource: what its arithmetic needs, if known."""

    queries: Any
    corpus: Any
    metric: str
    itemsize: float
    resource: str | None


def _count(n: int, scale: float) -> int:
    return max(64, int(n * scale))


def search(kind: str, q: int, n: int, d: int, k: int = 10, allowed: float = 1.0, shared: bool = False) -> Callable[[float], Case]:
    """topk of q queries over n rows; `allowed` of them pass a mask, of each query's own or shared by all."""

    def make(scale: float) -> Case:
        rows = _count(n, scale)
        queries, corpus, metric, itemsize, resource = _OPERANDS[kind](q, rows, d)
        mask = None
        if allowed < 1:
            mask = np.random.default_rng(4).random(rows if shared else (q, rows)) < allowed
            mask[..., :k] = True  # there are k answers at any scale
        scanned = rows if mask is None or not shared else int(mask.sum())  # a mask per query leaves hardly a row unread
        read, pairs = itemsize * d * scanned, float(q * scanned)
        work = {"read": read, resource: (2.0 if resource == "fma" else 1.0) * pairs * d} if resource and (mask is None or shared) else {}
        shape = f"Q {q}, N {_short(rows)}, D {d}, k {min(k, rows)}"
        case = SimpleNamespace(queries=queries, corpus=corpus, k=min(k, rows), metric=metric, mask=mask)
        return Case(case, shape, work, read, 2.0 * pairs * d)

    return make


def _float32(q: int, n: int, d: int) -> Sides:
    return Sides(operands.queries(q, d), operands.rows(n, d), "ip", 4, "fma")


def _float16(q: int, n: int, d: int) -> Sides:
    return Sides(operands.queries(q, d).astype(np.float16), operands.rows(n, d).astype(np.float16), "ip", 2, "fma")


def _bfloat16(q: int, n: int, d: int) -> Sides:
    return Sides(operands.bfloat16(operands.queries(q, d)), operands.bfloat16(operands.rows(n, d)), "ip", 2, "fma")


def _int8(q: int, n: int, d: int) -> Sides:
    return Sides(operands.bytes_of(q, d, seed=5).view(np.int8), operands.bytes_of(n, d).view(np.int8), "ip", 1, "int8")


def _int4(q: int, n: int, d: int) -> Sides:
    low, high = (np.maximum(half, 1) for half in (operands.bytes_of(n, d // 2) & 15, operands.bytes_of(n, d // 2) >> 4))
    corpus = Codes(low | high << 4, "int4_row", d, scale=np.ones(n, np.float32))  # nibbles 1 to 15: codes -7 to 7
    codes = np.maximum(operands.bytes_of(q, d, seed=5).view(np.int8), -127)
    return Sides(Codes(codes, "int8_row", d, scale=np.ones(q, np.float32)), corpus, "ip", 0.5, "int4")


def _hamming(q: int, n: int, d: int) -> Sides:
    return Sides(operands.bytes_of(q, d // 8, seed=5), operands.bytes_of(n, d // 8), "hamming", 1 / 8, "popcount")


def _float_bits(q: int, n: int, d: int) -> Sides:
    # Sums of +-q go by tables of 16 sums, which no recipe of multiply-adds limits.
    return Sides(operands.queries(q, d), Codes(operands.bytes_of(n, d // 8), "ubinary", d), "ip", 1 / 8, None)


def _real(q: int, n: int, d: int) -> Sides:
    return Sides(operands.real_queries(q), operands.real_embeddings(n), "ip", 4, "fma")


_OPERANDS: dict[str, Callable[[int, int, int], Sides]] = {
    "float32": _float32,
    "float16": _float16,
    "bfloat16": _bfloat16,
    "int8": _int8,
    "int4": _int4,
    "hamming": _hamming,
    "float x bits": _float_bits,
    "real": _real,
}


def pooling(mode: str, precision: str = "float32", b: int = 256, t: int = 256, d: int = 768, valid: float = 0.6) -> Callable[[float], Case]:
    """pool + L2 of b padded sequences of t tokens, a share `valid` of which counts."""

    def make(scale: float) -> Case:
        batch = _count(b, scale)
        mask = operands.token_mask(batch, t, valid)
        query = operands.queries(1, d)[0] if mode == "attention" else None
        case = SimpleNamespace(tokens=operands.tokens(batch, t, d), mask=mask, mode=mode, precision=precision, query=query)
        elements = float(mask.sum()) * d
        shape = f"B {batch}, T {t}, D {d}, {mask.mean():.0%} valid"
        return Case(case, shape, {"read": 4 * elements}, 4 * elements, elements * (4 if query is not None else 1))

    return make


def rowwise(resource: str, precision: str | None = None, n: int = 200_000, d: int = 768) -> Callable[[float], Case]:
    """normalize or quantize n rows."""

    def make(scale: float) -> Case:
        x = operands.rows(_count(n, scale), d)
        ranges = np.stack([x.min(0), x.max(0)]) if precision == "int8" else None
        out = np.ones_like(x) if precision is None else None
        case = SimpleNamespace(x=x, precision=precision, ranges=ranges, out=out)
        traffic = x.nbytes * (2 if resource == "copy" else 1)
        return Case(case, f"N {_short(len(x))}, D {d}", {resource: x.nbytes}, traffic, 3.0 * x.size)

    return make


def late_interaction(n: int = 1000, q: int = 32, t: int = 180, d: int = 128) -> Callable[[float], Case]:
    """MaxSim of one query of q tokens against n documents of t tokens on average, ragged."""

    def make(scale: float) -> Case:
        documents = _count(n, scale)
        lengths = np.random.default_rng(6).integers(t - 60, t + 61, documents)
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        vectors = operands.rows(int(offsets[-1]), d)
        case = SimpleNamespace(query=operands.queries(q, d), tokens=vectors, offsets=offsets)
        work = {"read": float(vectors.nbytes), "fma": 2.0 * q * len(vectors) * d}
        return Case(case, f"{q} x {d} against {documents} documents of {t} tokens", work, work["read"], work["fma"])

    return make


def tiny(scale: float) -> Case:
    """One query against 100 rows, whatever the scale: what a call costs."""
    case = search("float32", 1, 100, 384)(1.0)
    return replace(case, work={"fma": case.work["fma"]})  # the operands are in the cache


def _short(n: int) -> str:
    return f"{n / 1e6:g}M" if n % 100_000 == 0 and n >= 1_000_000 else f"{n / 1e3:g}k" if n % 100 == 0 and n >= 1000 else str(n)


WORKLOADS: tuple[Workload, ...] = (
    Workload("f32-q1", "topk/float32", "float32 top-k", search("float32", 1, 500_000, 768)),
    Workload("f32-q8", "topk/float32", "float32 top-k", search("float32", 8, 500_000, 768)),
    Workload("f32-q64", "topk/float32", "float32 top-k", search("float32", 64, 100_000, 768)),
    Workload("f32-q512", "topk/float32", "float32 top-k", search("float32", 512, 100_000, 768)),
    Workload("f32-q64-k1000", "topk/float32", "float32 top-k, k 1000", search("float32", 64, 100_000, 768, k=1000), beside="f32-q64"),
    Workload(
        "f32-q64-mask10",
        "topk/masked",
        "a mask per query, 10 % allowed",
        search("float32", 64, 100_000, 768, allowed=0.1),
        beside="f32-q64",
    ),
    Workload(
        "f32-q64-mask1",
        "topk/masked",
        "a shared mask, 1 % allowed",
        search("float32", 64, 100_000, 768, allowed=0.01, shared=True),
        beside="f32-q64",
    ),
    Workload("f16-q64", "topk/float16", "float16 top-k", search("float16", 64, 100_000, 768)),
    Workload("bf16-q64", "topk/bfloat16", "bfloat16 top-k", search("bfloat16", 64, 100_000, 768)),
    Workload("normalize", "normalize", "normalize", rowwise("copy")),
    Workload("quantize-int8", "quantize/int8", "quantize to int8", rowwise("read", "int8")),
    Workload("quantize-ubinary", "quantize/ubinary", "quantize to bits", rowwise("read", "ubinary")),
    Workload("f32-q1024", "topk/float32", "float32 top-k", search("float32", 1024, 100_000, 384)),
    Workload("real-q1", "topk/float32", "float32 top-k, real embeddings", search("real", 1, 500_000, 384)),
    Workload("real-q256", "topk/float32", "float32 top-k, real embeddings", search("real", 256, 500_000, 384)),
    Workload("i8-q1", "topk/int8", "int8 top-k", search("int8", 1, 1_000_000, 768)),
    Workload("i8-q64", "topk/int8", "int8 top-k", search("int8", 64, 100_000, 768)),
    Workload("i4-q64", "topk/int4", "int4 corpus, int8 queries", search("int4", 64, 100_000, 768), beside="i8-q64"),
    Workload("hamming-q64", "topk/hamming", "Hamming top-k, 1024 bits", search("hamming", 64, 1_000_000, 1024)),
    Workload("f32-bits-q64", "topk/float x bits", "float queries, binary corpus", search("float x bits", 64, 100_000, 1024)),
    Workload("pool-mean", "pool/mean", "mean pooling + L2", pooling("mean")),
    Workload("pool-attention", "pool/attention", "attention pooling + L2", pooling("attention")),
    Workload("pool-int8-row", "pool/int8_row", "mean pooling + L2 -> int8_row", pooling("mean", "int8_row"), beside="pool-mean"),
    Workload("maxsim", "maxsim/float32", "MaxSim float32", late_interaction()),
    Workload("tiny-topk", "topk/float32", "a tiny call: top-k", tiny),
    Workload("tiny-similarity", "similarity/float32", "a tiny call: similarity", tiny),
)


def named(names: list[str] | None = None) -> list[Workload]:
    """The workloads of those names, or whose family's operation is named; all of them for None."""
    if not names:
        return list(WORKLOADS)
    chosen = [w for w in WORKLOADS if w.name in names or w.op in names]
    unknown = set(names) - {w.name for w in WORKLOADS} - {w.op for w in WORKLOADS}
    if unknown:
        raise ValueError(f"workload: got {sorted(unknown)[0]!r}, expected one of {', '.join(w.name for w in WORKLOADS)}, or an operation")
    return chosen
