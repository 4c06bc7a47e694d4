"""Haystack's in-memory document store with exact, fast embedding retrieval under it.

```python
from fastembed_core.integrations.haystack import FastDocumentStore; store = FastDocumentStore()
```
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from haystack import Document
from haystack.core.serialization import allow_deserialization_module
from haystack.document_stores.errors import DocumentStoreError
from haystack.document_stores.in_memory import InMemoryDocumentStore
from haystack.document_stores.types import DuplicatePolicy
from haystack.utils.filters import document_matches_filter

from ._store import Store

allow_deserialization_module(__name__)  # a saved pipeline may name this store where it has been imported; no other module

_SHARED: dict[tuple[str, str], Store[None]] = {}  # as the host's own documents: one for each index, for as long as the process lives
_DOT_PRODUCT_SCALE = 100  # the host's


class FastDocumentStore(InMemoryDocumentStore):
    """`haystack.document_stores.in_memory.InMemoryDocumentStore`: all of it, BM25 and filters too, with a Corpus for embeddings.

    Takes the host's arguments, and goes where the host's store goes (`InMemoryEmbeddingRetriever`). Stores that share an index must all
    be of this class. An embedding counts as it was when its document was written. Embeddings of another dimension are refused when they
    are written (DocumentStoreError), not when they are first searched. Scores are canonical float32; ties go to the document that was
    written first.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        metric = {"dot_product": "ip", "cosine": "cosine"}[self.embedding_similarity_function]
        self._rows = _SHARED.setdefault((self.index, metric), Store(metric)) if self._shared else Store(metric)

    def write_documents(self, documents: list[Document], policy: DuplicatePolicy = DuplicatePolicy.NONE) -> int:
        """The host's `write_documents`; embeddings go into the corpus, too."""
        given = [document for document in documents if isinstance(document, Document)] if isinstance(documents, Iterable) else []
        embedded = [document for document in given if document.embedding is not None]
        dims = {len(document.embedding) for document in embedded} | ({self._rows.dim} if self._rows.dim else set())
        if len(dims) > 1:
            raise DocumentStoreError(f"embedding: got {sorted(dims)} elements, expected one embedding size for all documents of a store")
        try:
            return super().write_documents(documents, policy)
        finally:  # the documents before one that is refused are written
            written = [document for document in embedded if self.storage.get(document.id) is document]
            self._rows.put([d.id for d in written], [d.embedding for d in written], [None] * len(written))

    def delete_documents(self, document_ids: list[str]) -> None:
        """The host's `delete_documents`."""
        super().delete_documents(document_ids)
        self._rows.drop(document_ids)

    def delete_all_documents(self, recreate_index: bool = False) -> None:
        """The host's `delete_all_documents`; the next embeddings may have another size, whether or not `recreate_index` asks for it."""
        super().delete_all_documents()
        self._rows.clear()

    async def delete_all_documents_async(self, recreate_index: bool = False) -> None:
        """`delete_all_documents`."""
        await super().delete_all_documents_async()

    def embedding_retrieval(
        self,
        query_embedding: list[float],
        filters: dict[str, Any] | None = None,
        top_k: int = 10,
        scale_score: bool = False,
        return_embedding: bool | None = False,
    ) -> list[Document]:
        """The top_k documents whose embeddings are most similar, with scores, best first; the host's signature and meaning."""
        if len(query_embedding) == 0 or not isinstance(query_embedding[0], float):
            raise ValueError("query_embedding should be a non-empty list of floats.")
        if filters:
            self._validate_filters(filters)
        if self._rows.dim not in (None, len(query_embedding)):
            raise DocumentStoreError(
                f"query_embedding: got {len(query_embedding)} elements, expected {self._rows.dim} as the documents have"
            )
        strict = self.strict_datetime_comparison

        def matches(name: str, _: None) -> bool:
            return document_matches_filter(filters, self.storage[name], strict_datetime_comparison=strict)

        found = self._rows.search(query_embedding, top_k, matches if filters else None)
        keep = self.return_embedding if return_embedding is None else return_embedding
        documents = [(self.storage[name], self._scaled(score) if scale_score else score) for name, score in found]
        return [replace(d, score=score, embedding=d.embedding if keep else None, meta=dict(d.meta)) for d, score in documents]

    def _scaled(self, score: float) -> float:
        """A score between 0 and 1."""
        if self._rows.metric == "cosine":
            return (score + 1) / 2
        return float(1 / (1 + np.exp(-score / _DOT_PRODUCT_SCALE)))
