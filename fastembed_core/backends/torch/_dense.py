"""Canonical scores of every query with every row of a block, by matrix multiplication in float64.

Integer sums are exact as they are. A float score comes out of the product with a bound on its error; where the ends
of that interval round to different float32 (a few in a million), the pair is scored again in the canonical order.
"""

from __future__ import annotations

import torch

from ...ops.scores import Score
from ._canonical import dtype_of, from_dot, is_exact, pair_scores, rounded, times
from ._operand import DEPTH, Index, Operand, converted, length, members

BLOCK = 1 << 20  # elements of a block of rows, and
CELLS = 1 << 18  # of scores: with a dozen float64 temporaries at most, far inside the workspace
UNIT = 2.0**-53
TINY = 2.0**-125  # below it a float32 may have been flushed to zero by one of torch's threads


class Dense:
    """Scores blocks of one pair of operands. `center` (float64, (D,)) is subtracted from both sides of a distance."""

    def __init__(self, q: Operand, x: Operand, score: Score, center: torch.Tensor | None) -> None:
        self.q, self.x, self.score, self.center = q, x, score, center
        self._exact = is_exact(score)
        peak = max({"i8": 128, "u8": 255, "i4": 8}.get(side.rows.kind, 1) for side in (q, x))
        # float32 holds every integer up to 2**24, so that sums of this many products of codes are exact in it, and each
        # code in the bfloat16 or TensorFloat-32 that a device may be told to multiply in.
        self._depth = min(DEPTH, 2**24 // peak**2 // 8 * 8) if self._exact else DEPTH

    def scores(self, queries: Index, rows: slice) -> torch.Tensor:
        """(length(queries), length(rows)) canonical scores."""
        out = torch.empty(length(queries), length(rows), dtype=dtype_of(self.score), device=self.q.device)
        m = max(1, BLOCK // max(1, min(self.q.dim, self._depth)))
        t = max(1, CELLS // max(1, min(m, length(rows))))
        for i in range(0, length(queries), t):
            for j in range(0, length(rows), m):
                some = slice(rows.start + j, min(rows.start + j + m, rows.stop))
                out[i : i + t, j : j + m] = self._block(_cut(queries, i, i + t), some)
        return out

    def _block(self, queries: Index, rows: slice) -> torch.Tensor:
        if not self._exact:
            return self._floats(queries, rows)
        values = from_dot(self.score.metric, *self.sums(queries, rows, torch.float32), self.scale(queries, rows))
        return rounded(values, dtype_of(self.score))

    def sums(self, queries: Index, rows: Index, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """float64 dot products (t, m) and squared norms (t, 1), (1, m)."""
        device = self.q.device
        dot = torch.zeros(length(queries), length(rows), dtype=torch.float64, device=device)
        qq = torch.zeros(length(queries), 1, dtype=torch.float64, device=device)
        xx = torch.zeros(1, length(rows), dtype=torch.float64, device=device)
        for lo, hi in self.q.chunks(self._depth):
            a = self._side(self.q, queries, lo, hi, dtype)
            b = self._side(self.x, rows, lo, hi, dtype)
            dot += a @ b.T
            qq += (a * a).sum(1, keepdim=True)
            xx += (b * b).sum(1)
        return dot, qq, xx

    def _side(self, side: Operand, rows: Index, lo: int, hi: int, dtype: torch.dtype) -> torch.Tensor:
        block = converted(side.block(rows, lo, hi), dtype)
        if self.center is None:
            return block
        scale = side.scale(rows)
        return (block if scale is None else block * scale[:, None]) - self.center[lo:hi]

    def scale(self, queries: Index, rows: Index) -> torch.Tensor | None:
        sq, sx = self.q.scale(queries), self.x.scale(rows)
        return times(None if sq is None else sq[:, None], None if sx is None else sx[None, :])

    def _floats(self, queries: Index, rows: slice) -> torch.Tensor:
        value, error = self.estimate(queries, rows)
        low, high = (value - error).float(), (value + error).float()
        unsure = low != high  # true of NaN as well
        if self.q.device.type == "cpu":
            unsure |= (value.abs() < TINY) & ((value != 0) | (error != 0))
        scores = low + 0.0
        i, j = unsure.nonzero(as_tuple=True)
        device = self.q.device
        scores[i, j] = pair_scores(self.q, self.x, members(queries, device)[i], members(rows, device)[j], self.score)
        return scores

    def estimate(self, queries: Index, rows: Index) -> tuple[torch.Tensor, torch.Tensor]:
        """float64 scores and bounds on their distance from the canonical float64 scores.

        Sums of D terms in any order lie within D units of the exact one, relative to the product of the norms; both
        sums, both norms and the few operations after them make fewer than 8 (D + 16) units.
        """
        metric = self.score.metric
        dot, qq, xx = self.sums(queries, rows, torch.float64)
        unit = 8 * (self.q.dim + 16) * UNIT
        if metric in ("l2", "sqeuclidean"):
            value = qq + xx - 2 * dot
            error = unit * (qq.sqrt() + xx.sqrt()).square()
            if metric == "l2":
                root = value.clamp(min=0).sqrt()
                return root, error / root + 4 * UNIT * root  # no bound at zero: infinite, or NaN
            return value, error
        norms = qq.sqrt() * xx.sqrt()
        scale = self.scale(queries, rows)
        value = from_dot(metric, dot, qq, xx, scale)
        if metric == "cosine":
            return value, unit * (norms != 0).double()
        return value, unit * norms if scale is None else unit * norms * scale.abs()


def _cut(queries: Index, lo: int, hi: int) -> Index:
    if isinstance(queries, slice):
        return slice(queries.start + lo, min(queries.start + hi, queries.stop))
    return queries[lo:hi]


def center_of(x: Operand, score: Score, sample: int = 256) -> torch.Tensor | None:
    """(D,) float64 holding float32 values: the mean of a sample of rows for distances between floats, else None.

    Both sides of a distance lose it first, so that an offset common to all rows does not swallow their differences.
    """
    if is_exact(score) or score.metric not in ("l2", "sqeuclidean"):
        return None
    center = torch.zeros(x.dim, dtype=torch.float64, device=x.device)
    count = min(x.n, sample)
    rows = torch.arange(count, device=x.device) * x.n // max(1, count)
    scale = x.scale(rows)
    for lo, hi in x.chunks():
        block = x.block(rows, lo, hi).double()
        block = block if scale is None else block * scale[:, None]
        usable = block.abs() <= 2.0**50
        center[lo:hi] = (block.where(usable, 0.0).sum(0) / usable.sum(0).clamp(min=1)).float()
    return center
