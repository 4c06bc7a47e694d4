"""Canonical scores (SEMANTICS section 3) of single pairs, and the arithmetic after the sums."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from ...metrics import SIMILARITIES
from ...ops.scores import Score
from ._operand import DEPTH, GRAIN, Operand

DEVICE_ELEMENTS = 1 << 20  # float64 elements of each temporary on a device


def dtype_of(score: Score) -> torch.dtype:
    return torch.int32 if score.dtype.name == "int32" else torch.float32


def is_exact(score: Score) -> bool:
    """Whether a score comes out of exact integer sums: then any order of summation gives the canonical one."""
    return score.form in ("int", "bits") or (score.form == "row" and score.metric in SIMILARITIES)


def times(a: torch.Tensor | None, b: torch.Tensor | None) -> torch.Tensor | None:
    """The product of two scales, either of which may be missing."""
    return a if b is None else b if a is None else a * b


def from_dot(metric: str, dot: torch.Tensor, qq: torch.Tensor, xx: torch.Tensor, scale: torch.Tensor | None) -> torch.Tensor:
    """float64 scores from the dot product and the squared norms of codes, and the product of their scales."""
    if metric == "ip":
        return dot if scale is None else dot * scale
    if metric == "cosine":
        norms = qq.sqrt() * xx.sqrt()
        cosine = torch.where(norms == 0, dot, dot / norms)
        return cosine if scale is None else cosine.masked_fill(scale.isnan(), torch.nan)
    if metric == "jaccard":
        either = qq + xx - dot
        return torch.where(either == 0, 0.0, (either - dot) / either)
    squared = qq + xx - 2 * dot  # of integers, exact; of bits, the number that differ
    return squared.sqrt() if metric == "l2" else squared


def rounded(values: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """float64 scores in the result's type: one rounding, +0 for -0, one pattern for NaN."""
    if dtype == torch.int32:
        return values.to(dtype)
    scores = values.to(dtype) + 0.0
    return scores.masked_fill_(scores.isnan(), torch.nan)


class Lanes:
    """Eight float64 sums a row; lane j adds terms j, j + 8, ... in order."""

    def __init__(self, rows: int, device: torch.device) -> None:
        self.sums = torch.zeros(rows, 8, dtype=torch.float64, device=device)

    def add(self, terms: torch.Tensor) -> None:
        whole = terms.shape[1] // 8 * 8
        for d in range(0, whole, 8):
            self.sums.add_(terms[:, d : d + 8])
        self.sums[:, : terms.shape[1] - whole] += terms[:, whole:]

    def total(self) -> torch.Tensor:
        l0, l1, l2, l3, l4, l5, l6, l7 = self.sums.unbind(1)
        return ((l0 + l4) + (l2 + l6)) + ((l1 + l5) + (l3 + l7))


def pair_scores(q: Operand, x: Operand, queries: torch.Tensor, rows: torch.Tensor, score: Score) -> torch.Tensor:
    """(P,) canonical scores of the pairs (queries[i], rows[i])."""
    scores = torch.empty(len(rows), dtype=dtype_of(score), device=q.device)
    for out, values in _parts(q, x, queries, rows, score, scores):
        out.copy_(rounded(values, scores.dtype))
    return scores


def pair_values(q: Operand, x: Operand, queries: torch.Tensor, rows: torch.Tensor, score: Score) -> torch.Tensor:
    """The same before their one rounding, float64."""
    sums = torch.empty(len(rows), dtype=torch.float64, device=q.device)
    for out, values in _parts(q, x, queries, rows, score, sums):
        out.copy_(values)
    return sums


def _parts(
    q: Operand, x: Operand, queries: torch.Tensor, rows: torch.Tensor, score: Score, out: torch.Tensor
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    elements = GRAIN if q.device.type == "cpu" else DEVICE_ELEMENTS  # on the host: in the calling thread, as `converted` says
    step = max(1, elements // max(8, min(q.dim, DEPTH)))
    for part, i, j in zip(out.split(step), queries.split(step), rows.split(step), strict=True):
        yield part, _pairs(q, x, i, j, score)


def _pairs(q: Operand, x: Operand, queries: torch.Tensor, rows: torch.Tensor, score: Score) -> torch.Tensor:
    euclidean = score.metric in ("l2", "sqeuclidean")
    dot, qq, xx = (Lanes(len(rows), q.device) for _ in range(3))
    sq, sx = q.scale(queries), x.scale(rows)
    for lo, hi in q.chunks():
        a, b = q.block(queries, lo, hi).double(), x.block(rows, lo, hi).double()
        if euclidean:
            difference = (a if sq is None else sq[:, None] * a) - (b if sx is None else sx[:, None] * b)
            dot.add(difference * difference)
            continue
        dot.add(a * b)
        if score.metric != "ip":
            qq.add(a * a)
            xx.add(b * b)
    if euclidean:
        return dot.total().sqrt() if score.metric == "l2" else dot.total()
    return from_dot(score.metric, dot.total(), qq.total(), xx.total(), times(sq, sx))
