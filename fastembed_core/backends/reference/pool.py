"""Each sequence in float64, its embedding rounded to float32 once."""

import numpy as np

from ...arrays import round_to
from ...operands import Rows
from ...ops.pool import EPS, FLOAT_PRECISIONS, Recipe, Tokens
from ._scores import code_values
from .quantize import quantize


@np.errstate(invalid="ignore", over="ignore", divide="ignore", under="ignore")
def pool(x: Tokens, how: Recipe, out: np.ndarray, scale: np.ndarray | None) -> None:
    rows = np.zeros((x.n, how.dim))
    for b in range(x.n):
        states, positions, weights = x.sequence(b)
        if len(states):
            values = code_values(Rows(states, x.kind, states.shape[1]))
            rows[b] = embedding(values, positions, weights, how)[: how.dim]
    if how.normalize:
        rows /= np.maximum(np.sqrt((rows * rows).sum(axis=1)), EPS)[:, None]
    rounded = rows.astype(np.float32)
    if how.precision in FLOAT_PRECISIONS:
        out[...] = round_to(rounded, "f16" if how.precision == "float16" else "f32")
    else:
        quantize(Rows(rounded, "f32", how.dim), how.precision, how.ranges, out, scale)


def embedding(x: np.ndarray, positions: np.ndarray, weights: np.ndarray | None, how: Recipe) -> np.ndarray:
    """What the valid tokens x (n, D) of one sequence pool to, n at least 1."""
    if how.mode == "cls":
        return x[0]
    if how.mode == "lasttoken":
        return x[-1]
    if how.mode == "max":
        return x.max(axis=0)
    if how.mode == "attention":
        return attention(x, how.query.astype(np.float64), how.scale)
    w = np.ones(len(x)) if weights is None else weights.astype(np.float64)
    if how.mode == "weightedmean":
        w = w * (1 + positions)
    total = (w[:, None] * x).sum(axis=0)
    return total / (np.sqrt(w.sum()) if how.mode == "mean_sqrt_len_tokens" else w.sum())


def attention(x: np.ndarray, queries: np.ndarray, scale: float) -> np.ndarray:
    """softmax(scale * q . x_t) over the tokens times the tokens, for each query (over its own slice, if it is shorter)."""
    heads, width = queries.shape
    slices = np.split(x, heads, axis=1) if width < x.shape[1] else [x] * heads
    results = []
    for query, part in zip(queries, slices, strict=True):
        scores = scale * (part * query).sum(axis=1)
        p = np.exp(scores - scores.max())
        results.append((p[:, None] * part).sum(axis=0) / p.sum())
    return np.concatenate(results)
