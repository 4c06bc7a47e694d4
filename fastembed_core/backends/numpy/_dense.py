"""Canonical scores of every query with every row of a block, by matrix multiplication in float64.

Integer sums are exact as they are. A float score comes out of the product with a bound on its error; where the ends
of that interval round to different float32 (a few in a million), the pair is scored again in the canonical order.
"""

from __future__ import annotations

import numpy as np

from ...ops.scores import Score
from ._canonical import from_dot, is_exact, needs_norms, pair_scores, rounded, times
from ._operand import DEPTH, Index, Operand, length, members, span

BLOCK = 1 << 20  # elements of a block of rows, and
CELLS = 1 << 18  # of scores: with a dozen float64 temporaries at most, far inside the workspace
UNIT = 2.0**-53


class Dense:
    """Scores blocks of one pair of operands. `center` (float64, (D,)) is subtracted from both sides of a distance."""

    def __init__(self, q: Operand, x: Operand, score: Score, center: np.ndarray | None) -> None:
        self.q, self.x, self.score, self.center = q, x, score, center
        self._exact = is_exact(score)
        peak = max({"i8": 128, "u8": 255, "i4": 8}.get(side.rows.kind, 1) for side in (q, x))
        # float32 holds every integer up to 2**24, so that sums of this many products of codes are exact in it.
        self._depth = min(DEPTH, 2**24 // peak**2 // 8 * 8) if self._exact else DEPTH

    def scores(self, queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """(len(queries), len(rows)) canonical scores; both are ascending numbers."""
        out = np.empty((len(queries), len(rows)), self.score.dtype)
        m = max(1, BLOCK // max(1, min(self.q.dim, self._depth)))
        t = max(1, CELLS // max(1, min(m, len(rows))))
        for i in range(0, len(queries), t):
            for j in range(0, len(rows), m):
                part = (span(queries[i : i + t]), span(rows[j : j + m]))
                out[i : i + t, j : j + m] = self._integers(*part) if self._exact else self._floats(*part)
        return out

    def sums(self, queries: Index, rows: Index, dtype: type, norms: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """float64 dot products (t, m) and squared norms (t, 1), (1, m)."""
        t, m = length(queries), length(rows)
        dot, qq, xx = np.zeros((t, m)), np.zeros((t, 1)), np.zeros((1, m))
        for lo, hi in self.q.chunks(self._depth):
            a = self._side(self.q, queries, lo, hi, dtype)
            b = self._side(self.x, rows, lo, hi, dtype)
            dot += a @ b.T
            if norms:
                qq[:, 0] += np.einsum("ij,ij->i", a, a)
                xx[0] += np.einsum("ij,ij->i", b, b)
        return dot, qq, xx

    def _side(self, side: Operand, rows: Index, lo: int, hi: int, dtype: type) -> np.ndarray:
        block: np.ndarray = side.block(rows, lo, hi).astype(dtype, copy=False)
        if self.center is None:
            return block
        scale = side.scale(rows)
        return (block if scale is None else block * scale[:, None]) - self.center[lo:hi]

    def scale(self, queries: Index, rows: Index) -> np.ndarray | None:
        sq, sx = self.q.scale(queries), self.x.scale(rows)
        return times(None if sq is None else sq[:, None], None if sx is None else sx[None, :])

    def _integers(self, queries: Index, rows: Index) -> np.ndarray:
        metric = self.score.metric
        dot, qq, xx = self.sums(queries, rows, np.float32, norms=needs_norms(metric) or metric != "ip")
        return rounded(from_dot(metric, dot, qq, xx, self.scale(queries, rows)), self.score.dtype)

    def _floats(self, queries: Index, rows: Index) -> np.ndarray:
        value, error = self.estimate(queries, rows)
        low = (value - error).astype(np.float32)
        value += error
        unsure = low != value.astype(np.float32)  # true of NaN as well
        scores = low + np.float32(0)
        i, j = np.nonzero(unsure)
        scores[i, j] = pair_scores(self.q, self.x, members(queries)[i], members(rows)[j], self.score)
        return scores

    def estimate(self, queries: Index, rows: Index) -> tuple[np.ndarray, np.ndarray]:
        """float64 scores and bounds on their distance from the canonical float64 scores.

        Sums of D terms in any order lie within D units of the exact one, relative to the product of the norms; both
        sums, both norms and the few operations after them make fewer than 8 (D + 16) units.
        """
        metric = self.score.metric
        dot, qq, xx = self.sums(queries, rows, np.float64, norms=True)
        unit = 8 * (self.q.dim + 16) * UNIT
        if metric in ("l2", "sqeuclidean"):
            value = qq + xx - 2 * dot
            error = unit * np.square(np.sqrt(qq) + np.sqrt(xx))
            if metric == "l2":
                root = np.sqrt(np.maximum(value, 0))
                return root, error / root + 4 * UNIT * root  # no bound at zero: infinite, or NaN
            return value, error
        norms = np.sqrt(qq) * np.sqrt(xx)
        scale = self.scale(queries, rows)
        value = from_dot(metric, dot, qq, xx, scale)
        if metric == "cosine":
            return value, np.where(norms == 0, 0.0, unit)
        return value, unit * norms * (1.0 if scale is None else np.abs(scale))


def center_of(x: Operand, score: Score, sample: int = 256) -> np.ndarray | None:
    """(D,) float64 holding float32 values: the mean of a sample of rows for distances between floats, else None.

    Both sides of a distance lose it first, so that an offset common to all rows does not swallow their differences.
    """
    if is_exact(score) or score.metric not in ("l2", "sqeuclidean"):
        return None
    center = np.zeros(x.dim)
    rows = np.unique(np.linspace(0, max(0, x.n - 1), min(x.n, sample)).astype(np.int64))
    scale = x.scale(rows)
    for lo, hi in x.chunks():
        block = x.block(rows, lo, hi).astype(np.float64)
        block = block if scale is None else block * scale[:, None]
        usable = np.abs(block) <= 2.0**50
        total = np.where(usable, block, 0).sum(0) / np.maximum(1, usable.sum(0))
        center[lo:hi] = total.astype(np.float32)
    return center
