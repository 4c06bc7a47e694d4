"""Haystack's standard tests for document stores, and the answers of its own in-memory store."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("haystack")

from haystack import Document, Pipeline
from haystack.components.retrievers.in_memory import InMemoryBM25Retriever, InMemoryEmbeddingRetriever
from haystack.document_stores.errors import DocumentStoreError, DuplicateDocumentError
from haystack.document_stores.in_memory import InMemoryDocumentStore
from haystack.document_stores.types import DuplicatePolicy
from haystack.testing import document_store as standard
from haystack.testing import document_store_async as standard_async

from fastembed_core.integrations.haystack import FastDocumentStore


class TestStandard(
    standard.DocumentStoreBaseExtendedTests,
    standard.CountDocumentsByFilterTest,
    standard.CountUniqueMetadataByFilterTest,
    standard.GetMetadataFieldsInfoTest,
    standard.GetMetadataFieldMinMaxTest,
    standard.GetMetadataFieldUniqueValuesTest,
):
    @pytest.fixture
    def document_store(self) -> FastDocumentStore:
        return FastDocumentStore(shared=False)

    def test_write_documents(self, document_store: FastDocumentStore) -> None:
        """What NONE means is left to each store; this one, as its host, lets it fail."""
        documents = [Document(content="test doc 1"), Document(content="test doc 2")]
        assert document_store.write_documents(documents) == 2
        with pytest.raises(DuplicateDocumentError):
            document_store.write_documents(documents)


class TestStandardAsync(
    standard_async.DeleteAllAsyncTest,
    standard_async.CountDocumentsAsyncTest,
    standard_async.UpdateByFilterAsyncTest,
    standard_async.DeleteDocumentsAsyncTest,
    standard.FilterableDocsFixtureMixin,
):
    @pytest.fixture
    def document_store(self) -> FastDocumentStore:
        return FastDocumentStore(shared=False)


def documents(n: int = 120, dim: int = 16) -> list[Document]:
    vectors = np.random.default_rng(0).standard_normal((n, dim), np.float32)
    made = [Document(id=f"d{i}", content=f"text {i}", meta={"page": i % 10}, embedding=v.tolist()) for i, v in enumerate(vectors)]
    made[7] = replace(made[7], embedding=None)
    made[9] = replace(made[9], embedding=[0.0] * dim)
    return made


QUERY = np.random.default_rng(5).standard_normal(16).tolist()
FILTER = {"operator": "AND", "conditions": [{"field": "meta.page", "operator": "in", "value": [1, 7, 9]}]}


def assert_same(mine: list[Document], host: list[Document]) -> None:
    assert [replace(d, score=None, embedding=None) for d in mine] == [replace(d, score=None, embedding=None) for d in host]
    np.testing.assert_allclose([d.score for d in mine], [d.score for d in host], rtol=1e-5, atol=1e-6)
    for a, b in zip(mine, host, strict=True):
        assert a.embedding == b.embedding


@pytest.mark.parametrize("function", ["cosine", "dot_product"])
@pytest.mark.parametrize("filters", [None, FILTER])
@pytest.mark.parametrize("scale", [False, True])
@pytest.mark.parametrize("embedding", [None, False, True])
def test_retrieval_is_the_hosts(function: Any, filters: Any, scale: bool, embedding: bool | None) -> None:
    stores = [cls(embedding_similarity_function=function, shared=False) for cls in (FastDocumentStore, InMemoryDocumentStore)]
    results = []
    for store in stores:
        store.write_documents(documents())
        store.delete_documents(["d3", "d4", "never there"])
        store.write_documents(
            [Document(id="d5", content="new", embedding=QUERY), Document(id="d6", content="bare")], DuplicatePolicy.OVERWRITE
        )
        results.append(store.embedding_retrieval(QUERY, filters=filters, top_k=11, scale_score=scale, return_embedding=embedding))
    assert_same(*results)
    assert len(results[0]) == 11


def test_writing_stops_at_a_duplicate_as_the_hosts_does() -> None:
    for cls in (FastDocumentStore, InMemoryDocumentStore):
        store = cls(shared=False)
        store.write_documents(documents()[:1])
        with pytest.raises(DuplicateDocumentError):
            store.write_documents([documents()[2], documents()[0], documents()[3]])
        assert {d.id for d in store.embedding_retrieval(QUERY, top_k=9)} == {"d0", "d2"}
        assert store.write_documents([documents()[2], documents()[4]], DuplicatePolicy.SKIP) == 1
        assert {d.id for d in store.embedding_retrieval(QUERY, top_k=9)} == {"d0", "d2", "d4"}


def test_stores_of_one_index_share_their_documents() -> None:
    first, second = FastDocumentStore(index="shared by a test"), FastDocumentStore(index="shared by a test")
    first.write_documents(documents())
    assert second.embedding_retrieval(QUERY, top_k=3) == first.embedding_retrieval(QUERY, top_k=3) != []
    second.delete_all_documents()
    assert first.embedding_retrieval(QUERY) == []


def test_save_and_load(tmp_path: Path) -> None:
    store = FastDocumentStore(embedding_similarity_function="cosine", shared=False)
    store.write_documents(documents())
    store.save_to_disk(str(tmp_path / "store.json"))
    loaded = FastDocumentStore.load_from_disk(str(tmp_path / "store.json"))
    assert isinstance(loaded, FastDocumentStore)
    assert loaded.embedding_retrieval(QUERY, top_k=20) == store.embedding_retrieval(QUERY, top_k=20)


def test_the_hosts_retrievers_and_pipelines_take_it() -> None:
    store = FastDocumentStore(shared=False)
    store.write_documents(documents())
    pipeline = Pipeline()
    pipeline.add_component("near", InMemoryEmbeddingRetriever(store, top_k=4))
    pipeline.add_component("words", InMemoryBM25Retriever(store, top_k=1))
    result = pipeline.run({"near": {"query_embedding": QUERY}, "words": {"query": "text 77"}})
    assert [d.id for d in result["near"]["documents"]] == [d.id for d in store.embedding_retrieval(QUERY, top_k=4)]
    assert result["words"]["documents"][0].id == "d77"
    assert Pipeline.from_dict(pipeline.to_dict()).get_component("near").document_store.__class__ is FastDocumentStore


async def test_asynchronous_retrieval() -> None:
    store = FastDocumentStore(shared=False)
    await store.write_documents_async(documents())
    assert await store.embedding_retrieval_async(QUERY, top_k=5) == store.embedding_retrieval(QUERY, top_k=5)


def test_bad_input_is_refused(caplog: Any) -> None:
    store = FastDocumentStore(shared=False)
    store.write_documents(documents())
    with caplog.at_level(logging.WARNING), pytest.raises(DocumentStoreError, match=r"embedding: got \[3, 16\] elements"):
        store.write_documents([Document(content="other", embedding=[1.0, 2.0, 3.0])])
    assert store.count_documents() == 120
    with pytest.raises(DocumentStoreError, match="query_embedding: got 2 elements, expected 16"):
        store.embedding_retrieval([1.0, 2.0])
    with pytest.raises(ValueError, match="non-empty list of floats"):
        store.embedding_retrieval([])
    with pytest.raises(ValueError, match="Invalid filter syntax"):
        store.embedding_retrieval(QUERY, filters={"field": "meta.page"})
