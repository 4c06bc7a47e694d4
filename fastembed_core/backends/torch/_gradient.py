"""The differentiable path: scores keep their canonical values, their derivatives are those of the formulas in float64.

Where a formula has no derivative (the cosine of a zero row, the distance between equal rows) the gradient is zero.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ...operands import Rows
from ...ops.maxsim import Queries, TokenSets
from ...ops.scores import Score
from ._canonical import times
from ._operand import Operand


def tracked(*operands: Rows) -> bool:
    """Whether a gradient is to flow back into one of the operands."""
    return torch.is_grad_enabled() and any(rows.is_torch and rows.data.requires_grad for rows in operands)


class _Valued(torch.autograd.Function):  # type: ignore[misc]  # torch is untyped here
    """`value` in the forward direction, the derivative of `formula` in the backward one."""

    @staticmethod
    def forward(ctx: Any, formula: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None]:
        return grads[0].double(), None


def _values(operand: Operand, rows: torch.Tensor | slice) -> torch.Tensor:
    """(m, D) float64 elements of some rows, before any scale; differentiable where the operand is."""
    data = operand.rows.data
    if operand.rows.is_torch and data.requires_grad:
        data = data[rows] if isinstance(rows, slice) else data.index_select(0, rows)
        return data.float().double()
    parts = [operand.block(rows, lo, hi).double() for lo, hi in operand.chunks()]
    return torch.cat(parts, 1)


def _formula(
    score: Score,
    dot: torch.Tensor,
    aa: torch.Tensor,
    bb: torch.Tensor,
    squared: torch.Tensor,
    scale: torch.Tensor | None,
    value: torch.Tensor,
) -> torch.Tensor:
    """What a score's derivative is taken of; `value` are the scores themselves."""
    if score.metric == "ip":
        return dot if scale is None else dot * scale
    if score.metric == "cosine":
        return dot * _inverse_root(aa) * _inverse_root(bb)
    if score.metric == "l2":
        slope = value.double().reciprocal().div(2)  # of a square root: a constant, as only the first factor is to be differentiated
        return squared * slope.masked_fill(value == 0, 0.0)
    return squared


def _inverse_root(squares: torch.Tensor) -> torch.Tensor:
    none = squares == 0
    return squares.masked_fill(none, 1.0).rsqrt().masked_fill(none, 0.0)


def pair_gradient(q: Rows, x: Rows, rows: torch.Tensor, scores: torch.Tensor, score: Score, device: torch.device) -> torch.Tensor:
    """`scores` (Q, k) of given rows, -1 = none, with a derivative: the rows are gathered, (Q, k, D) in float64."""
    queries, corpus = Operand(q, score, device), Operand(x, score, device)
    filled = rows >= 0
    a = _values(queries, slice(0, q.n))
    ids = rows.clamp(min=0).flatten()
    b = _values(corpus, ids).unflatten(0, rows.shape)
    b = b.masked_fill(~filled[:, :, None], 0.0)  # what lies in row 0 is none of an unfilled place's business
    sx = corpus.scale(ids)
    sx = None if sx is None else sx.view(rows.shape)
    if score.metric in ("l2", "sqeuclidean"):
        difference = a[:, None] - (b if sx is None else b * sx[:, :, None])
        squared = difference.square().sum(2)
        formula = _formula(score, squared, squared, squared, squared, None, scores)
    else:
        dot = torch.einsum("qd,qkd->qk", a, b)
        formula = _formula(score, dot, a.square().sum(1)[:, None], b.square().sum(2), dot, sx, scores)
    return _Valued.apply(formula.masked_fill(~filled, 0.0), scores)


def matrix_gradient(q: Rows, x: Rows, scores: torch.Tensor, score: Score, device: torch.device) -> torch.Tensor:
    """`scores` (Q, N) of all pairs with a derivative."""
    queries, corpus = Operand(q, score, device), Operand(x, score, device)
    a, b = _values(queries, slice(0, q.n)), _values(corpus, slice(0, x.n))
    scale = times(None, corpus.scale(slice(0, x.n)))
    if score.metric in ("l2", "sqeuclidean") and scale is not None:
        b, scale = b * scale[:, None], None
    dot, aa, bb = a @ b.T, a.square().sum(1)[:, None], b.square().sum(1)
    formula = _formula(score, dot, aa, bb, aa + bb - 2 * dot, scale, scores)
    return _Valued.apply(formula, scores)


def paired_gradient(q: Rows, x: Rows, scores: torch.Tensor, score: Score, device: torch.device) -> torch.Tensor:
    """`scores` (N,) of the pairs (i, i) with a derivative."""
    rows = torch.arange(q.n, device=device)[:, None]
    return pair_gradient(q, x, rows, scores[:, None], score, device)[:, 0]


def late_gradient(
    q: Queries, x: TokenSets, documents: torch.Tensor | None, scores: torch.Tensor, score: Score, device: torch.device
) -> torch.Tensor:
    """`scores` of all documents, or (Q, k) of given ones, -1 = none, with a derivative: that of each largest product."""
    queries, tokens = Operand(q.rows, score, device), Operand(x.rows, score, device)
    a = _values(queries, slice(0, int(q.offsets[-1])))
    owner = torch.repeat_interleave(torch.arange(q.n, device=device), torch.as_tensor(np.diff(q.offsets), device=device))
    needed = range(x.n) if documents is None else sorted(set(documents.flatten().tolist()) - {-1})
    columns = [scores.new_zeros(q.n, dtype=torch.float64)]  # of an unfilled place
    for j in needed:
        ids = torch.as_tensor(x.tokens(j), device=device)
        if len(ids) == 0:
            columns.append(columns[0])
            continue
        b = _values(tokens, ids)
        dot = a @ b.T
        products = _formula(score, dot, a.square().sum(1)[:, None], b.square().sum(1), dot, tokens.scale(ids), dot)
        columns.append(columns[0].index_add(0, owner, products.max(1).values))
    formula = torch.stack(columns, 1)
    if documents is None:
        return _Valued.apply(formula[:, 1:], scores)
    place = torch.searchsorted(torch.tensor(needed, dtype=torch.int64, device=device), documents) + 1
    return _Valued.apply(formula.gather(1, place.masked_fill(documents < 0, 0)), scores)
