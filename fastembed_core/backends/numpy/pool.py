"""Sequence after sequence: the valid tokens, summed in float32 by pieces of 64."""

from typing import Any

import numpy as np

from ...arrays import float32_of, round_to
from ...operands import Rows
from ...ops.pool import EPS, FLOAT_PRECISIONS, SUMS, Recipe, Tokens
from .normalize import normalize
from .quantize import quantize

_PIECE = 64  # tokens; a sum of n is 64 + n / 64 additions deep


@np.errstate(invalid="ignore", over="ignore", divide="ignore", under="ignore")
def pool(x: Tokens, how: Recipe, out: np.ndarray, scale: np.ndarray | None) -> None:
    rows = np.zeros((x.n, how.dim), np.float32)
    for b in range(x.n):
        states, positions, weights = x.sequence(b)
        if len(states) == 0:
            continue
        if how.mode == "attention":
            rows[b] = _attention(float32_of(states, x.kind), how.query, how.scale)[: how.dim]
        else:
            rows[b] = _embedding(states[:, : how.dim], x.kind, positions, weights, how.mode)
    finish(rows, how, out, scale)


def finish(rows: np.ndarray, how: Any, out: np.ndarray, scale: np.ndarray | None) -> None:
    """Normalize float32 rows, in place, and write them in the precision that `how` says."""
    if how.normalize:
        normalize(Rows(rows, "f32", rows.shape[1]), EPS, rows)
    if how.precision in FLOAT_PRECISIONS:
        out[...] = round_to(rows, "f16" if how.precision == "float16" else "f32")
    else:
        quantize(Rows(rows, "f32", rows.shape[1]), how.precision, how.ranges, out, scale)


def _embedding(states: np.ndarray, kind: str, positions: np.ndarray, weights: np.ndarray | None, mode: str) -> np.ndarray:
    if mode not in SUMS:
        one = {"cls": slice(0, 1), "lasttoken": slice(-1, None), "max": slice(None)}[mode]
        return float32_of(states[one], kind).max(axis=0)
    if mode == "weightedmean":
        places = (1 + positions).astype(np.float32)
        weights = places if weights is None else places * weights
    divisor = len(states) if weights is None else weights.sum(dtype=np.float64)
    return _sum(float32_of(states, kind), weights) / np.float32(np.sqrt(divisor) if mode == "mean_sqrt_len_tokens" else divisor)


def _sum(x: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    total = np.zeros(x.shape[1], np.float32)
    for start in range(0, len(x), _PIECE):
        piece = slice(start, start + _PIECE)
        total += (x[piece] if weights is None else weights[piece, None] * x[piece]).sum(axis=0)
    return total


def _attention(x: np.ndarray, queries: np.ndarray, scale: float) -> np.ndarray:
    heads, width = queries.shape
    parts = x.reshape(len(x), heads, width).swapaxes(0, 1) if width < x.shape[1] else [x] * heads
    rows = []
    for query, part in zip(queries, parts, strict=True):
        scores = np.einsum("td,d->t", part, query) * np.float32(scale)  # no BLAS: its sums change with its threads
        p = np.exp(scores - scores.max())
        rows.append(_sum(part, p) / np.float32(p.sum(dtype=np.float64)))
    return np.concatenate(rows)
