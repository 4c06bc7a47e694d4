"""Canonical scores (SEMANTICS section 3) and their selection as compiled loops, one thread each, without the GIL."""

from __future__ import annotations

import math

import numpy as np
from numba import njit, types

METRICS = ("ip", "cosine", "jaccard", "l2", "sqeuclidean", "hamming")
IP, COSINE, JACCARD, L2, SQEUCLIDEAN, HAMMING = range(6)
EMPTY, NAN = np.uint32(0xFFFFFFFF), np.uint32(0xFFFFFFFE)
SIGN, ALL = np.uint32(0x80000000), np.uint32(0xFFFFFFFF)


def _array(dtype: types.Type, ndim: int, written: bool = False) -> types.Array:
    """One signature for every caller: what is only read may be read-only, and lie at any address."""
    return types.Array(dtype, ndim, "C", readonly=not written, aligned=written)


_QUERIES, _BLOCK, _VECTOR = _array(types.float64, 2), _array(types.float32, 2), _array(types.float64, 1)
_options = {"nogil": True, "cache": True}


@njit(types.float64(*[types.float64] * 8), inline="always")
def _tree(l0, l1, l2, l3, l4, l5, l6, l7):  # type: ignore[no-untyped-def]
    return ((l0 + l4) + (l2 + l6)) + ((l1 + l5) + (l3 + l7))


@njit(types.float64(_QUERIES, types.int64, _BLOCK, types.int64), **_options)
def _dot(a, i, b, j):  # type: ignore[no-untyped-def]
    """Eight lanes in eight scalars: arrays of eight would live in memory, and cost twice the time."""
    l0 = l1 = l2 = l3 = l4 = l5 = l6 = l7 = 0.0
    n = a.shape[1]
    whole = n // 8 * 8
    for d in range(0, whole, 8):
        l0 += a[i, d] * np.float64(b[j, d])
        l1 += a[i, d + 1] * np.float64(b[j, d + 1])
        l2 += a[i, d + 2] * np.float64(b[j, d + 2])
        l3 += a[i, d + 3] * np.float64(b[j, d + 3])
        l4 += a[i, d + 4] * np.float64(b[j, d + 4])
        l5 += a[i, d + 5] * np.float64(b[j, d + 5])
        l6 += a[i, d + 6] * np.float64(b[j, d + 6])
        l7 += a[i, d + 7] * np.float64(b[j, d + 7])
    rest = n - whole
    l0 += a[i, whole] * np.float64(b[j, whole]) if rest > 0 else 0.0
    l1 += a[i, whole + 1] * np.float64(b[j, whole + 1]) if rest > 1 else 0.0
    l2 += a[i, whole + 2] * np.float64(b[j, whole + 2]) if rest > 2 else 0.0
    l3 += a[i, whole + 3] * np.float64(b[j, whole + 3]) if rest > 3 else 0.0
    l4 += a[i, whole + 4] * np.float64(b[j, whole + 4]) if rest > 4 else 0.0
    l5 += a[i, whole + 5] * np.float64(b[j, whole + 5]) if rest > 5 else 0.0
    l6 += a[i, whole + 6] * np.float64(b[j, whole + 6]) if rest > 6 else 0.0
    return _tree(l0, l1, l2, l3, l4, l5, l6, l7)


@njit(types.float64(types.float64, types.float64, types.float64, types.float64), inline="always")
def _square(sa, a, sb, b):  # type: ignore[no-untyped-def]
    difference = sa * a - sb * b
    return difference * difference


@njit(types.float64(_QUERIES, types.int64, types.float64, _BLOCK, types.int64, types.float64), **_options)
def _distance(a, i, sa, b, j, sb):  # type: ignore[no-untyped-def]
    l0 = l1 = l2 = l3 = l4 = l5 = l6 = l7 = 0.0
    n = a.shape[1]
    whole = n // 8 * 8
    for d in range(0, whole, 8):
        l0 += _square(sa, a[i, d], sb, np.float64(b[j, d]))
        l1 += _square(sa, a[i, d + 1], sb, np.float64(b[j, d + 1]))
        l2 += _square(sa, a[i, d + 2], sb, np.float64(b[j, d + 2]))
        l3 += _square(sa, a[i, d + 3], sb, np.float64(b[j, d + 3]))
        l4 += _square(sa, a[i, d + 4], sb, np.float64(b[j, d + 4]))
        l5 += _square(sa, a[i, d + 5], sb, np.float64(b[j, d + 5]))
        l6 += _square(sa, a[i, d + 6], sb, np.float64(b[j, d + 6]))
        l7 += _square(sa, a[i, d + 7], sb, np.float64(b[j, d + 7]))
    rest = n - whole
    l0 += _square(sa, a[i, whole], sb, np.float64(b[j, whole])) if rest > 0 else 0.0
    l1 += _square(sa, a[i, whole + 1], sb, np.float64(b[j, whole + 1])) if rest > 1 else 0.0
    l2 += _square(sa, a[i, whole + 2], sb, np.float64(b[j, whole + 2])) if rest > 2 else 0.0
    l3 += _square(sa, a[i, whole + 3], sb, np.float64(b[j, whole + 3])) if rest > 3 else 0.0
    l4 += _square(sa, a[i, whole + 4], sb, np.float64(b[j, whole + 4])) if rest > 4 else 0.0
    l5 += _square(sa, a[i, whole + 5], sb, np.float64(b[j, whole + 5])) if rest > 5 else 0.0
    l6 += _square(sa, a[i, whole + 6], sb, np.float64(b[j, whole + 6])) if rest > 6 else 0.0
    return _tree(l0, l1, l2, l3, l4, l5, l6, l7)


@njit(types.void(_QUERIES, _BLOCK, _array(types.float64, 1, written=True)), **_options)
def squares(wide, rows, out):  # type: ignore[no-untyped-def]
    """out[j] = the canonical squared norm of row j, given as float64 and as float32."""
    for j in range(rows.shape[0]):
        out[j] = _dot(wide, j, rows, j)


@njit(types.float64(types.int64, _QUERIES, types.int64, _VECTOR, _VECTOR, _BLOCK, types.int64, _VECTOR, _VECTOR), **_options)
def _score(metric, a, i, aa, sa, b, j, bb, sb):  # type: ignore[no-untyped-def]
    """The float64 score of row i of a with row j of b; aa, bb are squared norms of the codes, sa, sb their scales."""
    if metric in (L2, SQEUCLIDEAN):
        squared = _distance(a, i, sa[i], b, j, sb[j])
        return math.sqrt(squared) if metric == L2 else squared
    dot, scale = _dot(a, i, b, j), sa[i] * sb[j]
    if metric == IP:
        return dot * scale
    if metric == COSINE:
        norms = math.sqrt(aa[i]) * math.sqrt(bb[j])
        return math.nan if math.isnan(scale) else dot if norms == 0.0 else dot / norms
    both = aa[i] + bb[j] - dot
    if metric == HAMMING:
        return both - dot
    return 0.0 if both == 0.0 else (both - dot) / both


_SIDES = (_QUERIES, _VECTOR, _VECTOR, _BLOCK, _VECTOR, _VECTOR)


@njit(types.void(types.int64, *_SIDES, _array(types.float64, 2, written=True)), **_options)
def score_block(metric, a, aa, sa, b, bb, sb, out):  # type: ignore[no-untyped-def]
    """out[i, j] = the float64 score of every query with every row of a block."""
    for j in range(b.shape[0]):
        for i in range(a.shape[0]):
            out[i, j] = _score(metric, a, i, aa, sa, b, j, bb, sb)


@njit(types.uint32(types.float64, types.boolean, types.boolean), **_options)
def _key(score, integer, similarity):  # type: ignore[no-untyped-def]
    """The score as an integer that ranks like it, smaller is better: NaN after every number."""
    if integer:
        bits = np.uint32(np.int64(score) & 0xFFFFFFFF) ^ SIGN
    elif math.isnan(score):
        return NAN
    else:
        plain = np.float32(np.float32(score) + np.float32(0)).view(np.uint32)
        bits = plain ^ (ALL if plain & SIGN else SIGN)
    return bits ^ ALL if similarity else bits


@njit(types.boolean(types.uint32, types.int64, types.uint32, types.int64), inline="always")
def _worse(key, row, other_key, other_row):  # type: ignore[no-untyped-def]
    return key > other_key or (key == other_key and row > other_row)


_KEYS, _ROWS = _array(types.uint32, 2, written=True), _array(types.int64, 2, written=True)


@njit(types.void(_KEYS, _ROWS, types.int64, types.int64, types.int64), **_options)
def _sift(keys, rows, i, at, size):  # type: ignore[no-untyped-def]
    """Move the entry at `at` of query i's heap down to where it is worse than both below it; the worst is at 0."""
    key, row = keys[i, at], rows[i, at]
    while 2 * at + 1 < size:
        below = 2 * at + 1
        if below + 1 < size and _worse(keys[i, below + 1], rows[i, below + 1], keys[i, below], rows[i, below]):
            below += 1
        if not _worse(keys[i, below], rows[i, below], key, row):
            break
        keys[i, at], rows[i, at] = keys[i, below], rows[i, below]
        at = below
    keys[i, at], rows[i, at] = key, row


_OFFER = (_array(types.int64, 1), _array(types.boolean, 2), _KEYS, _ROWS)


@njit(types.void(types.int64, types.boolean, types.boolean, *_SIDES, *_OFFER), **_options)
def select_block(metric, integer, similarity, a, aa, sa, b, bb, sb, numbers, allowed, keys, rows):  # type: ignore[no-untyped-def]
    """Offer the rows of a block, by their numbers, to each query's heap of the k best; `allowed` may be empty.

    Rows ascend from call to call, so that one with the key of the worst held never takes its place.
    """
    k, every = keys.shape[1], allowed.shape[0] == 0
    for j in range(b.shape[0]):
        for i in range(a.shape[0]):
            if not every and not allowed[i, j]:
                continue
            key = _key(_score(metric, a, i, aa, sa, b, j, bb, sb), integer, similarity)
            if key < keys[i, 0]:
                keys[i, 0], rows[i, 0] = key, numbers[j]
                _sift(keys, rows, i, 0, k)


@njit(types.void(_KEYS, _ROWS), **_options)
def sort_heaps(keys, rows):  # type: ignore[no-untyped-def]
    """Each query's heap, best first."""
    for i in range(keys.shape[0]):
        for size in range(keys.shape[1] - 1, 0, -1):
            keys[i, 0], keys[i, size] = keys[i, size], keys[i, 0]
            rows[i, 0], rows[i, size] = rows[i, size], rows[i, 0]
            _sift(keys, rows, i, 0, size)
