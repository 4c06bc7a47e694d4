"""Vectors in Arrow memory: the same addresses, the same answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pyarrow")

import pyarrow as pa
import pyarrow.parquet as pq

from fastembed_core import Codes, Corpus
from fastembed_core import topk as plain_topk
from fastembed_core.integrations.arrow import array, chunks, topk, vectors

DTYPES = [np.float32, np.float16, np.float64, np.int8, np.uint8]


def some(n: int = 60, dim: int = 20, dtype: Any = np.float32) -> np.ndarray:
    return (np.random.default_rng(0).standard_normal((n, dim)) * 20 + (100 if dtype == np.uint8 else 0)).clip(-120, 200).astype(dtype)


def addresses(column: Any) -> list[int]:
    """Where the values of each chunk begin in Arrow's memory."""
    parts = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    return [part.flatten().buffers()[1].address + part.flatten().offset * part.type.value_type.bit_width // 8 for part in parts]


@pytest.mark.parametrize("dtype", DTYPES)
def test_fixed_size_lists_are_read_where_they_lie(dtype: Any) -> None:
    x = some(dtype=dtype)
    column = array(x)
    assert addresses(column) == [x.ctypes.data]  # made without a copy, too
    for part, expected in ((column, x), (column[7:31], x[7:31]), (column[60:], x[60:])):
        seen = chunks(part)[0]
        assert seen.dtype == dtype and (seen == expected).all() and seen.shape == expected.shape
        assert np.shares_memory(seen, x) or not len(seen)
    assert not seen.flags.writeable


@pytest.mark.parametrize("kind", [pa.list_, pa.large_list])
def test_lists_of_one_size(kind: Any) -> None:
    x = some()
    column = array(x).cast(kind(pa.float32()))
    assert (vectors(column) == x).all() and vectors(column).ctypes.data == addresses(column)[0]
    assert (vectors(column[11:50]) == x[11:50]).all()


def test_tensor_columns() -> None:
    x = some()
    column = pa.FixedShapeTensorArray.from_numpy_ndarray(x)
    assert (vectors(column) == x).all() and np.shares_memory(vectors(column), x)


@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
def test_chunks_are_searched_as_one_column(metric: str) -> None:
    x = some(200)
    x[150] = x[3]
    column = pa.chunked_array([array(x[:90]), array(x[:0]), array(x[90:91]), array(x[91:])])
    for part, expected in zip(topk(x[:5], column, 12, metric=metric), plain_topk(x[:5], x, 12, metric=metric), strict=True):
        assert (part == expected).all()
    with pytest.raises(ValueError, match="source: got 3 chunks with rows, expected 1"):
        vectors(column)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int8])
def test_a_memory_mapped_file(tmp_path: Path, dtype: Any) -> None:
    x = some(500, 32, dtype)
    table = pa.table({"id": np.arange(500), "embedding": array(x)})
    with pa.OSFile(str(tmp_path / "x.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    before = pa.total_allocated_bytes()
    with pa.memory_map(str(tmp_path / "x.arrow")) as source:
        column = pa.ipc.open_file(source).read_all()["embedding"]
        seen = vectors(column)
        assert pa.total_allocated_bytes() - before < 4096  # nothing was read into memory
        assert seen.ctypes.data == addresses(column)[0] and (seen == x).all()
        metric = "ip" if dtype == np.int8 else "cosine"
        corpus = Corpus(seen, metric=metric, scan=None, copy=False)
        rows = corpus.vectors
        assert np.shares_memory(rows.data if isinstance(rows, Codes) else rows, seen)
        for part, expected in zip(corpus.search(x[:4], 9), plain_topk(x[:4], x, 9, metric=metric), strict=True):
            assert (part == expected).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int8])
def test_parquet(tmp_path: Path, dtype: Any) -> None:
    x = some(300, 16, dtype)
    pq.write_table(pa.table({"embedding": array(x)}), tmp_path / "x.parquet", row_group_size=100)
    table = pq.read_table(tmp_path / "x.parquet")
    metric = "ip" if dtype == np.int8 else "cosine"
    for part, expected in zip(
        topk(x[:3], table, 7, column="embedding", metric=metric), plain_topk(x[:3], x, 7, metric=metric), strict=True
    ):
        assert (part == expected).all()


@pytest.mark.parametrize("fixed", [True, False])
def test_hugging_face_datasets(tmp_path: Path, fixed: bool) -> None:
    datasets = pytest.importorskip("datasets")
    x = some(400, 24)
    features = datasets.Features({"embedding": datasets.List(datasets.Value("float32"), length=24 if fixed else -1)})
    made = datasets.Dataset.from_dict({"embedding": list(x)}, features=features)
    made.save_to_disk(tmp_path / "set")
    loaded = datasets.load_from_disk(str(tmp_path / "set"))
    column = loaded.data.column("embedding")
    assert [part.ctypes.data for part in chunks(loaded, "embedding")] == addresses(column)
    for part, expected in zip(topk(x[:3], loaded, 8, column="embedding"), plain_topk(x[:3], x, 8), strict=True):
        assert (part == expected).all()
    with pytest.raises(ValueError, match="flatten_indices"):
        chunks(loaded.select([5, 2, 9]), "embedding")
    assert (chunks(loaded.select([5, 2, 9]).flatten_indices(), "embedding")[0] == x[[5, 2, 9]]).all()


def test_bad_columns_are_refused() -> None:
    with pytest.raises(TypeError, match=r"source: got a column of int64, expected lists of one size"):
        chunks(pa.array([1, 2]))
    with pytest.raises(TypeError, match=r"source: got a column of list<.*string>"):
        chunks(pa.array([["a"]]))
    with pytest.raises(ValueError, match="source: got lists of 1 to 2 elements"):
        chunks(pa.array([[1.0], [1.0, 2.0]], pa.list_(pa.float32())))
    with pytest.raises(ValueError, match="source: got 1 rows that are null"):
        chunks(pa.array([[1.0], None], pa.list_(pa.float32(), 1)))
    with pytest.raises(ValueError, match="source: got 1 elements that are null"):
        chunks(pa.array([[1.0], [None]], pa.list_(pa.float32(), 1)))
    with pytest.raises(ValueError, match="source: got a column without rows"):
        topk(some(1), array(some(0)), 3)
    with pytest.raises(TypeError, match="x: got ndarray, expected a contiguous"):
        array(some()[:, ::2])


@pytest.mark.parametrize("wrong", [None, some(), pa.table({"e": array(some())})], ids=["None", "numpy", "a table without its column"])
def test_what_is_no_column_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"^source: got \w+, expected an Arrow array of vectors, or a table and its column$"):
        topk(some(), wrong, 3)
