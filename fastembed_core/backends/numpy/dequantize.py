"""Unpack, then one multiplication, over blocks of rows."""

import numpy as np

from ...operands import Rows
from ._blocks import blocks


@np.errstate(invalid="ignore", over="ignore", under="ignore")
def dequantize(x: Rows, out: np.ndarray) -> None:
    for rows in blocks(x):
        part = x[rows]
        if x.kind == "bits":
            bits = np.unpackbits(part.data.view(np.uint8) ^ np.uint8(x.flip), axis=1)[:, : x.dim]
            np.subtract(bits * np.float32(2), 1, out=out[rows])
        elif part.ranges is not None:
            low, step = part.ranges.astype(np.float64)
            u = part.data.astype(np.float64) + (128 if x.kind == "i8" else 0)
            u *= step
            u += low
            out[rows] = u
        else:
            out[rows] = _codes(part) * part.scale[:, None]


def _codes(x: Rows) -> np.ndarray:
    """(n, dim) int8 of int8_row or int4_row codes."""
    if x.kind == "i8":
        return x.data
    nibbles = np.empty((x.n, 2 * x.data.shape[1]), np.int8)
    nibbles[:, 0::2] = x.data & 15
    nibbles[:, 1::2] = x.data >> 4
    nibbles -= 8
    return nibbles[:, : x.dim]
