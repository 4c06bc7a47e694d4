"""FAISS users' `knn`: its arguments, its order, its padding, and no faiss needed.

```python
from fastembed_core.integrations.faiss import knn; distances, rows = knn(xq, xb, 10)
```
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arrays import to_host
from ..ops.normalize import normalize
from ..ops.topk import topk
from ._lists import array_of

METRIC_INNER_PRODUCT, METRIC_L2 = 0, 1  # faiss' own numbers
_METRICS = {METRIC_INNER_PRODUCT: ("ip", -1), METRIC_L2: ("sqeuclidean", 1)}


def knn(xq: Any, xb: Any, k: int, metric: int = METRIC_L2) -> tuple[np.ndarray, np.ndarray]:
    """`faiss.knn(xq, xb, k, metric)`: the k best rows of `xb` for each of `xq`, exactly.

    ``D[i, j] = ||xq[i] - xb[I[i, j]]||^2`` under METRIC_L2, ascending, or the inner product under METRIC_INNER_PRODUCT, descending.
    Where faiss leaves ties and rounding to its kernels, ties go to the lowest row and scores are canonical (`topk`).

    Parameters
    ----------
    xq : (Q, D) float32, float16, bfloat16 or float64, or lists; computed as `topk` computes them
    xb : (N, D) likewise
    k : at least 1; may be larger than N
    metric : METRIC_L2 (1) or METRIC_INNER_PRODUCT (0), or faiss' own constants

    Returns
    -------
    D : (Q, k) float32; places beyond N hold the largest finite float32, negative under METRIC_INNER_PRODUCT
    I : (Q, k) int64; places beyond N hold -1

    Raises
    ------
    TypeError, ValueError
        for operands and a k that `topk` refuses, and for other metrics.

    Source: faiss/python/extra_wrappers.py and the heaps of faiss/utils/Heap.h.
    """
    if metric not in _METRICS:
        raise ValueError(f"metric: got {metric!r}, expected METRIC_L2 (1) or METRIC_INNER_PRODUCT (0)")
    name, sign = _METRICS[metric]
    scores, rows = (to_host(part, "results") for part in topk(array_of(xq), array_of(xb), k, metric=name))
    missing = ((0, 0), (0, k - rows.shape[1]))
    worst = sign * np.finfo(np.float32).max
    return np.pad(scores, missing, constant_values=worst), np.pad(rows, missing, constant_values=-1)


def normalize_L2(x: np.ndarray) -> None:
    """`faiss.normalize_L2(x)`: every row divided by its Euclidean norm, in place; a zero row stays zero."""
    if not isinstance(x, np.ndarray) or x.dtype != np.float32 or x.ndim != 2:
        raise TypeError(f"x: got {getattr(x, 'dtype', type(x).__name__)}, expected a two-dimensional float32 numpy array")
    normalize(x, out=x)
