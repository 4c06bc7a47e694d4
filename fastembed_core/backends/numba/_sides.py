"""Operands as the kernels take them: any storage kind, block by block, through numpy's reader."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...dispatch import Unsupported
from ...operands import Rows
from ...ops.scores import Score
from ..numpy._operand import Index, Operand
from ._kernels import METRICS, squares

BLOCK = 1 << 20  # elements of a block of rows, 4 MiB of float32, and
WORK = 1 << 26  # products of a call: some tens of milliseconds, after which a signal is heard
MAX_DIM = 1 << 20


class Side(NamedTuple):
    """Rows as elements (float64 for queries, float32 for a corpus), squared norms and scales."""

    data: np.ndarray
    squares: np.ndarray
    scale: np.ndarray


def operands(q: Rows, x: Rows, score: Score) -> tuple[Operand, Operand, int, int]:
    """Both readers, and how many queries and rows make a block."""
    if q.dim > MAX_DIM:
        raise Unsupported(f"vectors of more than {MAX_DIM} elements")
    m = max(1, min(1024, BLOCK // max(1, q.dim)))
    return Operand(q, score), Operand(x, score), max(1, min(1024, BLOCK // max(1, q.dim), WORK // max(1, q.dim * m))), m


def block(side: Operand, rows: Index, metric: str) -> Side:
    """A block of rows of a corpus; a view of them where they are float32 side by side."""
    data = np.ascontiguousarray(side.block(rows, 0, side.dim))
    norms = np.zeros(len(data))
    if METRICS.index(metric) in (1, 2, 5):
        squares(data.astype(np.float64), data, norms)
    scale = side.scale(rows)
    return Side(data, norms, np.ones(len(data)) if scale is None else scale)


def queries(side: Operand, rows: Index, metric: str) -> Side:
    """A tile of queries."""
    narrow = block(side, rows, metric)
    return narrow._replace(data=narrow.data.astype(np.float64))
