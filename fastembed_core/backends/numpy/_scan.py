"""Estimates of every score of a block by float32 matrix multiplication, with a bound on their error.

An estimate is of the *merit*, which is larger for better rows and which canonical scores are monotone in:

==========================  ===========================  ===================================
metric                      merit of (q, x)              the score from it
==========================  ===========================  ===================================
ip                          q.x                          merit
cosine                      q.x / |x|                    merit / |q|
l2, sqeuclidean, centered   q.x - |x|^2 / 2              |q|^2 - 2 merit, or its square root
==========================  ===========================  ===================================
"""

from __future__ import annotations

import numpy as np

from ...ops.scores import Score
from ._operand import Index, Operand, length

# A float32 sum of D products in any order, flushed to zero or not, lies within about D units of the exact one.
UNIT = 2.0**-24
LOW, HIGH = 2.0**-100, 2.0**100  # squared norms inside: no product or sum of theirs comes near float32's ends


def in_range(squares: np.ndarray) -> np.ndarray:
    """Where estimates are bounded: zero rows, and rows whose squared norm is neither tiny, huge nor NaN."""
    return (squares == 0) | ((squares >= LOW) & (squares <= HIGH))


class Scan:
    """Estimates for one pair of operands; `center` is what distances are measured from."""

    def __init__(self, q: Operand, x: Operand, score: Score, center: np.ndarray | None) -> None:
        self.q, self.x, self.score, self.center = q, x, score, center
        # The product (D), the norms of a cosine (D / 2), and the roundings around them.
        self.unit = (1.5 * q.dim + 16) * UNIT * 1.01 if q.dim < 2**20 else np.inf

    def side(self, operand: Operand, rows: Index, lo: int, hi: int) -> np.ndarray:
        """float32 elements as the product takes them: centered, else as stored without their scale."""
        block = operand.block(rows, lo, hi)
        if self.center is None:
            return block
        scale = operand.scale(rows)
        if scale is None:
            return block - self.center[lo:hi].astype(np.float32)  # one rounding, relative to the difference
        return (block * scale[:, None] - self.center[lo:hi]).astype(np.float32)

    def squares(self, operand: Operand, rows: Index) -> np.ndarray:
        """(m,) float64 squared norms of `side`, in float64 throughout."""
        total = np.zeros(length(rows))
        for lo, hi in operand.chunks():
            wide = self.side(operand, rows, lo, hi).astype(np.float64)
            total += np.einsum("ij,ij->i", wide, wide)
        return total

    def block(self, queries: Index, rows: Index) -> tuple[np.ndarray, np.ndarray]:
        """(t, m) float32 merits, NaN in the columns of rows no bound holds for, and (m,) float64 norms, 0 for those."""
        merit, squares = self._product(queries, rows)
        which = np.flatnonzero(~((squares >= LOW) & (squares <= HIGH)))
        if len(which):  # a float32 sum of squares cannot tell a zero row from a tiny one
            squares[which] = self.squares(self.x, which + rows.start if isinstance(rows, slice) else rows[which])
        odd = ~in_range(squares)
        scale = None if self.center is not None else self.x.scale(rows)
        if scale is not None:
            odd |= ~np.isfinite(scale)
            if self.score.metric == "ip":
                merit *= scale.astype(np.float32)
                squares *= scale * scale
                odd |= ~in_range(squares)
        norms = np.sqrt(np.where(odd, 0, squares))
        if self.score.metric == "cosine":
            merit *= (1 / np.where(norms == 0, 1, norms)).astype(np.float32)
        elif self.center is not None:
            merit -= (squares / 2).astype(np.float32)
        merit[:, odd] = np.nan
        return merit, norms

    def _product(self, queries: Index, rows: Index) -> tuple[np.ndarray, np.ndarray]:
        merit = np.zeros((length(queries), length(rows)), np.float32)
        squares = np.zeros(length(rows))
        for i, (lo, hi) in enumerate(self.q.chunks()):
            a, b = self.side(self.q, queries, lo, hi), self.side(self.x, rows, lo, hi)
            if i:
                merit += a @ b.T
            else:
                np.matmul(a, b.T, out=merit)
            squares += np.einsum("ij,ij->i", b, b)
        return merit, squares

    def error(self, q_norms: np.ndarray, x_norms: np.ndarray) -> np.ndarray:
        """Bounds on |estimate - merit|, given the norms of the query and of the row (arrays that broadcast)."""
        if self.score.metric == "cosine":
            return self.unit * q_norms * np.ones_like(x_norms)
        if self.score.metric == "ip":
            return self.unit * q_norms * x_norms
        return self.unit * np.square(q_norms + x_norms)

    def score_of(self, merit: np.ndarray, q_norms: np.ndarray) -> np.ndarray:
        """float64 scores of merits."""
        if self.score.metric == "ip":
            return merit
        if self.score.metric == "cosine":
            return merit / np.where(q_norms == 0, 1, q_norms)
        squared = np.maximum(0, np.square(q_norms) - 2 * merit)
        return np.sqrt(squared) if self.score.metric == "l2" else squared

    def floor(self, scores: np.ndarray, q_norms: np.ndarray) -> np.ndarray:
        """The merit under which a row's score, rounded to float32, is worse than that of rows scoring `scores`."""
        scores = np.clip(scores, -3.4028234e38, 3.4028234e38)
        slack = 2.0**-22 * np.abs(scores) + 2.0**-148  # two steps of float32 at least: one for each rounding
        if self.score.metric == "ip":
            return scores - slack
        if self.score.metric == "cosine":
            return (scores - slack) * np.where(q_norms == 0, 1, q_norms)
        far = scores + slack
        return (np.square(q_norms) - (np.square(far) if self.score.metric == "l2" else far)) / 2
