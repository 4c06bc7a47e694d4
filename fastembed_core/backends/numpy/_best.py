"""The k best of each query so far, ordered by one integer: the score mapped so that smaller is better."""

from __future__ import annotations

import numpy as np

from ...ops.scores import Score

EMPTY = np.uint32(0xFFFFFFFF)  # a place no row fills: after every number and every NaN
NAN = np.uint32(0xFFFFFFFE)
_SIGN = np.uint32(0x80000000)
MERGE = 1 << 18  # entries merged at a time


def keys_of(scores: np.ndarray, score: Score) -> np.ndarray:
    """uint32 that rank as SEMANTICS section 4 ranks these scores (int32, or float32 as `rounded` leaves them)."""
    bits = scores.view(np.uint32)
    if score.dtype == np.int32:
        keys = bits ^ _SIGN
        return ~keys if score.similarity else keys
    keys = np.where(bits & _SIGN, ~bits, bits | _SIGN)
    if score.similarity:
        keys = ~keys
    keys[np.isnan(scores)] = NAN
    return keys


def scores_of(keys: np.ndarray, score: Score) -> np.ndarray:
    """The scores `keys_of` made these of; EMPTY becomes the score of an unfilled place."""
    plain = ~keys if score.similarity else keys
    bits = plain ^ _SIGN if score.dtype == np.int32 else np.where(plain & _SIGN, plain ^ _SIGN, ~plain)
    scores = bits.view(score.dtype)
    if score.dtype != np.int32:
        scores[keys == NAN] = np.array(0x7FC00000, np.uint32).view(np.float32)
    scores[keys == EMPTY] = score.unfilled
    return scores


class Best:
    """For each of t queries its k best (key, row), best first. Rows must be offered in ascending order of number."""

    def __init__(self, keys: np.ndarray, rows: np.ndarray) -> None:
        self.keys, self.rows = keys, rows  # (t, k), written in place; EMPTY and -1 to begin with

    @property
    def last(self) -> np.ndarray:
        """(t,) the k-th best key: a new row must be strictly better, for at equal keys the lower number stays."""
        return self.keys[:, -1]

    def merge(self, keys: np.ndarray, rows: np.ndarray, first: int = 0) -> None:
        """Offer keys (g, m) of rows (m,) or (g, m) to the queries from `first` on; EMPTY keys offer nothing."""
        k = self.keys.shape[1]
        step = max(1, MERGE // (k + keys.shape[1]))
        for lo in range(0, keys.shape[0], step):
            part = slice(lo, lo + step)
            held = slice(first + lo, first + min(lo + step, keys.shape[0]))
            self._merge(held, keys[part], rows if rows.ndim == 1 else rows[part])

    def _merge(self, held: slice, keys: np.ndarray, rows: np.ndarray) -> None:
        # Key above, place below: what is held comes first and new rows ascend, so that places order equal keys by row.
        (g, k), m = self.keys[held].shape, keys.shape[1]
        order = np.empty((g, k + m), np.uint64)
        order[:, :k], order[:, k:] = self.keys[held], keys
        order <<= np.uint64(32)
        for cut in _cuts(k + m):
            order[:, cut] |= np.arange(cut.start, cut.stop, dtype=np.uint64)
        if m > k:
            order.partition(k - 1, axis=1)
            order = order[:, :k]
        order.sort(axis=1)
        order = order[:, :k]
        merged = np.empty((g, k), np.int64)
        for cut in _cuts(k):
            place = (order[:, cut] & np.uint64(0xFFFFFFFF)).astype(np.int64)
            offered = place >= k
            where = np.where(offered, place - k, 0)
            new = rows[where] if rows.ndim == 1 else np.take_along_axis(rows, where, 1)
            merged[:, cut] = np.where(offered, new, np.take_along_axis(self.rows[held], np.where(offered, 0, place), 1))
        order >>= np.uint64(32)
        self.keys[held] = order
        merged[order == EMPTY] = -1
        self.rows[held] = merged

    def merge_flat(self, queries: np.ndarray, rows: np.ndarray, keys: np.ndarray) -> None:
        """Offer single pairs, ordered by query and then by row."""
        counts = np.bincount(queries, minlength=len(self.keys))
        ends = np.cumsum(counts)
        step = max(1, MERGE // (self.keys.shape[1] + int(counts.max(initial=0))))
        for lo in range(0, len(counts), step):
            hi = min(lo + step, len(counts))
            width = int(counts[lo:hi].max(initial=0))
            if width:
                part = slice(int(ends[lo] - counts[lo]), int(ends[hi - 1]))
                where = (queries[part] - lo, np.arange(part.start, part.stop) - (ends - counts)[queries[part]])
                self.merge(padded(keys[part], where, (hi - lo, width), EMPTY), padded(rows[part], where, (hi - lo, width), -1), lo)


def _cuts(n: int) -> list[slice]:
    """[0, n) in pieces, so that where k is large the temporaries are not."""
    return [slice(lo, min(lo + MERGE, n)) for lo in range(0, n, MERGE)]


def padded(values: np.ndarray, where: tuple[np.ndarray, np.ndarray], shape: tuple[int, int], fill: object) -> np.ndarray:
    """Ragged values as a rectangle."""
    out = np.full(shape, fill, values.dtype)
    out[where] = values
    return out
