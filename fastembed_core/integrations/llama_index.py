"""LlamaIndex's vector store with exact, fast search under it.

```python
from fastembed_core.integrations.llama_index import FastVectorStore; storage = StorageContext.from_defaults(vector_store=FastVectorStore())
```
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.indices.query.embedding_utils import get_top_k_embeddings_learner
from llama_index.core.schema import BaseNode
from llama_index.core.vector_stores.simple import DEFAULT_VECTOR_STORE, LEARNER_MODES, NAMESPACE_SEP
from llama_index.core.vector_stores.types import (
    DEFAULT_PERSIST_DIR,
    DEFAULT_PERSIST_FNAME,
    BasePydanticVectorStore,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
    VectorStoreQueryResult,
)
from llama_index.core.vector_stores.utils import build_metadata_filter_fn, metadata_dict_to_node, node_to_metadata_dict

from ..ops.similarity import similarity
from ._store import Store, cosines, diverse

Metadata = dict[str, Any]


class FastVectorStore(BasePydanticVectorStore):
    """A LlamaIndex vector store over a Corpus: nodes with their text, metadata filters, MMR, persistence.

    Answers the modes of `SimpleVectorStore` as it does, by cosine similarity (or the host's own classifiers), and returns the nodes,
    too. Filters have the meaning of LlamaIndex's own `build_metadata_filter_fn`. `persist(path)` writes nodes to `path` and vectors
    beside it.
    """

    stores_text: bool = True
    _rows: Store[Metadata] = PrivateAttr(default_factory=Store)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # the host's leaves out what is private
        self._rows = state["__pydantic_private__"]["_rows"]

    @classmethod
    def class_name(cls) -> str:
        """The name LlamaIndex saves the class under."""
        return "FastVectorStore"

    @property
    def client(self) -> Any:
        """The store of rows."""
        return self._rows

    def add(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[str]:
        """Add nodes that have embeddings, in place of those with the same ids; returns the ids."""
        names = [node.node_id for node in nodes]
        self._rows.put(names, [node.get_embedding() for node in nodes], [node_to_metadata_dict(node) for node in nodes])
        return names

    def get(self, text_id: str) -> list[float]:
        """The embedding of the node with this id; KeyError where there is none."""
        return self._rows.vectors([text_id])[0].tolist()

    def get_nodes(self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None) -> list[BaseNode]:
        """The nodes with these ids, all where None, that the filters let through, with their embeddings."""
        names = self._matching(node_ids, filters)
        return [self._node(name, vector) for name, vector in zip(names, self._rows.vectors(names), strict=True)]

    def delete(self, ref_doc_id: str, **kwargs: Any) -> None:
        """Remove the nodes that came from the document with this id."""
        self._rows.drop([name for name, metadata in self._rows.items.items() if metadata["ref_doc_id"] == ref_doc_id])

    def delete_nodes(self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None, **kwargs: Any) -> None:
        """Remove the nodes with these ids, all where None, that the filters let through."""
        self._rows.drop(self._matching(node_ids, filters))

    def clear(self) -> None:
        """Remove every node."""
        self._rows.clear()

    def query(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """The `similarity_top_k` best nodes for `query_embedding`, with similarities and ids, best first."""
        if query.query_embedding is None:
            raise ValueError("query: got no query_embedding, expected one")
        count = query.similarity_top_k or len(self._rows)  # in these two modes 0 asks the host for all
        if query.mode == VectorStoreQueryMode.DEFAULT:
            found = self._rows.search(query.query_embedding, count, self._keep(query))
        elif query.mode == VectorStoreQueryMode.MMR:
            threshold = kwargs.get("mmr_threshold", query.mmr_threshold)
            found = self._diverse(query, count, 0.5 if threshold is None else threshold)
        elif query.mode in LEARNER_MODES:
            found = self._learned(query)
        else:
            accepted = ", ".join(sorted(mode.value for mode in LEARNER_MODES))
            raise ValueError(f"query: got mode {VectorStoreQueryMode(query.mode).value}, expected default, mmr or one of {accepted}")
        return VectorStoreQueryResult(
            nodes=[self._node(name) for name, _ in found],
            similarities=[score for _, score in found],
            ids=[name for name, _ in found],
        )

    def _diverse(self, query: VectorStoreQuery, count: int, threshold: float) -> list[tuple[str, float]]:
        names, vectors = self._allowed(query)
        if not names:
            return []
        relevance = similarity(np.asarray(query.query_embedding, np.float32).reshape(1, -1), vectors, "cosine")[0].astype(np.float64)
        return [(names[i], score) for i, score in diverse(relevance, cosines(vectors), count, threshold, with_all=False)]

    def _learned(self, query: VectorStoreQuery) -> list[tuple[str, float]]:
        """The host's own: a classifier that tells the query from all nodes ranks them."""
        names, vectors = self._allowed(query)
        if not names:
            return []
        scores, best = get_top_k_embeddings_learner(query.query_embedding, vectors, query.similarity_top_k, names)
        return list(zip(best, map(float, scores), strict=True))

    def _allowed(self, query: VectorStoreQuery) -> tuple[list[str], np.ndarray]:
        keep = self._keep(query)
        names = [name for name, item in list(self._rows.items.items()) if keep is None or keep(name, item)]
        return names, self._rows.vectors(names)

    def _keep(self, query: VectorStoreQuery) -> Callable[[str, Metadata], bool] | None:
        """Which nodes a query may return, None where all: an index over a store that keeps texts sends an empty list of ids."""
        if query.filters is None and not query.node_ids and not query.doc_ids:
            return None
        passes = build_metadata_filter_fn(self._rows.items.__getitem__, query.filters)
        nodes, documents = set(query.node_ids or ()), set(query.doc_ids or ())
        return lambda name, metadata: (
            (not nodes or name in nodes) and (not documents or metadata["ref_doc_id"] in documents) and passes(name)
        )

    def _matching(self, node_ids: list[str] | None, filters: MetadataFilters | None) -> list[str]:
        passes = build_metadata_filter_fn(self._rows.items.__getitem__, filters)
        names = list(self._rows.items) if node_ids is None else [name for name in dict.fromkeys(node_ids) if name in self._rows.items]
        return [name for name in names if passes(name)]

    def _node(self, name: str, vector: np.ndarray | None = None) -> BaseNode:
        node = metadata_dict_to_node(self._rows.items[name])
        node.embedding = None if vector is None else vector.tolist()
        return node

    def persist(self, persist_path: str = os.path.join(DEFAULT_PERSIST_DIR, DEFAULT_PERSIST_FNAME), fs: Any = None) -> None:
        """Write the store to `persist_path` and a file of vectors beside it, on the local file system."""
        _check_local(fs)
        self._rows.save(persist_path, dict)

    @classmethod
    def from_persist_path(cls, persist_path: str, fs: Any = None) -> FastVectorStore:
        """The store that `persist` wrote."""
        _check_local(fs)
        store = cls()
        store._rows = Store.load(persist_path, dict)
        return store

    @classmethod
    def from_persist_dir(
        cls, persist_dir: str = DEFAULT_PERSIST_DIR, namespace: str = DEFAULT_VECTOR_STORE, fs: Any = None
    ) -> FastVectorStore:
        """The store that a storage context wrote to `persist_dir`."""
        return cls.from_persist_path(os.path.join(persist_dir, f"{namespace}{NAMESPACE_SEP}{DEFAULT_PERSIST_FNAME}"), fs)


def _check_local(fs: Any) -> None:
    protocol = ("file",) if fs is None else fs.protocol
    if "file" not in (protocol if isinstance(protocol, tuple) else (protocol,)):
        raise ValueError(f"fs: got {protocol}, expected the local file system, whose files are mapped into memory")
