"""`semantic_search`, `paraphrase_mining` and `community_detection` with the host's signatures and results.

Scores are ours: canonical, so that they do not depend on chunk sizes, and equals rank by the lowest index, where the host leaves
their order open. Chunk sizes bound what the host keeps in memory; our searches keep no matrix of scores and take them as they come.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from sentence_transformers import util
from tqdm.autonotebook import tqdm

import fastembed_core as fc

from ._embeddings import host, matrix, together

# The host's score functions that rank as a metric of ours does, and the sign between the two.
SCORES = {
    util.cos_sim: ("cosine", 1.0),
    util.pytorch_cos_sim: ("cosine", 1.0),
    util.dot_score: ("ip", 1.0),
    util.euclidean_sim: ("l2", -1.0),
}


def _metric(score_function: Callable[..., Any]) -> tuple[str | None, float]:
    try:
        return SCORES.get(score_function, (None, 1.0))
    except TypeError:  # not hashable
        return None, 1.0


def semantic_search(
    query_embeddings: Any,
    corpus_embeddings: Any,
    query_chunk_size: int = 100,
    corpus_chunk_size: int = 500000,
    top_k: int = 10,
    score_function: Callable[..., Any] = util.cos_sim,
) -> list[list[dict[str, int | float]]]:
    """``sentence_transformers.util.semantic_search``: for each query the `top_k` best rows, as {"corpus_id", "score"}, best first.

    Exact under cos_sim, dot_score and euclidean_sim for float32, float16 and bfloat16 vectors in host memory or on one GPU; a numpy
    memory map is searched where it lies. All else is the host's.
    """
    metric, sign = _metric(score_function)
    queries, corpus = (matrix(query_embeddings), matrix(corpus_embeddings)) if metric else (None, None)
    if not together(queries, corpus):
        found: list[list[dict[str, int | float]]] = util.semantic_search(
            query_embeddings, corpus_embeddings, query_chunk_size, corpus_chunk_size, top_k, score_function
        )
        return found
    scores, rows = fc.topk(queries, corpus, top_k, metric=metric)
    return hits(host(scores) * np.float32(sign), host(rows))


def hits(scores: np.ndarray, rows: np.ndarray) -> list[list[dict[str, int | float]]]:
    """(Q, k) arrays as the host gives results; places that no row fills are left out."""
    return [
        [{"corpus_id": row, "score": score} for row, score in zip(*pair, strict=True) if row >= 0]
        for pair in zip(rows.tolist(), scores.tolist(), strict=True)
    ]


def paraphrase_mining(model: Any, sentences: list[str], show_progress_bar: bool = False, batch_size: int = 32, **kwargs: Any) -> Any:
    """``sentence_transformers.util.paraphrase_mining``: the pairs of `paraphrase_mining_embeddings` for what `model` makes of texts."""
    how = {name: kwargs.pop(name) for name in ("truncate_dim", "prompt_name", "prompt") if name in kwargs}
    vectors = model.encode(sentences, show_progress_bar=show_progress_bar, batch_size=batch_size, convert_to_tensor=True, **how)
    return paraphrase_mining_embeddings(vectors, **kwargs)


def paraphrase_mining_embeddings(
    embeddings: Any,
    query_chunk_size: int = 5000,
    corpus_chunk_size: int = 100000,
    max_pairs: int = 500000,
    top_k: int = 100,
    score_function: Callable[..., Any] = util.cos_sim,
) -> list[list[float | int]]:
    """``sentence_transformers.util.paraphrase_mining_embeddings``: the `max_pairs` best pairs [score, i, j], i < j, best first, of
    each row with its `top_k` neighbours. Among equal scores the lower (i, j) is first."""
    metric, sign = _metric(score_function)
    x = matrix(embeddings) if metric else None
    if x is None:
        theirs: list[list[float | int]] = util.paraphrase_mining_embeddings(
            embeddings, query_chunk_size, corpus_chunk_size, max_pairs, top_k, score_function
        )
        return theirs
    n = len(x)
    best: tuple[np.ndarray, np.ndarray] = np.empty(0, np.float32), np.empty(0, np.int64)
    for start in range(0, n, query_chunk_size):
        block = x[start : start + query_chunk_size]
        own = np.arange(start, start + len(block))
        scores, rows = (host(part) for part in fc.topk(block, x, top_k, metric=metric, exclude=own))
        there = rows >= 0
        first = np.broadcast_to(own[:, None], rows.shape)[there]
        pairs = np.minimum(first, rows[there]) * n + np.maximum(first, rows[there])
        best = _best_pairs(np.append(best[0], scores[there] * np.float32(sign)), np.append(best[1], pairs), max_pairs)
    columns = best[0].tolist(), (best[1] // n).tolist(), (best[1] % n).tolist()
    return [[score, i, j] for score, i, j in zip(*columns, strict=True)]


def _best_pairs(scores: np.ndarray, pairs: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Each pair once, the best `count`, by score and then by pair; a pair has one score, whichever of its rows found it."""
    pairs, first = np.unique(pairs, return_index=True)
    scores = scores[first]
    order = np.argsort(-scores, kind="stable")[:count]
    return scores[order], pairs[order]


def community_detection(
    embeddings: Any, threshold: float = 0.75, min_community_size: int = 10, batch_size: int = 1024, show_progress_bar: bool = False
) -> list[list[int]]:
    """``sentence_transformers.util.community_detection``: groups of at least `min_community_size` rows around a central one, which
    comes first, each row's cosine with it at least `threshold`; larger groups take rows from smaller ones; largest first."""
    x = matrix(embeddings) if len(embeddings) else None
    if x is None or min_community_size < 1:
        theirs: list[list[int]] = util.community_detection(embeddings, threshold, min_community_size, batch_size, show_progress_bar)
        return theirs
    if len(x) < min_community_size:
        return []
    communities: list[tuple[int, np.ndarray]] = []
    for start in tqdm(range(0, len(x), batch_size), desc="Finding clusters", disable=not show_progress_bar):
        indptr, _, near = (host(part) for part in fc.range_search(x[start : start + batch_size], x, threshold, metric="cosine"))
        near = near.astype(np.uint32)
        large = np.flatnonzero(np.diff(indptr) >= min_community_size)
        communities += [(start + int(i), near[indptr[i] : indptr[i + 1]]) for i in large]
    communities.sort(key=lambda one: -len(one[1]))
    free = np.ones(len(x), bool)
    groups = []
    for center, members in communities:
        own = members[free[members]] if free[center] else members[:0]
        if len(own) >= min_community_size:
            group = [center, *own[own != center].tolist()]
            free[group] = False
            groups.append(group)
    return sorted(groups, key=len, reverse=True)
