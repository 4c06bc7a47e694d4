"""``fastembed-core bench``: this machine's limits, and a handful of operations beside plain numpy, in well under a minute.

The repository's ``bench/`` measures every workload against every rival; this is the short form that needs neither.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from .. import dispatch, threads
from ..measure import RESOURCES, Limit, beyond_cache, clock, fraction, interleaved, limits, quantity

ROUNDS = 5
_LIMIT_BYTES = 256 << 20  # of each buffer walked for bandwidth


class Work(NamedTuple):
    """One line of the table: what is done, our call, numpy's, and the least that must be done of each resource."""

    title: str
    op: str
    ours: Callable[[], Any]
    numpy: Callable[[], Any]
    work: dict[str, float]


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "bench",
        help="measure this machine's limits and the kernels beside plain numpy",
        description="This machine's limits, and a handful of operations beside plain numpy: medians of interleaved rounds.",
    )
    parser.add_argument("--threads", type=int, help="threads for both sides (default: all that this process may use)")
    parser.add_argument("--rows", type=int, default=200_000, help="vectors of 384 dimensions to work on (default: %(default)s)")
    parser.set_defaults(func=run)


def run(arguments: argparse.Namespace) -> None:
    count = threads.num_threads() if arguments.threads is None else arguments.threads
    with threads.limit(count), _numpy_threads(count):
        for line in report(count, arguments.rows):
            print(line, flush=True)


def report(count: int, rows: int, *, rounds: int = ROUNDS, limit_bytes: int = _LIMIT_BYTES) -> Iterator[str]:
    """The lines `fastembed-core bench` prints, each as soon as it is measured."""
    if rows < 128:
        raise ValueError(f"--rows: got {rows}, expected at least 128")
    found = limits(count, nbytes=limit_bytes)
    yield f"limits of this machine, {count} thread{'s' if count != 1 else ''}"
    if not found:
        yield f"  not measured: {dispatch.get_backend('cpu').missing()}"
    for limit in found.values():
        what, unit = RESOURCES[limit.resource]
        yield f"  {what:<28}{quantity(limit.rate, unit):>13}  {limit.recipe}"
    yield ""
    yield f"{'operation':<46}{'numpy':>10}{'ours':>10}{'faster':>9}  of the limit"
    for work in works(rows):
        yield line(work, *measure(work, found, rounds))
    yield ""
    yield dispatch.explain("topk")


def measure(work: Work, found: dict[str, Limit], rounds: int) -> tuple[float, float, dict[str, float]]:
    """Median seconds of ours and of numpy, and the rates of the limits, from the same rounds."""
    probes = [found[resource] for resource in work.work if resource in found]
    calls = [work.ours, work.numpy, *(limit.run for limit in probes)]
    seconds = interleaved(calls, [clock(call) for call in calls], rounds)
    ours, plain, *rest = (median(taken) for taken in seconds)
    return ours, plain, {limit.resource: limit.work / taken for limit, taken in zip(probes, rest, strict=True)}


def line(work: Work, ours: float, plain: float, rates: dict[str, float]) -> str:
    """A line of the table."""
    least = beyond_cache(work.work, work.work.get("read") or 2 * work.work.get("copy", 0))
    share = fraction(least, rates, ours)
    limit = f"{share[0]:.0%} of {RESOURCES[share[1]][0]}" if share else "–"
    return f"{work.title:<46}{quantity(plain, 's'):>10}{quantity(ours, 's'):>10}{plain / ours:>8.1f}x  {limit}"


def works(rows: int, dim: int = 384, k: int = 10) -> Iterator[Work]:
    """The operations measured. Vectors are normal: no data is needed, and no kernel here is faster for easier data."""
    from .. import normalize, pool, quantize, topk

    rng = np.random.default_rng(0)
    x = rng.standard_normal((rows, dim), np.float32)
    size = f"{rows / 1000:g}k x {dim}"
    for count in (1, 64):
        q = rng.standard_normal((count, dim), np.float32)
        yield Work(
            f"float32 top-{k}, {count} quer{'y' if count == 1 else 'ies'}, {size}",
            "topk",
            partial(topk, q, x, k, metric="ip"),
            partial(_best_product, q, x, k),
            {"read": x.nbytes, "fma": 2.0 * count * x.size},
        )
    bits, query_bits = np.packbits(x > 0, axis=1), np.packbits(q > 0, axis=1)
    yield Work(
        f"Hamming top-{k}, 64 queries, {rows / 1000:g}k x {dim} bits",
        "topk",
        partial(topk, query_bits, bits, k, metric="hamming"),
        partial(_best_hamming, query_bits, bits, k),
        {"read": bits.nbytes, "popcount": 64.0 * bits.size * 8},
    )
    codes, query_codes = (np.clip(v * 40, -127, 127).astype(np.int8) for v in (x, q))
    yield Work(
        f"int8 top-{k}, 64 queries, {size}",
        "topk",
        partial(topk, query_codes, codes, k, metric="ip"),
        lambda: _best_product(query_codes.astype(np.float32), codes.astype(np.float32), k),
        {"read": codes.nbytes, "int8": 64.0 * codes.size},
    )
    sequences = max(1, rows // 128)
    tokens = x[: sequences * 128].reshape(sequences, 128, dim)
    mask = np.arange(128) < rng.integers(26, 129, sequences)[:, None]
    yield Work(
        f"mean pooling + L2, {sequences} x 128 x {dim}",
        "pool",
        partial(pool, tokens, mask, mode="mean", normalize=True),
        lambda: _unit((mask.astype(np.float32)[:, None] @ tokens)[:, 0]),
        {"read": 4.0 * mask.sum() * dim},
    )
    out, plain_out = np.ones_like(x), np.ones_like(x)
    yield Work(
        f"normalize, {size}",
        "normalize",
        partial(normalize, x, out=out),
        lambda: np.divide(x, np.sqrt(np.einsum("ij,ij->i", x, x))[:, None], out=plain_out),
        {"copy": x.nbytes},
    )
    to_bits = partial(quantize, x, "ubinary")
    yield Work(f"quantize to bits, {size}", "quantize", to_bits, lambda: np.packbits(x > 0, axis=1), {"read": x.nbytes})


def _best(scores: np.ndarray, k: int) -> np.ndarray:
    best = np.argpartition(scores, -k, 1)[:, -k:]
    return np.take_along_axis(best, np.argsort(-np.take_along_axis(scores, best, 1), axis=1), 1)


def _best_product(queries: np.ndarray, corpus: np.ndarray, k: int) -> np.ndarray:
    return _best(queries @ corpus.T, k)


def _best_hamming(queries: np.ndarray, corpus: np.ndarray, k: int) -> np.ndarray:
    count = getattr(np, "bitwise_count", None)  # numpy 2
    if count is None:
        return _best(-np.stack([np.unpackbits(corpus ^ q, axis=1).sum(1, dtype=np.int32) for q in queries]), k)
    words = corpus.view(np.uint64) if corpus.shape[1] % 8 == 0 else corpus
    return _best(-np.stack([count(words ^ q).sum(1, dtype=np.int32) for q in queries.view(words.dtype)]), k)


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), np.float32(1e-12))


def _numpy_threads(count: int) -> AbstractContextManager[Any]:
    """numpy's own threads limited too, where threadpoolctl can."""
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        return nullcontext()
    return threadpool_limits(count)
