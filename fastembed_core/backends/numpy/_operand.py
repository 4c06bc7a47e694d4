"""An operand read block by block: any storage kind as float32, which holds every one of them exactly."""

from __future__ import annotations

import numpy as np

from ...operands import Rows
from ...ops.scores import Score

Index = slice | np.ndarray
DEPTH = 1024  # elements of a row handled at a time, a multiple of the eight lanes: bounds the blocks whatever D is


def span(rows: np.ndarray) -> Index:
    """Ascending row numbers as a slice where they leave nothing out, so that a block of them is a view."""
    if len(rows) and rows[-1] - rows[0] + 1 == len(rows):
        return slice(int(rows[0]), int(rows[-1]) + 1)
    return rows


def length(rows: Index) -> int:
    return rows.stop - rows.start if isinstance(rows, slice) else len(rows)


def members(rows: Index) -> np.ndarray:
    """The row numbers an index stands for."""
    return np.arange(rows.start, rows.stop) if isinstance(rows, slice) else rows


class Operand:
    """One side of a search, as `score` reads it: bits as 0 and 1 or as -1 and 1, codes as integers or dequantized."""

    def __init__(self, rows: Rows, score: Score) -> None:
        self.rows, self.n, self.dim = rows, rows.n, rows.dim
        self._signs = score.form == "float"
        self._ranges = rows.ranges if score.form == "float" else None

    def chunks(self, depth: int = DEPTH) -> list[tuple[int, int]]:
        """[lo, hi) over the elements of a row."""
        return [(lo, min(lo + depth, self.dim)) for lo in range(0, self.dim, depth)]

    def block(self, rows: Index, lo: int, hi: int) -> np.ndarray:
        """(m, hi - lo) float32: elements lo (a multiple of 8) to hi of some rows; a view where they are stored so."""
        kind, data = self.rows.kind, self.rows.data
        if kind == "bits":
            packed = data[rows, lo // 8 : (hi + 7) // 8].view(np.uint8) ^ np.uint8(self.rows.flip)
            bits = np.unpackbits(packed, axis=1, count=hi - lo).astype(np.float32)
            return bits * 2 - 1 if self._signs else bits
        if kind == "i4":
            packed = data[rows, lo // 2 : (hi + 1) // 2]
            nibbles = np.empty((packed.shape[0], 2 * packed.shape[1]), np.float32)
            nibbles[:, 0::2], nibbles[:, 1::2] = packed & 15, packed >> 4
            return nibbles[:, : hi - lo] - 8
        part = data[rows, lo:hi]
        if kind == "bf16":
            return (part.astype(np.uint32) << 16).view(np.float32)
        if self._ranges is None:
            return part.astype(np.float32, copy=False)
        low, step = self._ranges[:, lo:hi].astype(np.float64)
        return (step * (part + (128.0 if kind == "i8" else 0.0)) + low).astype(np.float32)

    def scale(self, rows: Index) -> np.ndarray | None:
        """(m,) float64: what a row's elements are multiplied by, None for 1."""
        return None if self.rows.scale is None else self.rows.scale[rows].astype(np.float64)
