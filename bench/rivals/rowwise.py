"""Rivals of normalize, quantize and small similarity matrices."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from .registry import rival, tensor


@rival("faiss, in place", "normalize", needs="faiss")
def faiss_normalize(o: SimpleNamespace, threads: int) -> Callable[[], Any]:
    import faiss

    x = o.x.copy()

    def call() -> np.ndarray:
        faiss.normalize_L2(x)
        return x

    return call


@rival("torch", "normalize", needs="torch")
def torch_normalize(o: SimpleNamespace, threads: int) -> Callable[[], Any]:
    import torch

    x, out = tensor(o.x), torch.empty(o.x.shape)
    return lambda: torch.nn.functional.normalize(x, out=out).numpy()


@rival("numpy", "normalize")
def numpy_normalize(o: SimpleNamespace, threads: int) -> Callable[[], Any]:
    out = np.ones_like(o.x)
    # einsum reads once where linalg.norm writes the squares first
    return lambda: np.divide(o.x, np.sqrt(np.einsum("ij,ij->i", o.x, o.x))[:, None], out=out)


@rival("sentence-transformers", "quantize/int8", "quantize/ubinary", needs="sentence_transformers")
def st_quantize(o: SimpleNamespace, threads: int) -> Callable[[], Any]:
    from sentence_transformers.util.quantization import quantize_embeddings

    return lambda: quantize_embeddings(o.x, o.precision, ranges=o.ranges)


@rival("numpy", "quantize/int8")
def numpy_int8(o: SimpleNamespace, threads: int) -> Callable[[], Any]:
    scratch = np.empty((4096, o.x.shape[1]), np.float32)
    low, step = o.ranges[0], (o.ranges[1] - o.ranges[0]) / np.float32(255)

    def call() -> np.ndarray:
        for start in range(0, len(o.x), len(scratch)):
            part = o.x[start : start + len(scratch)]
            block = np.subtract(part, low, out=scratch[: len(part)])
            np.clip(np.floor(np.divide(block, step, out=block), out=block), 0, 255, out=block)
            o.out[start : start + len(scratch)] = np.subtract(block, 128, out=block)
        return o.out

    return call


@rival("numpy", "quantize/ubinary")
def numpy_bits(o: SimpleNamespace, threads: int) -> Callable[[], Any]:
    return lambda: np.packbits(o.x > 0, axis=-1)


@rival("numpy", "similarity/float32")
def numpy_similarity(o: SimpleNamespace, threads: int) -> Callable[[], Any]:
    return lambda: o.queries @ o.corpus.T


@rival("torch", "similarity/float32", needs="torch")
def torch_similarity(o: SimpleNamespace, threads: int) -> Callable[[], Any]:
    queries, corpus = tensor(o.queries), tensor(o.corpus)
    return lambda: (queries @ corpus.T).numpy()
