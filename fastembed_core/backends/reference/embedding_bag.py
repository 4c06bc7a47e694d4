"""Each bag in float64, its embedding rounded to float32 once."""

import numpy as np

from ...arrays import round_to
from ...operands import Rows
from ...ops.embedding_bag import Bags, Recipe
from ...ops.pool import EPS, FLOAT_PRECISIONS
from ._scores import scales, values
from .quantize import quantize


@np.errstate(invalid="ignore", over="ignore", divide="ignore", under="ignore")
def embedding_bag(table: Rows, bags: Bags, how: Recipe, out: np.ndarray, scale: np.ndarray | None) -> None:
    x = values(table) * scales(table)[:, None]
    weights = np.ones(len(bags.ids)) if bags.weights is None else bags.weights.astype(np.float64)
    rows = np.zeros((bags.n, table.dim))
    for b in range(bags.n):
        at = slice(bags.offsets[b], bags.offsets[b + 1])
        if at.start == at.stop:
            continue
        named, w = x[bags.ids[at]], weights[at]
        rows[b] = named.max(axis=0) if how.mode == "max" else (w[:, None] * named).sum(axis=0)
        if how.mode == "mean":
            rows[b] /= w.sum()
    if how.normalize:
        rows /= np.maximum(np.sqrt((rows * rows).sum(axis=1)), EPS)[:, None]
    rounded = rows.astype(np.float32)
    if how.precision in FLOAT_PRECISIONS:
        out[...] = round_to(rounded, "f16" if how.precision == "float16" else "f32")
    else:
        quantize(Rows(rounded, "f32", table.dim), how.precision, how.ranges, out, scale)
