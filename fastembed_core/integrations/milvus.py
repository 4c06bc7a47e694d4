"""Milvus' exact search (a FLAT index) by its own metric names, without a server.

```python
from fastembed_core.integrations.milvus import search; hits = search(vectors, queries, limit=10, metric_type="COSINE")
```
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arrays import to_host
from ..ops.maxsim import maxsim
from ..ops.topk import topk
from ._lists import array_of

# Milvus' metric types: COSINE and IP are similarities; its L2 is the squared distance; HAMMING and JACCARD are of packed bits.
METRIC_TYPES = {"COSINE": "cosine", "IP": "ip", "L2": "sqeuclidean", "HAMMING": "hamming", "JACCARD": "jaccard"}
MAX_SIM_TYPES = {"MAX_SIM": "cosine", "MAX_SIM_COSINE": "cosine", "MAX_SIM_IP": "ip"}


def search(
    data: Any, queries: Any, limit: int, metric_type: str = "COSINE", *, ids: Any = None, mask: Any = None
) -> list[list[dict[str, Any]]]:
    """What `MilvusClient.search` of a collection with a FLAT index finds: a list of ``{"id", "distance"}`` for each query, best first.

    Parameters
    ----------
    data : (N, D) FLOAT_VECTOR, FLOAT16_VECTOR, BFLOAT16_VECTOR or INT8_VECTOR rows as float32, float16, bfloat16, int8; for HAMMING and
        JACCARD a BINARY_VECTOR's bytes, uint8 (N, D / 8); lists of numbers are FLOAT_VECTOR
    queries : likewise
    limit : hits for each query, fewer where there are fewer rows
    metric_type : COSINE, IP, L2, HAMMING or JACCARD, in capitals or not
    ids : the rows' primary keys, any sequence of N; None numbers them
    mask : (N,) bool, the rows a filter lets through

    Raises
    ------
    TypeError, ValueError
        for another metric type, and for operands that have no score under it.
    """
    name = str(metric_type).upper()
    if name not in METRIC_TYPES:
        raise ValueError(f"metric_type: got {metric_type!r}, expected one of {', '.join(METRIC_TYPES)}")
    q, x = array_of(queries), array_of(data)
    keys = _keys(ids, len(x))
    scores, rows = (to_host(part, "results") for part in topk(q, x, limit, metric=METRIC_TYPES[name], mask=mask))
    return [_hits(s, r, keys) for s, r in zip(scores, rows, strict=True)]


def search_lists(
    data: Any, queries: Any, limit: int, metric_type: str = "MAX_SIM_COSINE", *, ids: Any = None
) -> list[list[dict[str, Any]]]:
    """`search` over lists of vectors (an array of structs in Milvus): the sum over a query's vectors of the best match in the list.

    Parameters
    ----------
    data : N lists of vectors, each (T_i, D)
    queries : likewise
    limit, ids : as in `search`
    metric_type : MAX_SIM_COSINE (MAX_SIM) or MAX_SIM_IP
    """
    name = str(metric_type).upper()
    if name not in MAX_SIM_TYPES:
        raise ValueError(f"metric_type: got {metric_type!r}, expected one of {', '.join(MAX_SIM_TYPES)}")
    keys = _keys(ids, len(data))
    if not len(data) or not len(queries):
        return [[] for _ in queries]
    (q, q_offsets), (x, x_offsets) = (_ragged(side) for side in (queries, data))
    scores, rows = maxsim(q, x, query_offsets=q_offsets, document_offsets=x_offsets, k=limit, metric=MAX_SIM_TYPES[name])
    return [_hits(s, r, keys) for s, r in zip(scores, rows, strict=True)]


def _keys(ids: Any, n: int) -> Any:
    """The primary keys of n rows, None where they are numbered."""
    if ids is not None and len(ids) != n:
        raise ValueError(f"ids: got {len(ids)}, expected {n}, one for each row of data")
    return ids.tolist() if hasattr(ids, "tolist") else ids


def _hits(scores: np.ndarray, rows: np.ndarray, ids: Any) -> list[dict[str, Any]]:
    found = [(row, score) for row, score in zip(rows.tolist(), scores.tolist(), strict=True) if row >= 0]
    return [{"id": row if ids is None else ids[row], "distance": float(score)} for row, score in found]


def _ragged(lists: Any) -> tuple[np.ndarray, np.ndarray]:
    """Lists of vectors as one array of all vectors, and where each list begins and the last ends."""
    parts = [np.asarray(part, np.float32) for part in lists]
    return np.concatenate(parts), np.cumsum([0, *map(len, parts)])
