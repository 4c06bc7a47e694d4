"""Canonical scores of every row, as the best key of each group of neighbours: what needs no certificate."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from ...ops.scores import Score
from ._allowed import Allowed, allowed
from ._canonical import EMPTY, canonical, key_of
from ._launch import blocks, launch
from ._operand import Side

M, N = tl.constexpr(2), tl.constexpr(128)  # queries and rows of a program


@triton.jit(do_not_specialize=["first", "count", "n", "groups", "dim"])
def _exact_kernel(
    q, q_stride, q_scale, q_ranges, x, x_stride, x_scale, x_ranges,
    mask, mask_stride, flags, keys, first, count, n, groups, dim,
    METRIC: tl.constexpr, SIMILARITY: tl.constexpr, INTEGER: tl.constexpr, PACKED: tl.constexpr,
    Q_KIND: tl.constexpr, X_KIND: tl.constexpr, Q_FLIP: tl.constexpr, X_FLIP: tl.constexpr, G: tl.constexpr,
):  # fmt: skip
    """keys[i, g] of query first + i and rows g * G to (g + 1) * G, for queries flagged where flags is given."""
    tiles = tl.cdiv(count, M)
    i = (tl.program_id(0) % tiles * M + tl.arange(0, M)).to(tl.int64)
    tile = (tl.program_id(0) // tiles).to(tl.int64)
    rows = tile * N + tl.arange(0, N)
    wanted = i < count
    if flags is not None:
        wanted = wanted & (tl.load(flags + i, mask=wanted, other=0) != 0)
        if tl.max(wanted.to(tl.int32), axis=0) == 0:
            return
    value = canonical(
        q, q_stride, q_scale, q_ranges, first + i, wanted, x, x_stride, x_scale, x_ranges, rows, rows < n,
        dim, METRIC, Q_KIND, X_KIND, Q_FLIP, X_FLIP, M, N,
    )  # fmt: skip
    key = key_of(value, SIMILARITY, INTEGER)
    key = tl.where(allowed(mask, mask_stride, i, rows, wanted[:, None] & (rows < n)[None, :], PACKED), key, EMPTY)
    best = tl.min(tl.reshape(key, (M, N // G, G)), axis=2)
    group = tile * (N // G) + tl.arange(0, N // G)
    tl.store(keys + (i * groups)[:, None] + group[None, :], best, mask=wanted[:, None] & (group < groups)[None, :])


def exact_keys(
    q: Side, x: Side, first: int, keys: torch.Tensor, group: int, score: Score, may: Allowed, flags: torch.Tensor | None = None
) -> None:
    """Fill keys (t, groups) of queries first to first + t."""
    t = keys.shape[0]
    launch(
        _exact_kernel, blocks(t, M.value) * blocks(x.n, N.value), *q.arguments, *x.arguments,
        *may.arguments(first), flags, keys, first, t, x.n, keys.shape[1], q.dim,
        METRIC=score.metric, SIMILARITY=score.similarity, INTEGER=score.dtype.name == "int32", PACKED=may.packed,
        Q_KIND=q.kind, X_KIND=x.kind, Q_FLIP=q.flip, X_FLIP=x.flip, G=group,
    )  # fmt: skip
