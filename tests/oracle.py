"""What the reference says of a case: computed once, shared by every backend's tests."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import cases
import numpy as np

import fastembed_core as fc


@lru_cache(maxsize=4096)
def topk(pairing: cases.Pairing, q: int, n: int, d: int, values: str, k: int, metric: str) -> tuple[np.ndarray, np.ndarray]:
    queries, corpus = cases.operands(pairing, q, n, d, values)
    return fc.topk(queries, corpus, k, metric=metric, backend="reference")


@lru_cache(maxsize=4096)
def similarity(pairing: cases.Pairing, q: int, n: int, d: int, values: str, metric: str) -> np.ndarray:
    queries, corpus = cases.operands(pairing, q, n, d, values)
    return fc.similarity(queries, corpus, metric, backend="reference")


def values64(x: Any) -> np.ndarray:
    """(n, d) float64 of what a canonical sum runs over, written down a second time, away from the reference."""
    if isinstance(x, np.ndarray):
        return x.astype(np.float32).astype(np.float64)
    if x.precision in ("binary", "ubinary"):
        packed = x.data.view(np.uint8) ^ (0x80 if x.precision == "binary" else 0)
        return np.unpackbits(packed.astype(np.uint8), axis=1)[:, : x.dim] * 2.0 - 1
    if x.precision == "int4_row":
        codes = np.empty((len(x), 2 * x.data.shape[1]))
        codes[:, 0::2], codes[:, 1::2] = x.data % 16, x.data // 16
        return (codes[:, : x.dim] - 8) * x.scale[:, None].astype(np.float64)
    if x.precision == "int8_row":
        return x.data * x.scale[:, None].astype(np.float64)
    unsigned = x.data + (128.0 if x.precision == "int8" else 0.0)
    if x.ranges is None:
        return x.data.astype(np.float64)
    step = ((x.ranges[1] - x.ranges[0]) / np.float32(255)).astype(np.float64)
    step[step == 0] = 1
    return (unsigned * step + x.ranges[0]).astype(np.float32).astype(np.float64)
