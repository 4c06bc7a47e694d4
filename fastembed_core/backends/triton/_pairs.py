"""Keys of the canonical scores of given pairs."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from ...ops.scores import Score
from ._canonical import EMPTY, canonical, key_of
from ._launch import blocks, launch
from ._operand import Side

PAIRS = tl.constexpr(64)  # of one program: eight lanes each


@triton.jit(do_not_specialize=["first", "width", "dim"])
def _keys_kernel(
    q, q_stride, q_scale, q_ranges, x, x_stride, x_scale, x_ranges,
    ids, who, keys, flags, first, width, dim,
    METRIC: tl.constexpr, SIMILARITY: tl.constexpr, INTEGER: tl.constexpr,
    Q_KIND: tl.constexpr, X_KIND: tl.constexpr, Q_FLIP: tl.constexpr, X_FLIP: tl.constexpr,
):  # fmt: skip
    """keys[i, c] of query first + i, or first + who[i], and row ids[i, c], EMPTY where that is -1."""
    parts = tl.cdiv(width, PAIRS)
    i = (tl.program_id(0) // parts).to(tl.int64)
    if flags is not None:
        if tl.load(flags + i) == 0:
            return
    column = tl.program_id(0) % parts * PAIRS + tl.arange(0, PAIRS)
    inside = column < width
    rows = tl.load(ids + (i * width + column), mask=inside, other=-1)
    given = rows >= 0
    query = first + (i if who is None else tl.load(who + i)) + tl.zeros((1,), tl.int64)
    value = canonical(
        q, q_stride, q_scale, q_ranges, query, query >= 0, x, x_stride, x_scale, x_ranges, tl.where(given, rows, 0), given,
        dim, METRIC, Q_KIND, X_KIND, Q_FLIP, X_FLIP, 1, PAIRS,
    )  # fmt: skip
    key = key_of(tl.reshape(value, (PAIRS,)), SIMILARITY, INTEGER)
    tl.store(keys + (i * width + column), tl.where(given, key, EMPTY), mask=inside)


def keys_of(
    q: Side, x: Side, ids: torch.Tensor, first: int, score: Score, keys: torch.Tensor | None = None, flags: torch.Tensor | None = None,
    who: torch.Tensor | None = None,
) -> torch.Tensor:  # fmt: skip
    """(t, m) int32 keys of queries first to first + t, or first + who, with rows ids (t, m) int64, -1 for none; where flags is given, of
    those flagged."""
    keys = torch.empty(ids.shape, dtype=torch.int32, device=ids.device) if keys is None else keys
    launch(
        _keys_kernel, ids.shape[0] * blocks(ids.shape[1], PAIRS.value), *q.arguments, *x.arguments,
        ids, who, keys, flags, first, ids.shape[1], q.dim,
        METRIC=score.metric, SIMILARITY=score.similarity, INTEGER=score.dtype.name == "int32",
        Q_KIND=q.kind, X_KIND=x.kind, Q_FLIP=q.flip, X_FLIP=x.flip,
    )  # fmt: skip
    return keys
