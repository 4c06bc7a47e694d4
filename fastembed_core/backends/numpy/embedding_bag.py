"""Rows gathered a block of bags at a time, and reduced in pieces of 64."""

import numpy as np

from ...operands import Rows
from ...ops.embedding_bag import Bags, Recipe
from ...ops.maxsim import runs
from .dequantize import dequantize
from .pool import finish

_PIECE, _ELEMENTS = 64, 1 << 18  # rows of a piece; elements gathered at a time


@np.errstate(invalid="ignore", over="ignore", divide="ignore", under="ignore")
def embedding_bag(table: Rows, bags: Bags, how: Recipe, out: np.ndarray, scale: np.ndarray | None) -> None:
    for some in runs(bags.offsets, max(1, _ELEMENTS // max(1, table.dim))):
        ends = bags.offsets[some.start : some.stop + 1]
        at = slice(int(ends[0]), int(ends[-1]))
        rows = _reduced(_gathered(table, bags.ids[at]), None if bags.weights is None else bags.weights[at], ends - ends[0], how.mode)
        finish(rows, how, out[some], None if scale is None else scale[some])


def _gathered(table: Rows, ids: np.ndarray) -> np.ndarray:
    scale = None if table.scale is None else table.scale[ids]
    rows = Rows(table.data[ids], table.kind, table.dim, scale, table.ranges, table.flip)
    if table.is_float or (scale is None and table.ranges is None and table.kind != "bits"):
        bits = rows.data.astype(np.uint32) << 16 if table.kind == "bf16" else None
        return rows.data.astype(np.float32) if bits is None else bits.view(np.float32)
    values = np.empty((len(ids), table.dim), np.float32)
    dequantize(rows, values)
    return values


def _reduced(x: np.ndarray, weights: np.ndarray | None, ends: np.ndarray, mode: str) -> np.ndarray:
    """(B, D) float32 of the bags whose rows x holds one after the other."""
    out = np.zeros((len(ends) - 1, x.shape[1]), np.float32)
    lengths = np.diff(ends)
    filled = np.flatnonzero(lengths)
    if len(filled) == 0:
        return out
    if mode == "max":
        out[filled] = np.maximum.reduceat(x, ends[filled], axis=0)
        return out
    if weights is not None:
        x *= weights[:, None]
    x = np.concatenate([x, np.zeros((1, x.shape[1]), np.float32)])  # for bounds at the end
    for piece in range(0, int(lengths.max()), _PIECE):
        longer = np.flatnonzero(lengths > piece)
        starts, stops = ends[longer] + piece, np.minimum(ends[longer] + piece + _PIECE, ends[longer + 1])
        bounds = np.stack([starts, stops], 1).reshape(-1)  # what lies between two pieces is summed too, and left out
        out[longer] += np.add.reduceat(x, bounds, axis=0)[::2]
    if mode == "mean":
        divisor = lengths.astype(np.float64) if weights is None else np.add.reduceat(np.append(weights.astype(np.float64), 0), ends[:-1])
        out[filled] /= divisor[filled, None].astype(np.float32)
    return out
