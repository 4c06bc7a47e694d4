"""Canonical scores (SEMANTICS section 3) of single pairs, and the arithmetic after the sums."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...metrics import SIMILARITIES
from ...ops.scores import Score
from ._operand import DEPTH, Operand

PAIR_ELEMENTS = 1 << 15  # float64 elements of each temporary: a quarter of a MiB, so that they stay in cache


def needs_norms(metric: str) -> bool:
    return metric not in ("ip", "l2", "sqeuclidean")


def times(a: np.ndarray | None, b: np.ndarray | None) -> np.ndarray | None:
    """The product of two scales, either of which may be missing."""
    return a if b is None else b if a is None else a * b


def from_dot(metric: str, dot: np.ndarray, qq: np.ndarray, xx: np.ndarray, scale: np.ndarray | None) -> np.ndarray:
    """float64 scores from the dot product and the squared norms of codes, and the product of their scales."""
    if metric == "ip":
        return dot if scale is None else dot * scale
    if metric == "cosine":
        norms = np.sqrt(qq) * np.sqrt(xx)
        cosine = np.where(norms == 0, dot, dot / norms)
        return cosine if scale is None else np.where(np.isnan(scale), np.nan, cosine)
    if metric == "jaccard":
        either = qq + xx - dot
        return np.where(either == 0, 0.0, (either - dot) / either)
    squared = qq + xx - 2 * dot  # of integers, exact; of bits, the number that differ
    return np.sqrt(squared) if metric == "l2" else squared


def rounded(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """float64 scores in the result's type: one rounding, +0 for -0, one pattern for NaN."""
    if dtype == np.int32:
        return values.astype(np.int32)
    scores = values.astype(np.float32) + np.float32(0)
    scores[np.isnan(scores)] = np.array(0x7FC00000, np.uint32).view(np.float32)
    return scores


class Lanes:
    """Eight float64 sums of products a row, fed in order."""

    def __init__(self, rows: int) -> None:
        self._sums = np.zeros((rows, 8))

    def add(self, a: np.ndarray, b: np.ndarray) -> None:
        """Lane j adds a * b of elements j, j + 8, ...: reduce over a middle axis adds one by one (pairs only along the last)."""
        rows, width = a.shape
        steps = np.zeros((rows, 1 + (width + 7) // 8, 8))  # a lane is never -0, so that the padding's +0 changes nothing
        steps[:, 0] = self._sums
        np.multiply(a, b, out=steps.reshape(rows, -1)[:, 8 : 8 + width])
        self._sums = np.add.reduce(steps, axis=1)

    def total(self) -> np.ndarray:
        l0, l1, l2, l3, l4, l5, l6, l7 = self._sums.T
        return ((l0 + l4) + (l2 + l6)) + ((l1 + l5) + (l3 + l7))


def pair_scores(q: Operand, x: Operand, queries: np.ndarray, rows: np.ndarray, score: Score) -> np.ndarray:
    """(P,) canonical scores of the pairs (queries[i], rows[i])."""
    scores = np.empty(len(rows), score.dtype)
    for part, values in _parts(q, x, queries, rows, score):
        scores[part] = rounded(values, score.dtype)
    return scores


def pair_values(q: Operand, x: Operand, queries: np.ndarray, rows: np.ndarray, score: Score) -> np.ndarray:
    """The same before their one rounding, float64."""
    sums = np.empty(len(rows))
    for part, values in _parts(q, x, queries, rows, score):
        sums[part] = values
    return sums


def _parts(q: Operand, x: Operand, queries: np.ndarray, rows: np.ndarray, score: Score) -> Iterator[tuple[slice, np.ndarray]]:
    step = max(1, PAIR_ELEMENTS // max(8, min(q.dim, DEPTH)))
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        yield part, _pairs(q, x, queries[part], rows[part], score)


def _pairs(q: Operand, x: Operand, queries: np.ndarray, rows: np.ndarray, score: Score) -> np.ndarray:
    euclidean = score.metric in ("l2", "sqeuclidean")
    norms = needs_norms(score.metric)
    dot, qq, xx = Lanes(len(rows)), Lanes(len(rows)), Lanes(len(rows))
    sq, sx = q.scale(queries), x.scale(rows)
    for lo, hi in q.chunks():
        a = q.block(queries, lo, hi).astype(np.float64)
        b = x.block(rows, lo, hi).astype(np.float64)
        if euclidean:
            a = a if sq is None else sq[:, None] * a
            a -= b if sx is None else sx[:, None] * b
            dot.add(a, a)
            continue
        dot.add(a, b)
        if norms:
            qq.add(a, a)
            xx.add(b, b)
    if euclidean:
        squared = dot.total()
        return np.sqrt(squared) if score.metric == "l2" else squared
    return from_dot(score.metric, dot.total(), qq.total(), xx.total(), times(sq, sx))


def is_exact(score: Score) -> bool:
    """Whether a score comes out of exact integer sums: then any order of summation gives the canonical one."""
    return score.form in ("int", "bits") or (score.form == "row" and score.metric in SIMILARITIES)
