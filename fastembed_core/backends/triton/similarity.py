"""Canonical scores of all pairs, each tile of them one program's."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

from ...operands import Rows
from ...ops.scores import Score
from ._canonical import canonical, rounded
from ._launch import blocks, device_of, launch, on
from ._operand import Side, side_of

M, N = tl.constexpr(2), tl.constexpr(128)  # rows of each operand that a program takes, and
PAIRS = tl.constexpr(64)  # of both where row i meets row i


@triton.jit(do_not_specialize=["m", "n", "dim"])
def _scores_kernel(
    q, q_stride, q_scale, q_ranges, x, x_stride, x_scale, x_ranges, scores, m, n, dim,
    METRIC: tl.constexpr, INTEGER: tl.constexpr, Q_KIND: tl.constexpr, X_KIND: tl.constexpr, Q_FLIP: tl.constexpr, X_FLIP: tl.constexpr,
):  # fmt: skip
    """scores[i, j] of rows i of q and j of x."""
    tiles = tl.cdiv(m, M)
    i = (tl.program_id(0) % tiles).to(tl.int64) * M + tl.arange(0, M)
    j = (tl.program_id(0) // tiles).to(tl.int64) * N + tl.arange(0, N)
    value = canonical(
        q, q_stride, q_scale, q_ranges, i, i < m, x, x_stride, x_scale, x_ranges, j, j < n,
        dim, METRIC, Q_KIND, X_KIND, Q_FLIP, X_FLIP, M, N,
    )  # fmt: skip
    tl.store(scores + (i * n)[:, None] + j[None, :], rounded(value, INTEGER), mask=(i < m)[:, None] & (j < n)[None, :])


@triton.jit(do_not_specialize=["n", "dim"])
def _paired_kernel(
    q, q_stride, q_scale, q_ranges, x, x_stride, x_scale, x_ranges, scores, n, dim,
    METRIC: tl.constexpr, INTEGER: tl.constexpr, Q_KIND: tl.constexpr, X_KIND: tl.constexpr, Q_FLIP: tl.constexpr, X_FLIP: tl.constexpr,
):  # fmt: skip
    """scores[i] of rows i of both."""
    i = tl.program_id(0).to(tl.int64) * PAIRS + tl.arange(0, PAIRS)
    value = canonical(
        q, q_stride, q_scale, q_ranges, i, i < n, x, x_stride, x_scale, x_ranges, i, i < n,
        dim, METRIC, Q_KIND, X_KIND, Q_FLIP, X_FLIP, PAIRS, 1, True,
    )  # fmt: skip
    tl.store(scores + i, tl.reshape(rounded(value, INTEGER), (PAIRS,)), mask=i < n)


def _how(q: Side, x: Side, score: Score) -> dict[str, Any]:
    kinds = {"Q_KIND": q.kind, "X_KIND": x.kind, "Q_FLIP": q.flip, "X_FLIP": x.flip}
    return {"METRIC": score.metric, "INTEGER": score.dtype.name == "int32", **kinds}


def _space(shape: tuple[int, ...], score: Score, device: torch.device) -> torch.Tensor:
    return torch.empty(shape, dtype=torch.int32 if score.dtype.name == "int32" else torch.float32, device=device)


def similarity(q: Rows, x: Rows, score: Score) -> torch.Tensor:
    device = device_of(q, x)
    with on(device):
        a, b, scores = side_of(q, score, device), side_of(x, score, device), _space((q.n, x.n), score, device)
        programs = blocks(q.n, M.value) * blocks(x.n, N.value)
        launch(
            _scores_kernel, programs, *a.arguments, *b.arguments, scores.view(torch.int32), q.n, x.n, q.dim, **_how(a, b, score), warps=8
        )
    return scores


def similarity_paired(q: Rows, x: Rows, score: Score) -> torch.Tensor:
    device = device_of(q, x)
    with on(device):
        a, b, scores = side_of(q, score, device), side_of(x, score, device), _space((q.n,), score, device)
        programs = blocks(q.n, PAIRS.value)
        launch(_paired_kernel, programs, *a.arguments, *b.arguments, scores.view(torch.int32), q.n, q.dim, **_how(a, b, score))
    return scores
