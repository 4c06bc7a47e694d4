"""LangChain's standard tests for vector stores, and the answers of its own in-memory store."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("langchain_core")
pytest.importorskip("langchain_tests")

from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding, Embeddings
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_tests.integration_tests.vectorstores import VectorStoreIntegrationTests

from fastembed_core.integrations.langchain import FastVectorStore


class TestStandard(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self) -> FastVectorStore:  # type: ignore[override]
        return FastVectorStore(self.get_embeddings())


class Lookup(Embeddings):
    """Texts "i" with stored vectors, so that ties and duplicates can be made."""

    def __init__(self, vectors: np.ndarray) -> None:
        self.vectors = vectors.tolist()

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.vectors[int(text)] for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return self.vectors[int(text)]


@pytest.fixture
def both() -> tuple[FastVectorStore, InMemoryVectorStore]:
    vectors = np.random.default_rng(0).standard_normal((200, 32), np.float32)
    documents = [Document(id=f"d{i}", page_content=str(i), metadata={"group": i % 7, "tags": [i]}) for i in range(200)]
    stores = FastVectorStore(Lookup(vectors)), InMemoryVectorStore(Lookup(vectors))
    for store in stores:
        assert store.add_documents(documents) == [f"d{i}" for i in range(200)]
    return stores


def keep(document: Document) -> bool:
    return document.metadata["group"] in (2, 5)


@pytest.mark.parametrize("filter", [None, keep, lambda document: False])
def test_search_is_the_hosts(both: Any, filter: Any) -> None:
    mine, host = both
    for query in ("3", "77", "140"):
        expected = host.similarity_search_with_score(query, k=12, filter=filter)
        got = mine.similarity_search_with_score(query, k=12, filter=filter)
        assert [document for document, _ in got] == [document for document, _ in expected]
        np.testing.assert_allclose([score for _, score in got], [score for _, score in expected], atol=1e-6)


@pytest.mark.parametrize("weight", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("filter", [None, keep])
def test_mmr_is_the_hosts(both: Any, weight: float, filter: Any) -> None:
    mine, host = (s.max_marginal_relevance_search("9", k=8, fetch_k=30, lambda_mult=weight, filter=filter) for s in both)
    assert mine == host and len(mine) == 8


def test_replace_delete_and_search_again(both: Any) -> None:
    for store in both:
        store.delete([f"d{i}" for i in range(0, 200, 3)])
        store.delete(["d0", "never there"])
        store.add_documents([Document(page_content="6", metadata={"group": 1})], ids=["d7"])
    mine, host = both
    assert mine.similarity_search("6", k=300) == host.similarity_search("6", k=300)
    assert mine.similarity_search("6", k=1)[0].id == "d7" and mine.get_by_ids(["d0"]) == []


def test_what_is_returned_is_a_copy(both: Any) -> None:
    mine, _ = both
    mine.similarity_search("5", k=1)[0].metadata["group"] = "changed"
    assert mine.get_by_ids(["d5"])[0].metadata["group"] == 5


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda store: pickle.loads(pickle.dumps(store))])
def test_copies_stand_alone(both: Any, copied: Any) -> None:
    mine, _ = both
    mine.delete(["d3", "d5"])
    mine.add_documents([Document(id="d9", page_content="10")])
    other = copied(mine)
    assert other.similarity_search_with_score("77", k=9) == mine.similarity_search_with_score("77", k=9)
    other.delete(["d77"])
    assert "d77" not in other.store and mine.similarity_search("77", k=1)[0].id == "d77" != other.similarity_search("77", k=1)[0].id
    assert len(copied(FastVectorStore(Lookup(np.zeros((0, 8))))).similarity_search_by_vector([1.0])) == 0


def test_save_and_load(both: Any, tmp_path: Path) -> None:
    mine, _ = both
    mine.delete(["d11"])
    path = tmp_path / "folder" / "store.json"
    mine.dump(str(path))
    mine.dump(str(path))
    assert len(list(path.parent.iterdir())) == 2  # the documents and their vectors; the first dump's are gone
    again = FastVectorStore.load(str(path), mine.embeddings)
    for query in ("11", "50"):
        assert again.similarity_search_with_score(query, k=20) == mine.similarity_search_with_score(query, k=20)
    again.add_documents([Document(page_content="11", metadata={})], ids=["new"])
    assert again.similarity_search("11", k=1)[0].id == "new"
    with pytest.raises(ValueError, match="which is no store that was saved"):
        FastVectorStore.load(str(tmp_path / "nothing"), mine.embeddings)


def test_other_metrics_and_relevance() -> None:
    vectors = np.random.default_rng(1).standard_normal((20, 8), np.float32)
    for metric, best in (("ip", (vectors @ vectors[4]).argmax()), ("l2", 4), ("cosine", 4)):
        store = FastVectorStore.from_texts([str(i) for i in range(20)], Lookup(vectors))
        assert store.similarity_search_with_relevance_scores("4", k=1)[0][1] == pytest.approx(1)
        store = FastVectorStore(Lookup(vectors), metric)
        store.add_texts([str(i) for i in range(20)])
        assert store.similarity_search("4", k=1)[0].page_content == str(best)


def test_a_retriever_runs_on_it() -> None:
    store = FastVectorStore.from_texts(["one", "two"], DeterministicFakeEmbedding(size=8))
    assert store.as_retriever(search_kwargs={"k": 1}).invoke("two")[0].page_content == "two"


def test_bad_input_is_refused(both: Any) -> None:
    mine, _ = both
    with pytest.raises(ValueError, match="ids: got 2 for 1 documents"):
        mine.add_documents([Document(page_content="1")], ids=["a", "b"])
    with pytest.raises(ValueError, match=r"vectors: got 4 elements, expected 32 as the store holds"):
        mine._rows.put(["a"], [[1.0, 2, 3, 4]], [Document(page_content="")])
    assert mine.get_by_ids(["a"]) == []
