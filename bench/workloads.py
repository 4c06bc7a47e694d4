"""The named workloads: what is searched, pooled, normalized or quantized, and the least work that takes.

Working sets of memory-bound work are several times the last-level cache. `scale` shrinks the number of rows for a quick run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import NormalDist
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
    limit : what its limit is to this work: ``approached``; ``beaten``, where `work` is what a search that reads the rows as floats, and
        multiplies them so, must do, and ours may go through bytes; or ``exceeded`` by the cost of a call, where there is hardly any work
    """

    operands: SimpleNamespace
    shape: str
    work: dict[str, float]
    bytes: float
    ops: float
    limit: str = "approached"


@dataclass(frozen=True)
class Workload:
    """family: what backends and rivals implement it, ``<operation>/<operands>``.

    beside : the workload whose time it is compared with, or under `by_rate` whose operations a second
    """

    name: str
    family: str
    title: str
    make: Callable[[float], Case]
    beside: str | None = None
    by_rate: bool = False

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
    return max(min(n, 64), int(n * scale))


def search(
    kind: str, q: int, n: int, d: int, k: int = 10, allowed: float = 1.0, shared: bool = False, scan: str | None = None
) -> Callable[[float], Case]:
    """topk of q queries over n rows.

    allowed : the share of rows that pass a mask, of each query's own or `shared` by all
    scan : ours searches a Corpus with these codes beside its rows, built before any timing
    """

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
        case = SimpleNamespace(queries=queries, corpus=corpus, k=min(k, rows), metric=metric, mask=mask, scan=scan)
        through_bytes = scan or (resource == "fma" and q > 4)
        return Case(case, shape, work, read, 2.0 * pairs * d, "beaten" if through_bytes else "approached")

    return make


def within(q: int, n: int, d: int, found: int = 10) -> Callable[[float], Case]:
    """range_search of q queries over n rows, with a threshold that about `found` of them reach."""

    def make(scale: float) -> Case:
        case = search("float32", q, n, d)(scale)
        rows = len(case.operands.corpus)  # products of normal rows and queries are nearly normal
        case.operands.threshold = NormalDist().inv_cdf(1 - found / rows) * d**0.5
        return replace(case, shape=f"Q {q}, N {_short(rows)}, D {d}, {found} found")

    return make


def clustering(n: int, k: int, d: int) -> Callable[[float], Case]:
    """assign: the nearest of k centroids, under l2, for each of n vectors."""

    def make(scale: float) -> Case:
        count = _count(n, scale)
        case = SimpleNamespace(queries=operands.rows(count, d), corpus=operands.queries(k, d), k=1, metric="l2", mask=None)
        work = {"read": 4.0 * count * d, "fma": 2.0 * count * k * d}
        return Case(case, f"N {_short(count)}, {k} centroids, D {d}", work, work["read"], work["fma"], "beaten")

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


def _duplicates(q: int, n: int, d: int) -> Sides:
    return Sides(operands.queries(q, d), operands.duplicates(n, d), "ip", 4, "fma")


def _offset(q: int, n: int, d: int) -> Sides:
    return Sides(operands.queries(q, d) + np.float32(100), operands.offset_rows(n, d, 100), "l2", 4, "fma")


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
    "duplicates": _duplicates,
    "offset": _offset,
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
        width, dtype = {None: (d, np.float32), "int8": (d, np.int8), "ubinary": ((d + 7) // 8, np.uint8)}[precision]
        out = np.ones((len(x), width), dtype)  # touched: a fresh one would cost its first writer a page fault for every 4 KiB
        case = SimpleNamespace(x=x, precision=precision, ranges=ranges, out=out)
        traffic = x.nbytes * (2 if resource == "copy" else 1)
        return Case(case, f"N {_short(len(x))}, D {d}", {resource: x.nbytes}, traffic, 3.0 * x.size)

    return make


def late_interaction(
    kind: str = "float32", k: int | None = None, n: int = 1000, q: int = 32, t: int = 180, d: int = 128
) -> Callable[[float], Case]:
    """MaxSim of one query of q tokens against n documents of t tokens on average, ragged: every score, or the k best."""

    def make(scale: float) -> Case:
        documents = _count(n, scale)
        lengths = np.random.default_rng(6).integers(t - 60, t + 61, documents)
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        query, vectors, _, _, resource = _OPERANDS[kind](q, int(offsets[-1]), d)
        case = SimpleNamespace(query=query, tokens=vectors, offsets=offsets, k=k)
        pairs = float(q * len(vectors))
        work = {"read": float(vectors.nbytes), str(resource): (2.0 if resource == "fma" else 1.0) * pairs * d}
        return Case(case, f"{q} x {d} against {documents} documents of {t} tokens", work, work["read"], 2.0 * pairs * d)

    return make


def bags(precision: str | None, n: int = 1_000_000, d: int = 256, b: int = 10_000, length: int = 32) -> Callable[[float], Case]:
    """The mean of b bags of rows of a table of n, as floats or as codes with a scale a row."""

    def make(scale: float) -> Case:
        rows, count = _count(n, scale), _count(b, scale)
        ids = np.random.default_rng(7).integers(0, rows, count * length)
        table, floats = _bag_table(precision, rows, d)
        case = SimpleNamespace(table=table, floats=floats, ids=ids, offsets=np.arange(count + 1) * length)
        read = float(ids.size * d * (4 if precision is None else 1))
        # Lines from all over the table come one by one, which no bandwidth measured in a row limits.
        return Case(case, f"table {_short(rows)} x {d}, {_short(count)} bags of {length}", {}, read, float(ids.size * d))

    return make


def _bag_table(precision: str | None, n: int, d: int) -> tuple[Any, np.ndarray]:
    """A table, and the float32 rows it stands for."""
    if precision is None:
        return (x := operands.rows(n, d)), x
    codes = np.maximum(operands.bytes_of(n, d).view(np.int8), -127)
    return Codes(codes, precision, d, scale=np.ones(n, np.float32)), codes.astype(np.float32)


def tiny(make: Callable[[float], Case]) -> Callable[[float], Case]:
    """Work of hardly anything at its full size, whatever the scale, on operands in the cache: what a call costs."""

    def at_full_size(scale: float) -> Case:
        case = make(1.0)
        case.operands.out = None  # what a call costs, it costs with its result
        return replace(case, work={name: case.work[name] for name in ("fma",) if name in case.work}, limit="exceeded")

    return at_full_size


def _short(n: int) -> str:
    return f"{n / 1e6:g}M" if n % 100_000 == 0 and n >= 1_000_000 else f"{n / 1e3:g}k" if n % 100 == 0 and n >= 1000 else str(n)


WORKLOADS: tuple[Workload, ...] = (
    Workload("f32-q1", "topk/float32", "float32 top-k", search("float32", 1, 500_000, 768)),
    Workload(
        "int8-codes-q1",
        "topk/one query beside codes",
        "exact float32 top-k through int8 codes, isotropic rows",
        search("float32", 1, 500_000, 768, scan="int8"),
        beside="f32-q1",
    ),
    Workload(
        "int4-codes-q1",
        "topk/one query beside codes",
        "exact float32 top-k through int4 codes, which prune such rows badly",
        search("float32", 1, 500_000, 768, scan="int4"),
        beside="f32-q1",
    ),
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
    Workload("range-q64", "range_search/float32", "float32 range search", within(64, 100_000, 768), beside="f32-q64"),
    Workload("f16-q64", "topk/float16", "float16 top-k", search("float16", 64, 100_000, 768)),
    Workload("bf16-q64", "topk/bfloat16", "bfloat16 top-k", search("bfloat16", 64, 100_000, 768)),
    Workload("normalize", "normalize", "normalize", rowwise("copy")),
    Workload("quantize-int8", "quantize/int8", "quantize to int8", rowwise("read", "int8")),
    Workload("quantize-ubinary", "quantize/ubinary", "quantize to bits", rowwise("read", "ubinary")),
    Workload(
        "f32-duplicates-q64",
        "topk/worst",
        "float32 top-k, nothing but duplicates",
        search("duplicates", 64, 100_000, 768),
        beside="f32-q64",
    ),
    Workload(
        "codes-duplicates-q64",
        "topk/worst",
        "float32 top-k, nothing but duplicates, through codes",
        search("duplicates", 64, 100_000, 768, scan="auto"),
        beside="f32-q64",
    ),
    Workload("f32-offset-q64", "topk/l2", "l2 top-k, a common offset of 100 σ", search("offset", 64, 100_000, 768), beside="f32-q64"),
    Workload(
        "codes-offset-q64",
        "topk/l2",
        "l2 top-k, a common offset of 100 σ, through codes",
        search("offset", 64, 100_000, 768, scan="auto"),
        beside="f32-q64",
    ),
    Workload("f32-q1024", "topk/float32", "float32 top-k", search("float32", 1024, 100_000, 384)),
    Workload("real-q1", "topk/float32", "float32 top-k, real embeddings", search("real", 1, 500_000, 384)),
    Workload(
        "real-int4-codes-q1",
        "topk/one query beside codes",
        "exact float32 top-k, real embeddings, through int4 and int8 codes",
        search("real", 1, 500_000, 384, scan="auto"),
        beside="real-q1",
    ),
    Workload("real-q256", "topk/float32", "float32 top-k, real embeddings", search("real", 256, 500_000, 384)),
    Workload(
        "real-int8-codes-q256",
        "topk/many queries beside codes",
        "exact float32 top-k, real embeddings, through int8 codes",
        search("real", 256, 500_000, 384, scan="int8"),
        beside="real-q256",
    ),
    Workload(
        "real-int4-codes-q256",
        "topk/many queries beside codes",
        "exact float32 top-k, real embeddings, through int4 and int8 codes",
        search("real", 256, 500_000, 384, scan="auto"),
        beside="real-q256",
    ),
    Workload("assign", "assign/float32", "the nearest centroid", clustering(50_000, 1024, 384)),
    Workload("i8-q1", "topk/int8", "int8 top-k", search("int8", 1, 1_000_000, 768)),
    Workload("i8-q64", "topk/int8", "int8 top-k", search("int8", 64, 100_000, 768)),
    Workload("i4-q64", "topk/int4", "int4 corpus, int8 queries", search("int4", 64, 100_000, 768), beside="i8-q64", by_rate=True),
    Workload("hamming-q64", "topk/hamming", "Hamming top-k, 1024 bits", search("hamming", 64, 1_000_000, 1024)),
    Workload(
        "f32-bits-q64",
        "topk/float x bits",
        "float queries, binary corpus",
        search("float x bits", 64, 100_000, 1024),
        beside="f32-q64",
        by_rate=True,
    ),
    Workload("pool-mean", "pool/mean", "mean pooling + L2", pooling("mean")),
    Workload("pool-attention", "pool/attention", "attention pooling + L2", pooling("attention")),
    Workload("pool-int8-row", "pool/int8_row", "mean pooling + L2 -> int8_row", pooling("mean", "int8_row"), beside="pool-mean"),
    Workload("maxsim", "maxsim/float32", "MaxSim float32", late_interaction()),
    Workload("maxsim-k10", "maxsim/k best", "MaxSim float32, the 10 best documents", late_interaction(k=10), beside="maxsim"),
    Workload("maxsim-int8", "maxsim/int8", "MaxSim int8", late_interaction("int8")),
    Workload("bag", "embedding_bag/float32", "embedding bags, mean, float32 rows", bags(None)),
    Workload("bag-int8-row", "embedding_bag/int8_row", "embedding bags, mean, int8_row rows", bags("int8_row"), beside="bag"),
    Workload("tiny-topk", "topk/tiny", "a tiny call: top-k", tiny(search("float32", 1, 100, 384))),
    Workload("tiny-corpus", "topk/tiny index", "a tiny call: Corpus.search", tiny(search("float32", 1, 100, 384, scan="auto"))),
    Workload("tiny-similarity", "similarity/float32", "a tiny call: similarity", tiny(search("float32", 1, 100, 384))),
    Workload("tiny-normalize", "normalize", "a tiny call: normalize", tiny(rowwise("copy", n=1, d=384))),
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
