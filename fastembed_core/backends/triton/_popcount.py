"""Bits against bits by population count: for a few queries, whose products on tensor cores would take longer than reading the rows."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from ...ops.scores import Score
from ._allowed import Allowed, allowed
from ._canonical import EMPTY, from_dot, key_of
from ._launch import blocks, launch
from ._operand import Side

MOST = 4  # queries; of more, unpacking a row's bits for the tensor cores costs less than counting them for each
ROWS, WORDS = 128, 32


@triton.jit
def _ones(x):
    """Set bits of each uint32; the compiler knows these sums for the instruction that counts them."""
    x = x - ((x >> 1) & 0x55555555)
    x = (x & 0x33333333) + ((x >> 2) & 0x33333333)
    x = (x + (x >> 4)) & 0x0F0F0F0F
    return ((x * 0x01010101) >> 24).to(tl.int32)


@triton.jit(do_not_specialize=["first", "count", "n", "groups", "dim"])
def _popcount_kernel(
    q, q_stride, x, x_stride, mask, mask_stride, keys, first, count, n, groups, dim, width,
    METRIC: tl.constexpr, PACKED: tl.constexpr, Q_FLIP: tl.constexpr, X_FLIP: tl.constexpr,
    T: tl.constexpr, BN: tl.constexpr, BW: tl.constexpr, G: tl.constexpr,
):  # fmt: skip
    """keys[i, g] of query first + i and rows g * G to (g + 1) * G; strides and width in words."""
    i = tl.arange(0, T).to(tl.int64)
    tile = tl.program_id(0).to(tl.int64)
    rows = tile * BN + tl.arange(0, BN)
    wanted, inside = i < count, rows < n
    differ = tl.zeros((T, BN), tl.int32)
    both = tl.zeros((T, BN), tl.int32)
    for start in range(0, width, BW):
        word = start + tl.arange(0, BW)
        valid = tl.zeros((BW,), tl.int32)  # a row's last byte may end in pad bits
        for byte in tl.static_range(4):
            left = tl.minimum(tl.maximum(dim - 32 * word - 8 * byte, 0), 8)
            valid |= ((0xFF00 >> left) & 0xFF) << (8 * byte)
        a = tl.load(q + ((first + i) * q_stride)[:, None] + word[None, :], mask=wanted[:, None] & (word < width)[None, :], other=0)
        b = tl.load(x + (rows * x_stride)[:, None] + word[None, :], mask=inside[:, None] & (word < width)[None, :], other=0)
        a = ((a ^ Q_FLIP) & valid[None, :]).to(tl.uint32, bitcast=True)[:, None, :]
        b = ((b ^ X_FLIP) & valid[None, :]).to(tl.uint32, bitcast=True)[None, :, :]
        differ += tl.sum(_ones(a ^ b), axis=2)
        if METRIC == "jaccard":
            both += tl.sum(_ones(a & b), axis=2)
    if METRIC == "jaccard":  # |a| + |b| = |a ^ b| + 2 |a & b|
        key = key_of(from_dot(both.to(tl.float64), (differ + 2 * both).to(tl.float64), 0.0, 1.0, METRIC), False, False)
    else:
        key = differ
    may = allowed(mask, mask_stride, i, rows, wanted[:, None] & inside[None, :], PACKED)
    best = tl.min(tl.reshape(tl.where(may, key, EMPTY), (T, BN // G, G)), axis=2)
    group = tile * (BN // G) + tl.arange(0, BN // G)
    tl.store(keys + (i * groups)[:, None] + group[None, :], best, mask=wanted[:, None] & (group < groups)[None, :])


def countable(q: Side, x: Side, score: Score, t: int) -> bool:
    """Whether both sides are bits in whole words, and the queries few."""
    return score.form == "bits" and t <= MOST and all(_in_words(side.data) for side in (q, x))


def _in_words(data: torch.Tensor) -> bool:
    return (
        data.shape[1] % 4 == 0
        and (len(data) < 2 or data.stride(0) % 4 == 0)
        and data.storage_offset() % 4 == 0
        and data.data_ptr() % 4 == 0
    )


def counted_keys(q: Side, x: Side, first: int, keys: torch.Tensor, group: int, score: Score, may: Allowed) -> None:
    """Fill keys (t, groups) of queries first to first + t."""
    t = triton.next_power_of_2(len(keys))
    a, b = (side.data if len(side.data) > 1 else side.data.contiguous() for side in (q, x))
    launch(
        _popcount_kernel, blocks(x.n, ROWS), a.view(torch.int32), a.stride(0) // 4, b.view(torch.int32), b.stride(0) // 4,
        *may.arguments(first), keys, first, len(keys), x.n, keys.shape[1], x.dim, x.data.shape[1] // 4,
        METRIC=score.metric, PACKED=may.packed, Q_FLIP=_words(q.flip), X_FLIP=_words(x.flip), T=t, BN=ROWS, BW=WORDS, G=group,
        warps=4 * t,
    )  # fmt: skip


def _words(flip: int) -> int:
    """What flips each byte of a word, as an int32."""
    return flip * 0x01010101 - (1 << 32 if flip & 0x80 else 0)
