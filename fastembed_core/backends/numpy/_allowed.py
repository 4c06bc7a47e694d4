"""Which rows each query may return, block by block."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...operands import Mask
from ._operand import span


class Allowed:
    """A mask and excludes. Rows a shared mask forbids are never visited; a query's own are struck out of its scores."""

    def __init__(self, mask: Mask | None, exclude: np.ndarray | None, n: int) -> None:
        self.mask, self.n = mask, n
        self.exclude = exclude if exclude is not None and exclude.size else None

    def blocks(self, m: int, lo: int = 0, hi: int | None = None) -> Iterator[np.ndarray]:
        """Row numbers in [lo, hi), about m at a time, of the rows that a shared mask allows."""
        end = self.n if hi is None else hi
        for start in range(lo, end, m):
            rows = np.arange(start, min(start + m, end))
            if self.mask is not None and self.mask.shared:
                rows = rows[self.mask.block(slice(0, 1), start, start + len(rows))[0]]
            if len(rows):
                yield rows

    def among(self, queries: np.ndarray, rows: np.ndarray) -> np.ndarray | None:
        """bool (t, m): the rows of a block that each query's own mask and excludes allow; None where all are."""
        allowed = None
        if self.mask is not None and not self.mask.shared:
            at, lo, hi = span(queries), int(rows[0]), int(rows[-1]) + 1
            tiles = [at] if isinstance(at, slice) else [slice(i, i + 1) for i in queries]
            allowed = np.concatenate([self.mask.block(tile, lo, hi) for tile in tiles])
        if self.exclude is not None:
            ids = self.exclude[queries]
            at = np.minimum(np.searchsorted(rows, ids), len(rows) - 1)
            i, e = np.nonzero(rows[at] == ids)
            if len(i):
                allowed = np.ones((len(queries), len(rows)), bool) if allowed is None else allowed
                allowed[i, at[i, e]] = False
        return allowed
