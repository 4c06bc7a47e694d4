"""A Milvus Lite that the test starts: what its FLAT index answers, hit for hit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pymilvus")
pytest.importorskip("milvus_lite")

import pymilvus
import torch

from fastembed_core import topk
from fastembed_core.integrations.milvus import METRIC_TYPES, search, search_lists

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:pymilvus.*", "ignore::ResourceWarning")

DIM, ROWS = 32, 300
TYPES = ["COSINE", "IP", "L2"]  # of FLOAT_VECTOR: all that Milvus Lite has


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    x = np.random.default_rng(0).standard_normal((ROWS, DIM), np.float32)
    x[17] *= 50
    return x


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A client of a database in a file; it talks to loopback only and ends with the module."""
    from milvus_lite.server_manager import server_manager_instance

    client = pymilvus.MilvusClient(str(tmp_path_factory.mktemp("milvus") / "test.db"))
    yield client
    client.close()
    server_manager_instance.release_all()


def collection(client: Any, name: str, metric: str, rows: np.ndarray) -> str:
    """A new collection with a FLAT index: rows 1000, 1001, ... in groups of every third."""
    schema = pymilvus.MilvusClient.create_schema()
    schema.add_field("id", pymilvus.DataType.INT64, is_primary=True)
    schema.add_field("group", pymilvus.DataType.INT64)
    schema.add_field("vector", pymilvus.DataType.FLOAT_VECTOR, dim=rows.shape[1])
    index = pymilvus.MilvusClient.prepare_index_params()
    index.add_index("vector", index_type="FLAT", metric_type=metric)
    client.create_collection(name, schema=schema, index_params=index, consistency_level="Strong")
    client.insert(name, [{"id": 1000 + i, "group": i % 3, "vector": row} for i, row in enumerate(rows)])
    return name


@pytest.fixture(scope="module")
def milvus(client: Any, rows: np.ndarray) -> Any:
    """The client, with a collection for each metric."""
    for metric in TYPES:
        collection(client, metric, metric, rows)
    return client


def assert_same(mine: Any, host: Any, exact: Any) -> None:
    """The same keys and distances; where rounding turned two hits of Milvus', both lie at one distance."""
    assert len(mine) == len(host)
    for a, b, distances in zip(mine, host, exact, strict=True):
        assert len(a) == len(b)
        np.testing.assert_allclose([hit["distance"] for hit in a], [hit["distance"] for hit in b], rtol=1e-5, atol=1e-4)
        for x, y in zip(a, b, strict=True):
            assert x["id"] == y["id"] or abs(distances[x["id"] - 1000] - distances[y["id"] - 1000]) < 1e-4


def exact(queries: np.ndarray, rows: np.ndarray, metric: str) -> np.ndarray:
    q, x = queries.astype(np.float64), rows.astype(np.float64)
    if metric == "L2":
        return ((q[:, None] - x) ** 2).sum(-1)
    return q @ x.T / (np.linalg.norm(q, axis=1)[:, None] * np.linalg.norm(x, axis=1) if metric == "COSINE" else 1)


@pytest.mark.parametrize("metric", TYPES)
@pytest.mark.parametrize("limit", [1, 10, 250])
def test_search_is_the_flat_indexs(milvus: Any, rows: np.ndarray, metric: str, limit: int) -> None:
    queries = np.random.default_rng(1).standard_normal((6, DIM), np.float32)
    expected = milvus.search(metric, data=list(queries), limit=limit, search_params={"metric_type": metric})
    got = search(rows, queries, limit, metric, ids=range(1000, 1000 + ROWS))
    assert_same(got, expected, exact(queries, rows, metric))


@pytest.mark.parametrize("metric", TYPES)
def test_a_filter_is_a_mask(milvus: Any, rows: np.ndarray, metric: str) -> None:
    queries = rows[:4] + np.float32(0.01)
    expected = milvus.search(metric, data=list(queries), limit=20, filter="group == 1", search_params={"metric_type": metric})
    got = search(rows, queries, 20, metric, ids=range(1000, 1000 + ROWS), mask=np.arange(ROWS) % 3 == 1)
    assert_same(got, expected, exact(queries, rows, metric))
    assert {hit["id"] % 3 for hits in got for hit in hits} == {(1000 + 1) % 3}


def test_fewer_rows_than_the_limit(milvus: Any, rows: np.ndarray) -> None:
    expected = milvus.search("L2", data=[rows[0]], limit=500, filter="id < 1007", search_params={"metric_type": "L2"})
    got = search(rows, rows[:1], 500, "L2", ids=range(1000, 1000 + ROWS), mask=np.arange(ROWS) < 7)
    assert len(got[0]) == 7
    assert_same(got, expected, exact(rows[:1], rows, "L2"))


@pytest.mark.parametrize("metric", TYPES)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "int8"])
def test_types_that_milvus_lite_lacks_by_their_values(client: Any, rows: np.ndarray, metric: str, dtype: str) -> None:
    """A FLOAT16_VECTOR, BFLOAT16_VECTOR or INT8_VECTOR scores as the numbers it holds, which Milvus Lite stores as FLOAT_VECTOR."""
    stored: Any = torch.from_numpy(rows * (20 if dtype == "int8" else 1)).clamp(-100, 100).to(getattr(torch, dtype))
    values = stored.float().numpy()
    name = collection(client, f"{dtype}_{metric}", metric, values)
    expected = client.search(name, data=list(values[:5]), limit=30, search_params={"metric_type": metric})
    for data in (stored, stored.numpy()) if dtype != "bfloat16" else (stored,):
        assert_same(search(data, data[:5], 30, metric, ids=range(1000, 1000 + ROWS)), expected, exact(values[:5], values, metric))


def test_bits_by_their_values(client: Any) -> None:
    """The squared distance of vectors of 0 and 1 is the Hamming distance, their inner product what both of Jaccard's sets have."""
    bits = np.random.default_rng(3).integers(0, 256, (ROWS, 8)).astype(np.uint8)
    values = np.unpackbits(bits, axis=1).astype(np.float32)
    ours = {metric: search(bits, bits[:4], ROWS, metric, ids=range(1000, 1000 + ROWS)) for metric in ("HAMMING", "JACCARD")}
    names = {metric: collection(client, f"bits_{metric}", metric, values) for metric in ("L2", "IP")}
    theirs = {m: client.search(names[m], data=list(values[:4]), limit=ROWS, search_params={"metric_type": m}) for m in names}
    assert_same(ours["HAMMING"], theirs["L2"], exact(values[:4], values, "L2"))
    sizes = values.sum(axis=1)
    for query, (mine, both) in enumerate(zip(ours["JACCARD"], theirs["IP"], strict=True)):
        common = {hit["id"]: hit["distance"] for hit in both}
        for hit in mine:
            shared = common[hit["id"]]
            assert hit["distance"] == pytest.approx(1 - shared / (sizes[query] + sizes[hit["id"] - 1000] - shared), abs=1e-6)


def test_types_that_milvus_lite_lacks() -> None:
    """Their meaning is in Milvus' documentation: bits that differ, 1 - |a and b| / |a or b|, the sum of the best inner products."""
    rng = np.random.default_rng(2)
    bits = rng.integers(0, 256, (50, 8)).astype(np.uint8)
    unpacked = np.unpackbits(bits, axis=1).astype(bool)
    hits = search(bits, bits[3:4], 50, "hamming")[0]
    assert [hit["distance"] for hit in hits] == sorted((unpacked != unpacked[3]).sum(1))
    hits = search(bits, bits[3:4], 50, "JACCARD")[0]
    distances = 1 - (unpacked & unpacked[3]).sum(1) / (unpacked | unpacked[3]).sum(1)
    np.testing.assert_allclose([hit["distance"] for hit in hits], np.sort(distances), atol=1e-7)
    assert [hit["distance"] for hit in search(bits.view(np.int8), bits.view(np.int8)[:1], 5, "IP")[0]] == (
        topk(bits.view(np.int8)[:1], bits.view(np.int8), 5, metric="ip")[0][0].tolist()
    )
    documents = [rng.standard_normal((n, 16), np.float32) for n in (3, 1, 7, 4)]
    for metric, scale in (("MAX_SIM_IP", lambda x: x), ("MAX_SIM_COSINE", lambda x: x / np.linalg.norm(x, axis=1, keepdims=True))):
        got = search_lists(documents, documents[:2], 4, metric, ids=["a", "b", "c", "d"])
        for query, hits in zip(documents, got, strict=False):
            expected = [(scale(query) @ scale(document).T).max(1).sum() for document in documents]
            assert [hit["id"] for hit in hits] == ["abcd"[i] for i in np.argsort(expected)[::-1]]
            np.testing.assert_allclose([hit["distance"] for hit in hits], np.sort(expected)[::-1], rtol=1e-5)


def test_lists_and_nothing(rows: np.ndarray) -> None:
    assert search(rows.tolist(), rows[:2].tolist(), 3) == search(rows, rows[:2], 3)
    assert search(rows, rows[:1], 1, ids=np.arange(1000, 1000 + ROWS)) == [[{"id": 1000, "distance": 1.0}]]
    assert search(rows[:0], rows[:1], 3) == [[]] == search(rows, rows[:1], 0)
    assert search_lists([], [rows[:2]], 3) == [[]] and search_lists([rows], [], 3) == []
    with pytest.raises(ValueError, match="ids: got 2, expected 300, one for each row of data"):
        search(rows, rows[:1], 5, ids=[1, 2])


def test_other_metric_types_are_refused(rows: np.ndarray) -> None:
    assert set(TYPES) < set(METRIC_TYPES)
    with pytest.raises(ValueError, match="metric_type: got 'cosin', expected one of COSINE, IP, L2, HAMMING, JACCARD"):
        search(rows, rows, 1, "cosin")
    with pytest.raises(ValueError, match="metric_type: got 'L2', expected one of MAX_SIM"):
        search_lists([rows], [rows], 1, "L2")
