"""sentence-transformers' `util` functions over 100,000 vectors."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from .. import operands
from .comparison import Comparison, host, near, same_hits


def vectors(scale: float, queries: int) -> tuple[Any, Any]:
    import torch

    return torch.from_numpy(operands.real_queries(queries)), torch.from_numpy(operands.real_embeddings(max(1000, int(100_000 * scale))))


def searching(scale: float, queries: int, **how: Any) -> Comparison:
    from sentence_transformers import util

    from fastembed_core.integrations.sentence_transformers import semantic_search

    q, x = vectors(scale, queries)
    return Comparison(lambda: util.semantic_search(q, x, **how), lambda: semantic_search(q, x, **how), same_hits)


@host("semantic_search, 1 query, 100k vectors")
def semantic_search_one(scale: float) -> Comparison:
    return searching(scale, 1)


@host("semantic_search, 300 queries, 100k vectors")
def semantic_search(scale: float) -> Comparison:
    return searching(scale, 300)


def of_codes(engine: str, precision: str, scale: float) -> Comparison:
    from sentence_transformers.util import quantization

    from fastembed_core.integrations import sentence_transformers as ours

    __import__(engine)
    q, x = (side.numpy() for side in vectors(scale, 300))
    ranges = np.stack([x.min(axis=0), x.max(axis=0)])
    codes = quantization.quantize_embeddings(x, precision, ranges)
    calls = [getattr(module, f"semantic_search_{engine}") for module in (quantization, ours)]
    alone, with_line = (functools.partial(call, q, codes, corpus_precision=precision, ranges=ranges) for call in calls)

    return Comparison(alone, with_line, lambda a, b: same_hits(a[0], b[0]))


@host("semantic_search_faiss, uint8 codes rescored, 300 queries, 100k vectors")
def semantic_search_faiss(scale: float) -> Comparison:
    return of_codes("faiss", "uint8", scale)


@host("semantic_search_usearch, int8 codes rescored, 300 queries, 100k vectors")
def semantic_search_usearch(scale: float) -> Comparison:
    return of_codes("usearch", "int8", scale)


@host("quantize_embeddings, int8, 100k vectors")
def quantize_embeddings(scale: float) -> Comparison:
    from sentence_transformers import util

    from fastembed_core.integrations import sentence_transformers as ours

    x = vectors(scale, 1)[1].numpy()
    return Comparison(lambda: util.quantize_embeddings(x, "int8"), lambda: ours.quantize_embeddings(x, "int8"), np.array_equal)


@host("paraphrase_mining_embeddings, 5,385 sentences")
def paraphrase_mining(scale: float) -> Comparison:
    from sentence_transformers import util

    from fastembed_core.integrations import sentence_transformers as ours

    x = vectors(scale, 1)[1][-5385:]
    scores = near(1e-5)
    return Comparison(
        lambda: util.paraphrase_mining_embeddings(x),
        lambda: ours.paraphrase_mining_embeddings(x),
        lambda a, b: len(a) == len(b) and scores([pair[0] for pair in a], [pair[0] for pair in b]),
    )


@host("community_detection, 20k vectors")
def community_detection(scale: float) -> Comparison:
    from sentence_transformers import util

    from fastembed_core.integrations import sentence_transformers as ours

    x = vectors(scale, 1)[1][:20_000]
    return Comparison(
        lambda: util.community_detection(x), lambda: ours.community_detection(x), lambda a, b: [len(g) for g in a] == [len(g) for g in b]
    )


@host("maxsim, 32 queries of 32 tokens, 500 documents of 20 to 180")
def maxsim(scale: float) -> Comparison:
    import torch
    from sentence_transformers import util

    from fastembed_core.integrations import sentence_transformers as ours

    lengths = np.random.default_rng(0).integers(20, 181, max(8, int(500 * scale)))
    rows = torch.from_numpy(operands.rows(int(lengths.sum()) + 32 * 32, 128))
    queries, documents = list(rows[: 32 * 32].split(32)), list(rows[32 * 32 : 32 * 32 + int(lengths.sum())].split(lengths.tolist()))
    return Comparison(lambda: util.maxsim(queries, documents), lambda: ours.maxsim(queries, documents), near(2e-2))
