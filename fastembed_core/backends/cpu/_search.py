"""Operands as the extension takes them."""

from __future__ import annotations

import numpy as np

from ... import _core
from ...dispatch import Unsupported
from ...operands import Rows
from ...ops.scores import Score


def operands(q: Rows, x: Rows, score: Score) -> tuple[_core.Rows, _core.Rows]:
    """Both operands; codes with ranges on both sides are their integers, so their ranges stay behind."""
    if q.is_torch or x.is_torch:
        raise Unsupported("works in host memory")
    return _operand(q, score), _operand(x, score)


def _operand(rows: Rows, score: Score) -> _core.Rows:
    ranges = rows.ranges if score.form == "float" else None
    return _core.Rows(rows.data, rows.kind, rows.dim, rows.scale, ranges, rows.flip)


def empty(q: Rows, k: int, score: Score) -> tuple[np.ndarray, np.ndarray]:
    """Room for k results a query."""
    return np.empty((q.n, k), score.dtype), np.empty((q.n, k), np.int64)
