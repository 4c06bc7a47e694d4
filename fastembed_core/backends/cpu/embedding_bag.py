"""Gather and reduce in one pass: csrc/cpu/bag.cpp."""

from __future__ import annotations

import numpy as np

from ... import _core
from ...operands import Rows, steps_of
from ...ops.embedding_bag import Bags, Recipe
from ...threads import num_threads


def embedding_bag(table: Rows, bags: Bags, how: Recipe, out: np.ndarray, scale: np.ndarray | None) -> None:
    rows = _core.Rows(table.data, table.kind, table.dim, table.scale, table.ranges, table.flip)
    ranges = None if how.ranges is None else steps_of(how.ranges)
    sides = (bags.ids, bags.offsets, bags.weights, how.mode, how.normalize, how.precision)
    _core.embedding_bag(rows, *sides, ranges, out, scale, num_threads())
