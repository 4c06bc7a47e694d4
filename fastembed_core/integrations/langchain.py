"""LangChain's in-memory vector store with exact, fast search under it.

```python
from fastembed_core.integrations.langchain import FastVectorStore; store = FastVectorStore.from_texts(texts, embeddings)
```
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import InMemoryVectorStore

from ..ops.similarity import similarity
from ._store import Store, cosines, diverse

Filter = Callable[[Document], bool]


class FastVectorStore(InMemoryVectorStore):
    """`langchain_core.vectorstores.InMemoryVectorStore`: its methods, its results, a Corpus instead of a dict of lists.

    Parameters
    ----------
    embedding : the model of queries and documents
    metric : ``cosine``, ``ip``, ``l2`` or another of `topk`'s; scores are the metric's own (similarities, or distances)

    ``filter`` is a function of a Document, as in the host's store. `dump(path)` writes the documents to `path` and the vectors beside
    it; `load(path, embedding)` maps them into memory. Relevance is the cosine itself, or LangChain's own functions for ip and l2.
    """

    def __init__(self, embedding: Embeddings, metric: str = "cosine") -> None:
        super().__init__(embedding)
        self._rows: Store[Document] = Store(metric)
        self.store = self._rows.items

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.store = self._rows.items

    def delete(self, ids: Sequence[str] | None = None, **kwargs: Any) -> None:
        """Remove the documents with these ids; ids that are not there are passed over."""
        self._rows.drop(ids or ())

    def add_documents(self, documents: list[Document], ids: list[str] | None = None, **kwargs: Any) -> list[str]:
        """Embed and add documents, in place of those with the same ids; returns the ids."""
        names = _names(documents, ids)
        return self._put(names, documents, self.embedding.embed_documents([document.page_content for document in documents]))

    async def aadd_documents(self, documents: list[Document], ids: list[str] | None = None, **kwargs: Any) -> list[str]:
        """`add_documents`, with the model's asynchronous method."""
        names = _names(documents, ids)
        return self._put(names, documents, await self.embedding.aembed_documents([document.page_content for document in documents]))

    def _put(self, names: list[str], documents: list[Document], vectors: Any) -> list[str]:
        kept = [Document(id=name, page_content=d.page_content, metadata=d.metadata) for name, d in zip(names, documents, strict=True)]
        self._rows.put(names, vectors, kept)
        return names

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """The documents with these ids, in their order; ids that are not there are passed over."""
        return [_copy(self._rows.items[name]) for name in ids if name in self._rows.items]

    async def aget_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """`get_by_ids`."""
        return self.get_by_ids(ids)

    def similarity_search_with_score_by_vector(
        self, embedding: list[float], k: int = 4, filter: Filter | None = None, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """The k best documents for a vector and their scores, best first."""
        keep = None if filter is None else lambda _, document: bool(filter(document))
        return [(_copy(self._rows.items[name]), score) for name, score in self._rows.search(embedding, k, keep)]

    def max_marginal_relevance_search_by_vector(
        self,
        embedding: list[float],
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        *,
        filter: Filter | None = None,
        **kwargs: Any,
    ) -> list[Document]:
        """k of the fetch_k best documents, chosen to differ from each other: lambda_mult 1 ranks by relevance, 0 by difference."""
        found = [document for document, _ in self.similarity_search_with_score_by_vector(embedding, fetch_k, filter)]
        if not found:
            return []
        vectors = self._rows.vectors([document.id for document in found if document.id is not None])
        relevance = similarity(np.asarray(embedding, np.float32).reshape(1, -1), vectors, "cosine")[0].astype(np.float64)
        return [found[i] for i, _ in diverse(relevance, cosines(vectors), k, lambda_mult)]

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        if self._rows.metric == "cosine":
            return lambda score: score
        return self._max_inner_product_relevance_score_fn if self._rows.metric == "ip" else self._euclidean_relevance_score_fn

    def dump(self, path: str) -> None:
        """Write the store to `path` and a file of vectors beside it."""
        self._rows.save(path, lambda document: document.model_dump(mode="json"))

    @classmethod
    def load(cls, path: str, embedding: Embeddings, **kwargs: Any) -> FastVectorStore:
        """The store that `dump` wrote."""
        rows = Store.load(path, lambda item: Document(**item))
        store = cls(embedding, metric=rows.metric, **kwargs)
        store._rows, store.store = rows, rows.items
        return store


def _names(documents: list[Document], ids: list[str] | None) -> list[str]:
    if ids and len(ids) != len(documents):
        raise ValueError(f"ids: got {len(ids)} for {len(documents)} documents, expected as many")
    return [name or str(uuid.uuid4()) for name in (ids or [document.id for document in documents])]


def _copy(document: Document) -> Document:
    return Document(id=document.id, page_content=document.page_content, metadata=dict(document.metadata))
