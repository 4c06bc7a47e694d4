"""Canonical scores of every row, block by block, and those among them that reach the threshold."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from ...arrays import to_device
from ...operands import Mask, Rows
from ...ops.scores import Score
from ._allowed import Allowed
from ._canonical import dtype_of
from ._dense import Dense, center_of
from ._gradient import pair_gradient, tracked
from ._operand import DEPTH, Operand, device_of, plainly
from ._rank import keys_of

BLOCK, CELLS = 1 << 20, 1 << 18  # elements of a block of rows, and of its scores with a tile of queries

Found = tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # query, row, score


def range_search(q: Rows, x: Rows, limits: np.ndarray, score: Score, mask: Mask | None, exclude: np.ndarray | None) -> Found:
    device = device_of(q, x)
    with plainly(device):
        parts = [tuple(torch.empty(0, dtype=dtype, device=device) for dtype in (torch.int64, torch.int64, dtype_of(score)))]
        if q.n and x.n:
            left, right = Operand(q, score, device), Operand(x, score, device)
            dense = Dense(left, right, score, center_of(right, score))
            bounds = to_device(limits.astype(np.float64), str(device))
            allowed = Allowed(mask, exclude, x.n, device)
            m = min(x.n, 1 << 14, max(64, BLOCK // max(1, min(x.dim, DEPTH))))
            t = max(1, CELLS // m)
            for lo in range(0, q.n, t):
                found = _found(dense, slice(lo, min(lo + t, q.n)), m, bounds, allowed)
                own, rows, scores = (torch.cat(part) for part in zip(*found, strict=True))
                parts.append(_sorted(own, rows, scores, score))
        own, rows, scores = (torch.cat(part) for part in zip(*parts, strict=True))
        indptr = torch.zeros(q.n + 1, dtype=torch.int64, device=device)
        indptr[1:] = torch.bincount(own, minlength=q.n).cumsum(0)
    if tracked(q, x):
        scores = _with_gradient(q, x, own, rows, scores, indptr, score)
    return indptr, scores, rows


def _found(dense: Dense, queries: slice, m: int, bounds: torch.Tensor, allowed: Allowed) -> Iterator[Found]:
    """What a tile of queries returns, block by block."""
    limits = bounds[queries, None]
    for lo in range(0, dense.x.n, m):
        block = slice(lo, min(lo + m, dense.x.n))
        scores = dense.scores(queries, block)
        wide = scores.double()
        kept = wide >= limits if dense.score.similarity else wide <= limits
        may = allowed.among(queries, block)
        i, j = (kept if may is None else kept & may).nonzero(as_tuple=True)
        yield i + queries.start, j + lo, scores[i, j]


def _sorted(own: torch.Tensor, rows: torch.Tensor, scores: torch.Tensor, score: Score) -> Found:
    """By query, then best first, then by row."""
    order = rows.argsort(stable=True)
    order = order[keys_of(scores[order], score).argsort(stable=True)]
    order = order[own[order].argsort(stable=True)]
    return own[order], rows[order], scores[order]


def _with_gradient(
    q: Rows, x: Rows, own: torch.Tensor, rows: torch.Tensor, scores: torch.Tensor, indptr: torch.Tensor, score: Score
) -> torch.Tensor:
    """The scores with a derivative, by way of the rectangle that `pair_gradient` takes."""
    place = torch.arange(len(own), device=own.device) - indptr[own]
    shape = (q.n, int(indptr.diff().max()) if q.n else 0)
    ids = torch.full(shape, -1, dtype=torch.int64, device=own.device).index_put((own, place), rows)
    values = torch.zeros(shape, dtype=scores.dtype, device=own.device).index_put((own, place), scores)
    return pair_gradient(q, x, ids, values, score, own.device)[own, place]
