"""PyLate (ColBERT): its scores under their own names.

    from fastembed_core.integrations.pylate import colbert_scores

PyLate multiplies a masked document token's score by 0, so that beside padding a query token scores at least 0: that is kept. float32,
float16 and bfloat16 embeddings in host memory, masks of 0 and 1 and no gradient are ours; all else is PyLate's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from pylate import scores as host
from pylate.utils.tensor import convert_to_tensor

import fastembed_core as fc

FLOATS = (torch.float32, torch.float16, torch.bfloat16)
BACKENDS = (None, "auto", "torch")  # on a CPU all of them are PyLate's einsum


def colbert_scores(
    queries_embeddings: Any, documents_embeddings: Any, queries_mask: Any = None, documents_mask: Any = None, backend: str | None = None
) -> Any:
    """``pylate.scores.colbert_scores``: (queries, documents), for each the sum over query tokens of the largest score."""
    queries = _flat(queries_embeddings, queries_mask, padding=False) if backend in BACKENDS else None
    scores = _scores(queries, _flat(documents_embeddings, documents_mask, padding=True))
    if scores is None:
        return host.colbert_scores(queries_embeddings, documents_embeddings, queries_mask, documents_mask, backend)
    return scores


def colbert_scores_pairwise(queries_embeddings: Any, documents_embeddings: Any, backend: str | None = None) -> Any:
    """``pylate.scores.colbert_scores_pairwise``: (n,), query i with document i; tensors, or lists of matrices of any length."""
    pairs = zip(queries_embeddings, documents_embeddings, strict=False)
    scores = [_scores(_flat(_one(query), None, padding=False), _flat(_one(document), None, padding=True)) for query, document in pairs]
    if backend not in BACKENDS or not scores or any(score is None for score in scores):
        return host.colbert_scores_pairwise(queries_embeddings, documents_embeddings, backend)
    return torch.cat([score[0] for score in scores])


def colbert_kd_scores(
    queries_embeddings: Any, documents_embeddings: Any, queries_mask: Any = None, documents_mask: Any = None, backend: str | None = None
) -> Any:
    """``pylate.scores.colbert_kd_scores``: (queries, candidates), each query with its own candidates (B, N, T, D)."""
    q, x = convert_to_tensor(queries_embeddings), convert_to_tensor(documents_embeddings)
    masks = [None if mask is None else convert_to_tensor(mask) for mask in (queries_mask, documents_mask)]
    scores = [
        _scores(_flat(q[i : i + 1], _row(masks[0], i, True), padding=False), _flat(x[i], _row(masks[1], i, False), padding=True))
        for i in range(len(q))
    ]
    if backend not in BACKENDS or not scores or any(score is None for score in scores):
        return host.colbert_kd_scores(queries_embeddings, documents_embeddings, queries_mask, documents_mask, backend)
    return torch.cat(scores)


def _one(x: Any) -> Any:
    return convert_to_tensor(x)[None]


def _row(mask: Any, i: int, keep: bool) -> Any:
    return None if mask is None else mask[i : i + 1] if keep else mask[i]


def _flat(x: Any, mask: Any, padding: bool) -> tuple[Any, np.ndarray] | None:
    """The valid tokens one after the other and their offsets; with `padding` one zero token in the place of all that are masked."""
    x = convert_to_tensor(x)
    if x.ndim != 3 or not all(x.shape) or x.device.type != "cpu" or x.dtype not in FLOATS or (x.requires_grad and torch.is_grad_enabled()):
        return None
    if mask is None:
        return x.reshape(-1, x.shape[-1]), np.arange(len(x) + 1) * x.shape[1]
    mask = convert_to_tensor(mask)
    valid = mask != 0
    if mask.shape != x.shape[:2] or bool((mask != valid).any()):
        return None
    kept = valid
    if padding:
        kept = valid | (~valid & ((~valid).cumsum(dim=1) == 1))
        x = x * valid[..., None].to(x.dtype)
    return x[kept], np.concatenate([[0], np.cumsum(kept.sum(dim=1).numpy())])


def _scores(queries: tuple[Any, np.ndarray] | None, documents: tuple[Any, np.ndarray] | None) -> Any:
    """(queries, documents) scores; None where PyLate must see an operand itself."""
    if queries is None or documents is None:
        return None
    (q, q_ends), (x, x_ends) = queries, documents
    return fc.maxsim(q, x, query_offsets=q_ends, document_offsets=x_ends).to(torch.promote_types(q.dtype, x.dtype))
