"""MTEB's retrieval and reranking tasks, searched exactly and fast.

```python
from fastembed_core.integrations.mteb import SearchEncoderWrapper; model = SearchEncoderWrapper(model)
```
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from mteb.models import search_wrappers
from mteb.models.model_meta import ScoringFunction

from ..corpus import Corpus
from ..ops.rescore import rescore

_METRICS = {ScoringFunction.COSINE: "cosine", ScoringFunction.DOT_PRODUCT: "ip", ScoringFunction.EUCLIDEAN: "l2"}


class FastIndex:
    """`mteb`'s `IndexEncoderSearchProtocol` over a Corpus: the scores of the model's own similarity function, without its matrix.

    Documents are kept as the model gives them, float32 or half; Euclidean scores are negated distances, as MTEB has them.

    Raises
    ------
    ValueError
        for a model whose similarity is neither cosine, dot product nor Euclidean.
    """

    def __init__(self, model: Any) -> None:
        similarity = model.mteb_model_meta.similarity_fn_name
        if similarity not in _METRICS:
            accepted = ", ".join(each.value for each in _METRICS)
            raise ValueError(f"model: got the similarity function {similarity}, expected one of {accepted}")
        self._metric = _METRICS[similarity]
        self._corpus: Corpus | None = None
        self._idxs: list[str] = []

    def add_documents(self, embeddings: Any, idxs: list[str]) -> None:
        """Add documents' embeddings and their ids."""
        rows = _host(embeddings)
        if self._corpus is None:
            # MTEB asks for 1,000 documents a query: codes leave so many rows to rescore that they save nothing.
            self._corpus = Corpus(rows, metric=self._metric, scan=None)
        else:
            self._corpus.append(rows)
        self._idxs.extend(idxs)

    def search(
        self,
        embeddings: Any,
        top_k: int,
        similarity_fn: Callable[[Any, Any], Any],
        top_ranked: dict[str, list[str]] | None = None,
        query_idx_to_id: dict[int, str] | None = None,
    ) -> tuple[list[list[float]], list[list[int]]]:
        """Scores, best first, and for each the document's number; with `top_ranked`, its place among the query's ranked documents."""
        if self._corpus is None:
            raise ValueError("embeddings: got a search before any document, expected add_documents first")
        queries = _host(embeddings)
        if top_ranked is None:
            scores, rows = self._corpus.search(queries, top_k)
            return self._signed(scores).tolist(), rows.tolist()
        if query_idx_to_id is None:
            raise ValueError("query_idx_to_id: got None, expected the queries' ids for reranking")
        return self._rerank(queries, top_k, [top_ranked.get(query_idx_to_id[i]) or [] for i in range(len(queries))])

    def _rerank(self, queries: np.ndarray, top_k: int, ranked: list[list[str]]) -> tuple[list[list[float]], list[list[int]]]:
        assert self._corpus is not None
        rows = {name: row for row, name in enumerate(self._idxs)}
        candidates = [np.array([rows[name] for name in names], np.int64) for names in ranked]
        if not all(map(len, candidates)):
            warnings.warn(f"{sum(not len(c) for c in candidates)} queries have no top-ranked documents", stacklevel=3)
        indptr = np.cumsum([0, *map(len, candidates)])
        scores, found = rescore(queries, self._corpus.vectors, (indptr, np.concatenate(candidates)), top_k, metric=self._metric)
        all_scores, places = [], []
        for mine, best, own in zip(self._signed(scores), found, candidates, strict=True):
            place = {row: i for i, row in reversed(list(enumerate(own.tolist())))}
            kept = best >= 0
            all_scores.append(mine[kept].tolist())
            places.append([place[row] for row in best[kept].tolist()])
        return all_scores, places

    def _signed(self, scores: np.ndarray) -> np.ndarray:
        return -scores if self._metric == "l2" else scores

    def clear(self) -> None:
        """Forget all documents."""
        self._corpus, self._idxs = None, []


class SearchEncoderWrapper(search_wrappers.SearchEncoderWrapper):
    """`mteb.models.SearchEncoderWrapper` with a `FastIndex` for its index where it is given no other.

    The host's wrapper asks the data set for the id of every hit of an index, 50 µs each, which takes longer than the search: with
    any index. Here they are read at once.
    """

    def __init__(self, model: Any, corpus_chunk_size: int = 50_000, index_backend: Any = None) -> None:
        super().__init__(model, corpus_chunk_size, FastIndex(model) if index_backend is None else index_backend)

    def _sort_full_corpus_results(
        self,
        *,
        query_idx_to_id: dict[int, str],
        cos_scores_top_k_idx: list[list[int]],
        cos_scores_top_k_values: list[list[float]],
        sub_corpus_ids: Any,
        **_: Any,
    ) -> dict[str, list[tuple[float, str]]]:
        names = sub_corpus_ids[:]
        hits = zip(cos_scores_top_k_values, cos_scores_top_k_idx, strict=True)
        return {query_idx_to_id[i]: [(score, names[row]) for score, row in zip(*hit, strict=True)] for i, hit in enumerate(hits)}


def _host(embeddings: Any) -> Any:
    """Embeddings in host memory, of any float type."""
    return embeddings.detach().cpu() if hasattr(embeddings, "detach") else np.asarray(embeddings)
