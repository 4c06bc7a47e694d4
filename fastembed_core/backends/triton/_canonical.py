"""The canonical score of a pair, SEMANTICS section 3, and the integer keys that rank scores."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from ...ops.scores import Score
from ._operand import elements

EMPTY = tl.constexpr(2**31 - 1)  # a place no row fills: after every number and every NaN
NAN = tl.constexpr(2**31 - 2)


@triton.jit
def _tree(lanes, M: tl.constexpr, N: tl.constexpr):
    """(M, N, 8) to (M, N): ((l0 + l4) + (l2 + l6)) + ((l1 + l5) + (l3 + l7)), each sum of two."""
    fours = tl.sum(tl.reshape(lanes, (M, N, 2, 4)), axis=2)
    twos = tl.sum(tl.reshape(fours, (M, N, 2, 2)), axis=2)
    return tl.sum(twos, axis=2)


@triton.jit
def scales(scale, rows, valid):
    if scale is None:
        factors = tl.full(rows.shape, 1.0, tl.float64)
    else:
        factors = tl.load(scale + rows, mask=valid, other=0).to(tl.float64)
    return factors


@triton.jit
def canonical(
    q, q_stride, q_scale, q_ranges, q_rows, q_valid,
    x, x_stride, x_scale, x_ranges, x_rows, x_valid,
    dim, METRIC: tl.constexpr, Q_KIND: tl.constexpr, X_KIND: tl.constexpr, Q_FLIP: tl.constexpr, X_FLIP: tl.constexpr,
    M: tl.constexpr, N: tl.constexpr, PAIRED: tl.constexpr = False,
):  # fmt: skip
    """(M, N) float64 scores of M query rows with N corpus rows (int64 both), before their one rounding.

    PAIRED: (M, 1), of each query row with the corpus row in its place.
    """
    euclidean: tl.constexpr = METRIC == "l2" or METRIC == "sqeuclidean"
    lane = tl.arange(0, 8)[None, :]
    q_at, x_at = (q_rows * q_stride)[:, None], (x_rows * x_stride)[:, None]
    sq, sx = scales(q_scale, q_rows, q_valid)[:, None], scales(x_scale, x_rows, x_valid)
    sx = sx[:, None] if PAIRED else sx[None, :]
    dot = tl.zeros((M, N, 8), tl.float64)
    qq = tl.zeros((M, 1, 8), tl.float64)
    xx = tl.zeros((M if PAIRED else 1, N, 8), tl.float64)
    for first in range(0, dim, 8):
        columns = first + lane
        inside = columns < dim
        a = elements(q, q_ranges, q_at, columns, q_valid[:, None] & inside, dim, Q_KIND, Q_FLIP).to(tl.float64)[:, None, :]
        b = elements(x, x_ranges, x_at, columns, x_valid[:, None] & inside, dim, X_KIND, X_FLIP).to(tl.float64)
        b = b[:, None, :] if PAIRED else b[None, :, :]
        if euclidean:
            difference = sq[:, :, None] * a - sx[:, :, None] * b
            dot += difference * difference
        else:
            dot += a * b
            if METRIC != "ip":
                qq += a * a
                xx += b * b
    return from_dot(_tree(dot, M, N), _tree(qq, M, 1), _tree(xx, M if PAIRED else 1, N), sq * sx, METRIC)


@triton.jit
def from_dot(dot, qq, xx, scale, METRIC: tl.constexpr):
    """float64 scores from the dot product and squared norms of codes, and the product of their scales.

    Of distances, `dot` is the sum of squared differences already; of bits, norms are counts.
    """
    if METRIC == "ip":
        value = dot * scale
    elif METRIC == "cosine":
        norms = tl.sqrt(qq) * tl.sqrt(xx)
        zero = norms == 0  # then so is the dot product, or NaN where it met one
        value = tl.where(scale == scale, dot / tl.where(zero, 1.0, norms), float("nan"))
    elif METRIC == "hamming":
        value = qq + xx - 2 * dot
    elif METRIC == "jaccard":
        either = qq + xx - dot
        value = tl.where(either == 0, 0.0, (either - dot) / tl.where(either == 0, 1.0, either))
    elif METRIC == "l2":
        value = tl.sqrt(dot)
    else:
        value = dot
    return value


@triton.jit
def key_of(value, SIMILARITY: tl.constexpr, INTEGER: tl.constexpr):
    """The int32 key of a float64 score, rounded once: smaller is better, NaN comes last."""
    if INTEGER:
        key = value.to(tl.int32)
        if SIMILARITY:
            key = ~key
    else:
        score = value.to(tl.float32) + 0.0  # +0 for -0
        key = ordered(score)
        if SIMILARITY:
            key = ~key
        key = tl.where(score == score, key, NAN)
    return key


@triton.jit
def rounded(value, INTEGER: tl.constexpr):
    """The 32 bits of a float64 score, rounded once: of int32, or of float32 with +0 for -0 and one pattern for NaN."""
    if INTEGER:
        bits = value.to(tl.int32)
    else:
        score = value.to(tl.float32) + 0.0
        bits = tl.where(score == score, score.to(tl.int32, bitcast=True), 0x7FC00000)
    return bits


@triton.jit
def ordered(x):
    """float32 as int32 in the same order; NaN aside."""
    bits = x.to(tl.int32, bitcast=True)
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


def scores_of(keys: torch.Tensor, score: Score) -> torch.Tensor:
    """The scores that int32 keys came from; what is unfilled scores the worst there is."""
    codes = ~keys if score.similarity else keys
    if score.dtype.name == "int32":
        return codes.where(keys != EMPTY.value, score.unfilled)
    bits = codes ^ ((codes >> 31) & 0x7FFFFFFF)
    values = bits.view(torch.float32)
    return values.masked_fill(keys == NAN.value, torch.nan).masked_fill(keys == EMPTY.value, score.unfilled)
