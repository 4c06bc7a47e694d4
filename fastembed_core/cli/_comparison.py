"""One search in four precisions, beside the same in plain numpy: bytes, time and agreement with float32."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from .. import threads
from ..ops.quantize import quantize
from ..ops.rescore import rescore
from ..ops.topk import topk

QUERIES, ROUNDS = 100, 5

Search = Callable[[np.ndarray, int], np.ndarray]  # (1, D) query and the row it must not return -> the k best rows


class Row(NamedTuple):
    """A line of the table."""

    name: str
    size: str
    ours: float
    numpy: float
    overlap: float


def compare(vectors: np.ndarray, k: int) -> list[Row]:
    """Search unit vectors by some of themselves, one query and one thread at a time, ours and numpy's in turn."""
    from threadpoolctl import threadpool_limits  # scikit-learn brings it, which sentence-transformers brings

    every = max(1, len(vectors) // QUERIES)
    chosen = np.arange(0, len(vectors), every)[:QUERIES]
    searches = dict(_searches(vectors, k))
    times: dict[tuple[str, int], list[float]] = {(name, side): [] for name in searches for side in (0, 1)}
    found: dict[str, list[np.ndarray]] = {name: [] for name in searches}
    with threads.limit(1), threadpool_limits(1):
        for turn in range(ROUNDS + 1):  # the first warms caches and is not counted
            for name, (_, *sides) in searches.items():
                for side, search in enumerate(sides):
                    for i in chosen:
                        start = time.perf_counter()
                        rows = search(vectors[i : i + 1], int(i))
                        if turn:
                            times[name, side].append(time.perf_counter() - start)
                        elif side == 0:
                            found[name].append(rows)
    table = []
    for name, (size, *_) in searches.items():
        shared = [len(np.intersect1d(a, b)) / max(1, len(b)) for a, b in zip(found[name], found["float32"], strict=True)]
        ours, plain = (float(np.median(times[name, side])) for side in (0, 1))
        table.append(Row(name, size, ours, plain, float(np.mean(shared))))
    return table


def _searches(x: np.ndarray, k: int) -> Iterator[tuple[str, tuple[str, Search, Search]]]:
    """(name, (bytes a vector, our search, numpy's))."""
    row_bytes = x.shape[1] * 4
    yield (
        "float32",
        (
            f"{row_bytes:,}",
            lambda q, own: topk(q, x, k, metric="ip", exclude=_only(own))[1][0],
            lambda q, own: _best(x @ q[0], own, k),
        ),
    )

    codes = quantize(x, "int8_row")
    data, scale = codes.data, codes.scale
    yield (
        "int8_row",
        (
            f"{codes.nbytes // len(x):,}",
            lambda q, own: topk(quantize(q, "int8_row"), codes, k, metric="ip", exclude=_only(own))[1][0],
            lambda q, own: _best(data.astype(np.float32) @ q[0] * scale, own, k),
        ),
    )

    bits = quantize(x, "ubinary")
    packed = bits.data

    def hamming(q: np.ndarray, own: int, count: int) -> np.ndarray:
        return topk(quantize(q, "ubinary"), bits, count, metric="hamming", exclude=_only(own))[1]

    words = packed.view(np.uint64) if packed.shape[1] % 8 == 0 else packed

    def numpy_hamming(q: np.ndarray, own: int, count: int) -> np.ndarray:
        differing = np.bitwise_xor(words, np.packbits(q > 0, axis=1).view(words.dtype))
        return _best(-_popcount(differing).sum(axis=1, dtype=np.int32), own, count)

    size = f"{bits.nbytes // len(x):,}"
    yield "binary", (size, lambda q, own: hamming(q, own, k)[0], lambda q, own: numpy_hamming(q, own, k))

    candidates = min(10 * k, len(x))

    def numpy_rescored(q: np.ndarray, own: int) -> np.ndarray:
        rows = numpy_hamming(q, own, candidates)
        return rows[_best(x[rows] @ q[0], None, k)]

    yield (
        f"binary, {candidates} rescored",
        (f"{size} + {row_bytes:,}", lambda q, own: rescore(q, x, hamming(q, own, candidates), k, metric="ip")[1][0], numpy_rescored),
    )


def _only(row: int) -> np.ndarray:
    return np.array([row])


def _best(scores: np.ndarray, own: int | None, k: int) -> np.ndarray:
    """The k largest, best first, as numpy users write it."""
    if own is not None:
        scores[own] = scores.min()
    k = min(k, len(scores))
    rows = np.argpartition(-scores, k - 1)[:k]
    return rows[np.argsort(-scores[rows], kind="stable")]


_BITS_OF_BYTE = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(axis=1, dtype=np.uint8)


def _popcount(x: np.ndarray) -> np.ndarray:
    return np.bitwise_count(x) if hasattr(np, "bitwise_count") else _BITS_OF_BYTE[x.view(np.uint8)]
