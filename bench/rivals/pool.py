"""Rivals of pooling, L2 and quantization in one pass."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from .registry import rival, tensor


@rival("sentence-transformers", "pool/mean", needs="sentence_transformers")
def st_pooling(o: SimpleNamespace, threads: int) -> Callable[[], Any]:
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling

    pooling, unit = Pooling(o.tokens.shape[2], "mean"), Normalize()
    tokens, mask = tensor(o.tokens), tensor(o.mask)
    return lambda: unit(pooling({"token_embeddings": tokens, "attention_mask": mask}))["sentence_embedding"].numpy()


@rival("sentence-transformers", "pool/int8_row", needs="sentence_transformers", exact=False)
def st_pooling_int8(o: SimpleNamespace, threads: int) -> Callable[[], Any]:
    from sentence_transformers.util.quantization import quantize_embeddings

    embed = st_pooling(o, threads)
    sample = embed()
    ranges = np.stack([sample.min(0), sample.max(0)])  # its int8 has a range a dimension where int8_row has a scale a row
    return lambda: quantize_embeddings(embed(), "int8", ranges=ranges)


@rival("torch bmm", "pool/mean", needs="torch")
def torch_pooling(o: SimpleNamespace, threads: int) -> Callable[[], Any]:
    import torch

    tokens, mask = tensor(o.tokens), tensor(o.mask)

    def call() -> np.ndarray:
        weights = mask.to(torch.float32)
        sums = torch.bmm(weights[:, None], tokens)[:, 0]
        return torch.nn.functional.normalize(sums).numpy()  # the division by the count drops out of the unit vector

    return call


def _numpy_mean(o: SimpleNamespace) -> np.ndarray:
    sums = (o.mask.astype(np.float32)[:, None] @ o.tokens)[:, 0]
    return sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)


@rival("numpy", "pool/mean")
def numpy_pooling(o: SimpleNamespace, threads: int) -> Callable[[], Any]:
    return lambda: _numpy_mean(o)


@rival("numpy", "pool/int8_row")
def numpy_pooling_int8(o: SimpleNamespace, threads: int) -> Callable[[], Any]:
    def call() -> np.ndarray:
        x = _numpy_mean(o)
        scale = np.abs(x).max(1, keepdims=True) / np.float32(127)
        return np.rint(x / scale).astype(np.int8)

    return call


@rival("torch sdpa", "pool/attention", needs="torch")
def torch_attention(o: SimpleNamespace, threads: int) -> Callable[[], Any]:
    import torch

    tokens, mask, query = tensor(o.tokens), tensor(o.mask)[:, None], tensor(o.query)

    def call() -> np.ndarray:
        pooled = torch.nn.functional.scaled_dot_product_attention(query.expand(len(tokens), 1, -1), tokens, tokens, attn_mask=mask)
        return torch.nn.functional.normalize(pooled[:, 0]).numpy()

    return call


@rival("torch bmm", "pool/attention", needs="torch")
def torch_attention_bmm(o: SimpleNamespace, threads: int) -> Callable[[], Any]:
    import torch

    tokens, mask, query = tensor(o.tokens), tensor(o.mask), tensor(o.query)

    def call() -> np.ndarray:
        scores = (tokens @ query).mul_(tokens.shape[2] ** -0.5).masked_fill_(~mask, -torch.inf)
        return torch.nn.functional.normalize(torch.bmm(scores.softmax(1)[:, None], tokens)[:, 0]).numpy()

    return call


@rival("numpy", "pool/attention")
def numpy_attention(o: SimpleNamespace, threads: int) -> Callable[[], Any]:
    def call() -> np.ndarray:
        scores = np.where(o.mask, (o.tokens @ o.query) * np.float32(o.tokens.shape[2] ** -0.5), np.float32(-np.inf))
        weights = np.exp(scores - scores.max(1, keepdims=True))
        pooled = (weights[:, None] @ o.tokens)[:, 0]
        return pooled / np.linalg.norm(pooled, axis=1, keepdims=True)

    return call
