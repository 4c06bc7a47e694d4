"""LlamaIndex's own simple store beside ours: the same nodes, filters, MMR; persistence through its storage context."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("llama_index.core")

from llama_index.core import MockEmbedding, StorageContext, VectorStoreIndex, load_index_from_storage
from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores.simple import SimpleVectorStore
from llama_index.core.vector_stores.types import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
)

from fastembed_core.integrations.llama_index import FastVectorStore

DIM = 24


def nodes(n: int = 150) -> list[TextNode]:
    vectors = np.random.default_rng(0).standard_normal((n, DIM), np.float32)
    made = []
    for i, vector in enumerate(vectors):
        node = TextNode(
            id_=f"n{i}", text=f"text {i}", embedding=vector.tolist(), metadata={"year": 1990 + i % 30, "tags": ["a", f"t{i % 4}"]}
        )
        node.relationships[NodeRelationship.SOURCE] = RelatedNodeInfo(node_id=f"document {i // 10}")
        made.append(node)
    return made


@pytest.fixture
def both() -> tuple[FastVectorStore, SimpleVectorStore]:
    stores = FastVectorStore(), SimpleVectorStore()
    for store in stores:
        store.add(nodes())
    return stores


def one(key: str, value: Any, operator: FilterOperator) -> MetadataFilter:
    return MetadataFilter(key=key, value=value, operator=operator)


FILTERS = {
    "none": None,
    "equal": [one("year", 1995, FilterOperator.EQ)],
    "range": [one("year", 1995, FilterOperator.GTE), one("year", 2003, FilterOperator.LT)],
    "in": [one("year", [1991, 1999], FilterOperator.IN)],
    "contains": [one("tags", "t2", FilterOperator.CONTAINS)],
    "missing": [one("nothing", None, FilterOperator.IS_EMPTY)],
    "no match": [one("year", 3000, FilterOperator.EQ)],
}
QUERY = np.random.default_rng(9).standard_normal(DIM).tolist()


def assert_same(mine: Any, host: Any) -> None:
    assert mine.ids == host.ids and [node.node_id for node in mine.nodes] == host.ids
    np.testing.assert_allclose(mine.similarities, host.similarities, atol=1e-6)


@pytest.mark.parametrize("condition", [FilterCondition.AND, FilterCondition.OR, FilterCondition.NOT])
@pytest.mark.parametrize("filters", FILTERS, ids=str)
@pytest.mark.parametrize("mode", [VectorStoreQueryMode.DEFAULT, VectorStoreQueryMode.MMR])
def test_query_is_the_simple_stores(both: Any, filters: str, condition: FilterCondition, mode: VectorStoreQueryMode) -> None:
    chosen = None if FILTERS[filters] is None else MetadataFilters(filters=FILTERS[filters], condition=condition)
    query = VectorStoreQuery(query_embedding=QUERY, similarity_top_k=9, filters=chosen, mode=mode)
    assert_same(*(store.query(query) for store in both))


@pytest.mark.parametrize("threshold", [0.0, 0.2, 1.0])
def test_mmr_threshold(both: Any, threshold: float) -> None:
    query = VectorStoreQuery(query_embedding=QUERY, similarity_top_k=12, mode=VectorStoreQueryMode.MMR)
    assert_same(*(store.query(query, mmr_threshold=threshold) for store in both))


@pytest.mark.parametrize("mode", ["default", "mmr", "svm"])
@pytest.mark.parametrize("count", [0, 5, 10**9])
def test_any_count_and_mode(both: Any, mode: str, count: int) -> None:
    """0 asks the host for all, but in its learners, which rank by a classifier's scores, for none."""
    mine, host = (store.query(VectorStoreQuery(query_embedding=QUERY, similarity_top_k=count, mode=mode)) for store in both)
    assert mine.ids == host.ids and len(mine.ids) == (count if count == 5 or (mode == "svm" and not count) else 150)
    assert FastVectorStore().query(VectorStoreQuery(query_embedding=QUERY, mode=mode)).ids == []


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda store: pickle.loads(pickle.dumps(store)), lambda store: store.model_copy(deep=True)]
)
def test_copies_stand_alone(both: Any, copied: Any) -> None:
    mine, _ = both
    query = VectorStoreQuery(query_embedding=QUERY, similarity_top_k=4)
    other = copied(mine)
    assert other.query(query).ids == mine.query(query).ids
    other.clear()
    assert len(mine.query(query).ids) == 4 and other.query(query).ids == []


def test_ids_restrict_a_query(both: Any) -> None:
    query = VectorStoreQuery(query_embedding=QUERY, similarity_top_k=9, node_ids=["n3", "n99", "n100", "unknown"])
    mine, host = (store.query(query) for store in both)
    assert_same(mine, host)
    assert len(mine.ids) == 3
    found = both[0].query(VectorStoreQuery(query_embedding=QUERY, similarity_top_k=50, doc_ids=["document 4"])).ids
    assert sorted(found) == [f"n{i}" for i in range(40, 50)]


def test_delete_is_the_simple_stores(both: Any) -> None:
    years = MetadataFilters(filters=[one("year", 2000, FilterOperator.LT)])
    for store in both:
        store.delete("document 3")
        store.delete("never there")
        store.delete_nodes(["n1", "n2", "unknown"])
        store.delete_nodes(filters=years)
        store.add(nodes()[:1])
    assert_same(*(store.query(VectorStoreQuery(query_embedding=QUERY, similarity_top_k=200)) for store in both))


def test_nodes_come_back_whole(both: Any) -> None:
    mine, host = both
    for got, given in zip(mine.get_nodes(["n5", "n140"]), [nodes()[5], nodes()[140]], strict=True):
        assert got.to_dict() == given.to_dict()
    assert mine.get("n5") == host.get("n5")
    assert len(mine.get_nodes(filters=MetadataFilters(filters=[one("year", 1995, FilterOperator.EQ)]))) == 5
    mine.clear()
    assert mine.get_nodes() == [] and mine.query(VectorStoreQuery(query_embedding=QUERY)).ids == []


async def test_asynchronous_methods(both: Any) -> None:
    mine, _ = both
    query = VectorStoreQuery(query_embedding=QUERY, similarity_top_k=4)
    assert (await mine.aquery(query)).ids == mine.query(query).ids
    await mine.adelete("document 0")
    assert len(await mine.aget_nodes()) == 140


def test_an_index_runs_on_it_and_persists(tmp_path: Path) -> None:
    model = MockEmbedding(embed_dim=DIM)
    storage = StorageContext.from_defaults(vector_store=FastVectorStore())
    index = VectorStoreIndex(nodes(), storage_context=storage, embed_model=model)
    expected = [(found.node_id, found.score) for found in index.as_retriever(similarity_top_k=5).retrieve("anything")]
    assert len(expected) == 5
    index.storage_context.persist(str(tmp_path))
    store = FastVectorStore.from_persist_dir(str(tmp_path))
    loaded = load_index_from_storage(StorageContext.from_defaults(vector_store=store, persist_dir=str(tmp_path)), embed_model=model)
    assert [(found.node_id, found.score) for found in loaded.as_retriever(similarity_top_k=5).retrieve("anything")] == expected
    loaded.delete_ref_doc("document 2")
    assert len(store.get_nodes()) == 140


def test_bad_input_is_refused(both: Any) -> None:
    mine, _ = both
    for mode in (VectorStoreQueryMode.HYBRID, "hybrid"):
        with pytest.raises(ValueError, match="query: got mode hybrid, expected default, mmr or one of linear_regression, "):
            mine.query(VectorStoreQuery(query_embedding=QUERY, mode=mode))
    with pytest.raises(ValueError, match="query: got no query_embedding"):
        mine.query(VectorStoreQuery(query_str="words"))

    class Remote:
        protocol = ("s3", "s3a")

    with pytest.raises(ValueError, match="expected the local file system"):
        mine.persist("somewhere", Remote())
