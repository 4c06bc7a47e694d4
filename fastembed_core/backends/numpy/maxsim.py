"""Blocked BLAS products; of each document's tokens, canonical scores of those that may be a query token's best."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ...operands import Mask
from ...ops.maxsim import ALMOST_LEAST, Queries, TokenSets, runs
from ...ops.scores import Score
from ._best import EMPTY, Best, keys_of, scores_of
from ._canonical import from_dot, is_exact, needs_norms, pair_values, rounded
from ._dense import Dense
from ._operand import Operand, span

TOKENS, CELLS = 1 << 12, 1 << 18  # tokens of a block of documents, and its scores with a tile of queries


@np.errstate(all="ignore")
def maxsim(q: Queries, x: TokenSets, k: int | None, score: Score, mask: Mask | None) -> Any:
    if k is None:
        matrix = np.full((q.n, x.n), score.unfilled, score.dtype)
        for queries, documents, scores in scored(q, x, score):
            matrix[queries, documents] = scores
        return matrix
    scores, indices = np.empty((q.n, k), score.dtype), np.full((q.n, k), -1, np.int64)
    keys = scores.view(np.uint32)
    keys[...] = EMPTY
    for queries, documents, some in scored(q, x, score) if k else ():
        offered = keys_of(np.maximum(some, ALMOST_LEAST) if score.dtype == np.int32 else some, score)
        if mask is not None:
            offered[~np.broadcast_to(mask.block(queries, documents.start, documents.stop), offered.shape)] = EMPTY
        Best(keys[queries], indices[queries]).merge(offered, np.arange(documents.start, documents.stop))
    scores[...] = scores_of(keys, score)
    if score.dtype == np.int32:
        scores[scores == ALMOST_LEAST] = score.unfilled
    return scores, indices


def scored(q: Queries, x: TokenSets, score: Score) -> Iterator[tuple[slice, slice, np.ndarray]]:
    """The scores of tiles of queries with blocks of documents."""
    a, b = Operand(q.rows, score), Operand(x.rows, score)
    dense = Dense(a, b, score, None)
    for documents in runs(np.concatenate([[0], np.cumsum(x.stops - x.starts)]), TOKENS):
        tokens = [x.tokens(j) for j in range(documents.start, documents.stop)]
        counts = np.array([len(some) for some in tokens])
        rows = np.concatenate(tokens)
        for queries in runs(q.offsets, max(1, CELLS // max(1, len(rows)))):
            at = np.arange(q.offsets[queries.start], q.offsets[queries.stop])
            result = np.full((queries.stop - queries.start, len(counts)), score.unfilled, score.dtype)
            filled = np.flatnonzero(counts)
            if len(filled):
                starts = np.cumsum(counts)[filled] - counts[filled]
                largest = maxima(dense, at, rows, starts, score)
                result[:, filled] = rounded(summed(largest, q.offsets[queries.start : queries.stop + 1] - at[:1].sum()), score.dtype)
            yield queries, documents, result


def maxima(dense: Dense, queries: np.ndarray, rows: np.ndarray, starts: np.ndarray, score: Score) -> np.ndarray:
    """(query tokens, documents) float64: the largest canonical score; documents begin at `starts` of the rows."""
    if len(queries) == 0:
        return np.zeros((0, len(starts)))
    at, these = span(queries), span(rows)
    if is_exact(score):
        sums = dense.sums(at, these, np.float32, needs_norms(score.metric))
        return np.maximum.reduceat(from_dot(score.metric, *sums, dense.scale(at, these)), starts, axis=1)
    value, error = dense.estimate(at, these)
    floor = np.maximum.reduceat(value - error, starts, axis=1)
    value += error
    i, j = np.nonzero(~(value < np.repeat(floor, np.diff(np.append(starts, len(rows))), axis=1)))
    value.fill(-np.inf)
    value[i, j] = pair_values(dense.q, dense.x, queries[i], rows[j], score)
    return np.maximum.reduceat(value, starts, axis=1)


def summed(largest: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """(queries, documents): the sum of each query's rows, one after the other."""
    total = np.zeros((len(offsets) - 1, largest.shape[1]))
    lengths = np.diff(offsets)
    for t in range(lengths.max(initial=0)):
        longer = np.flatnonzero(lengths > t)
        total[longer] += largest[offsets[longer] + t]
    return total
