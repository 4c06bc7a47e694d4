"""Arrow columns of vectors (pyarrow, Parquet, Hugging Face datasets), searched where they lie.

```python
from fastembed_core.integrations.arrow import topk; scores, rows = topk(queries, dataset, k=10, column="embedding")
```
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from ..ops.merge_topk import merge_topk
from ..ops.topk import topk as search

_TYPES = (pa.float32(), pa.float16(), pa.float64(), pa.int8(), pa.uint8())


def chunks(source: Any, column: str | None = None) -> list[np.ndarray]:
    """The vectors of a column as (n, D) arrays over Arrow's own memory, one a chunk; nothing is copied.

    Parameters
    ----------
    source : a pyarrow FixedSizeListArray, FixedShapeTensorArray or list array whose rows are equally long, or a ChunkedArray of such;
        or, with `column`, a pyarrow Table or RecordBatch or a Hugging Face Dataset
    column : the column's name

    Returns
    -------
    Read-only (n, D) float32, float16, float64, int8 or uint8 arrays; memory-mapped where the table is.

    Raises
    ------
    TypeError, ValueError
        for columns that are not such vectors, have nulls, or (a Dataset's) were selected or shuffled without ``flatten_indices()``.
    """
    if column is not None:
        if getattr(source, "_indices", None) is not None:
            raise ValueError("source: got a Dataset whose rows were selected or shuffled, expected its flatten_indices()")
        table = getattr(source, "data", source)
        source = table.column(column)
    return [_rows(chunk) for chunk in (source.chunks if isinstance(source, pa.ChunkedArray) else [source])]


def vectors(source: Any, column: str | None = None) -> np.ndarray:
    """`chunks` of a column that lies in one piece: one (N, D) array over Arrow's own memory."""
    parts = [part for part in chunks(source, column) if len(part)]
    if len(parts) != 1:
        raise ValueError(f"source: got {len(parts)} chunks with rows, expected 1; combine_chunks() makes a copy that is, topk takes any")
    return parts[0]


def topk(queries: Any, source: Any, k: int, *, column: str | None = None, metric: str | None = None) -> tuple[Any, Any]:
    """`fastembed_core.topk` over a column in any number of chunks: to the bit that of the column in one piece; nothing is copied."""
    parts = [part for part in chunks(source, column) if len(part)]
    if not parts:
        raise ValueError("source: got a column without rows, expected at least 1")
    found = [search(queries, part, k, metric=metric) for part in parts]
    firsts = np.cumsum([0, *map(len, parts[:-1])]).tolist()
    return merge_topk(found, k, metric=metric or "cosine", offsets=firsts)


def array(x: np.ndarray) -> pa.FixedSizeListArray:
    """(N, D) vectors as an Arrow array over the same memory, for a table or a Parquet file; rows must be contiguous."""
    if not isinstance(x, np.ndarray) or x.ndim != 2 or not x.flags.c_contiguous:
        raise TypeError(f"x: got {type(x).__name__}, expected a contiguous two-dimensional numpy array")
    return pa.FixedSizeListArray.from_arrays(pa.array(x.reshape(-1)), x.shape[1])


def _rows(chunk: Any) -> np.ndarray:
    """One chunk as an array over its memory."""
    if isinstance(chunk, pa.ExtensionArray):
        chunk = chunk.storage
    if not isinstance(chunk, pa.Array):
        raise TypeError(f"source: got {type(chunk).__name__}, expected an Arrow array of vectors, or a table and its column")
    kind = chunk.type
    if not (pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind)) or kind.value_type not in _TYPES:
        raise TypeError(f"source: got a column of {kind}, expected lists of one size of float32, float16, float64, int8 or uint8")
    if chunk.null_count:
        raise ValueError(f"source: got {chunk.null_count} rows that are null, expected none")
    size = kind.list_size if pa.types.is_fixed_size_list(kind) else _size(chunk)
    values = chunk.flatten()
    if values.null_count:
        raise ValueError(f"source: got {values.null_count} elements that are null, expected none")
    return values.to_numpy(zero_copy_only=True).reshape(len(chunk), size)


def _size(chunk: Any) -> int:
    """How long each list is, where all are equally long."""
    lengths = np.diff(chunk.offsets.to_numpy())
    if len(lengths) and (lengths != lengths[0]).any():
        raise ValueError(f"source: got lists of {lengths.min()} to {lengths.max()} elements, expected one size")
    return int(lengths[0]) if len(lengths) else 0
