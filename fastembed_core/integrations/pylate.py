"""PyLate (ColBERT): its scores under their own names, and an index that is exact.

    from fastembed_core.integrations.pylate import colbert_scores
    from fastembed_core.integrations.pylate import Flat; retriever = retrieve.ColBERT(index=Flat())

PyLate multiplies a masked document token's score by 0, so that beside padding a query token scores at least 0: that is kept. float32,
float16 and bfloat16 embeddings in host memory, masks of 0 and 1 and no gradient are ours; all else is PyLate's.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from pylate import scores as host
from pylate.indexes.base import Base
from pylate.utils.tensor import convert_to_tensor

import fastembed_core as fc

from ..arrays import to_host

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


class Flat(Base):
    """PyLate's interface of an index, by exact search: what `retrieve.ColBERT` takes in the place of an approximate `indexes.PLAID`.

    A document's score is the sum over query tokens of the largest inner product with any of its tokens, in float32; of equal ones the
    document added first comes first. Nothing is trained; everything is held in memory, in the type it was given (float32 or half).
    """

    def __init__(self) -> None:
        self._documents: dict[Any, np.ndarray] = {}
        self._packed: tuple[np.ndarray, np.ndarray] | None = None

    @property
    def is_end_to_end_index(self) -> bool:
        """True: what it returns is ranked."""
        return True

    def __len__(self) -> int:
        return len(self._documents)

    def add_documents(self, documents_ids: Any, documents_embeddings: Any, **_: Any) -> Flat:
        """Add documents, (T, D) each, in place of those with the same ids; returns the index."""
        names = [documents_ids] if isinstance(documents_ids, str) else list(documents_ids)
        matrices = _matrices(documents_embeddings, "documents_embeddings")
        if len(names) != len(matrices):
            raise ValueError(f"documents_embeddings: got {len(matrices)} for {len(names)} ids, expected as many")
        there = {x.shape[1] for x in (*self._documents.values(), *matrices)}
        if len(there) > 1:
            raise ValueError(f"documents_embeddings: got {sorted(there)} elements a token, expected one size for all documents of an index")
        self._documents.update(zip(names, matrices, strict=True))
        self._packed = None
        return self

    update_documents = add_documents

    def remove_documents(self, documents_ids: Iterable[Any]) -> Flat:
        """Remove the documents with these ids; ids that are not there are passed over. Returns the index."""
        for name in [documents_ids] if isinstance(documents_ids, str) else documents_ids:
            self._documents.pop(name, None)
        self._packed = None
        return self

    def get_documents_embeddings(self, documents_ids: list[list[Any]]) -> list[list[np.ndarray]]:
        """The token embeddings of documents by id, a list for each list."""
        return [[self._documents[name] for name in names] for names in documents_ids]

    def __call__(self, queries_embeddings: Any, k: int = 10, subset: Any = None) -> list[list[dict[str, Any]]]:
        """For each query (T, D) the k best documents, ``{"id", "score"}``, best first; `subset`: the ids it may return, or such a list
        for each query."""
        queries = _matrices(queries_embeddings, "queries_embeddings")
        names = list(self._documents)
        if not names or not queries:
            return [[] for _ in queries]
        mask = None if subset is None else np.array([[name in part for name in names] for part in _subsets(subset, len(queries))])
        if self._packed is None:
            self._packed = _packed(list(self._documents.values()))
        (q, q_ends), (x, x_ends) = _packed(queries), self._packed
        scores, rows = fc.maxsim(q, x, query_offsets=q_ends, document_offsets=x_ends, k=k, mask=mask)
        pairs = (zip(*pair, strict=True) for pair in zip(rows.tolist(), scores.tolist(), strict=True))
        return [[{"id": names[row], "score": score} for row, score in found if row >= 0] for found in pairs]


def _subsets(subset: Any, queries: int) -> list[set[Any]]:
    """The ids that each query may return."""
    each = len(subset) > 0 and not isinstance(subset[0], str | int)
    parts = [set(part) for part in subset] if each else [set(subset)] * queries
    if len(parts) != queries:
        raise ValueError(f"subset: got {len(parts)} lists for {queries} queries, expected one each, or one list of ids")
    return parts


def _matrices(x: Any, name: str) -> list[np.ndarray]:
    """Token matrices of a list of them, of a padded array, or of one matrix."""
    parts = [x] if getattr(x, "ndim", 3) == 2 else list(x)
    matrices = [np.asarray(part, np.float32) if isinstance(part, list) else to_host(_numpy_has(part), name) for part in parts]
    if any(matrix.ndim != 2 or not matrix.size for matrix in matrices):
        shapes = sorted({matrix.shape for matrix in matrices})
        raise ValueError(f"{name}: got shapes {', '.join(map(str, shapes[:3]))}, expected a matrix of tokens each")
    return [matrix if matrix.dtype in (np.float32, np.float16) else matrix.astype(np.float32) for matrix in matrices]


def _numpy_has(x: Any) -> Any:
    """bfloat16, which numpy has not, as float32."""
    return x.float() if getattr(x, "dtype", None) == torch.bfloat16 else x


def _packed(matrices: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate(matrices), np.cumsum([0, *map(len, matrices)])


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
