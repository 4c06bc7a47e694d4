"""The canonical score of a pair: SEMANTICS sections 2 and 3, word for word."""

import numpy as np

from ...operands import Rows
from ...ops.scores import Score


def lanes(terms: np.ndarray) -> np.ndarray:
    """Sum float64 terms (..., D) in the canonical order: lane j adds terms j, j + 8, ...; then a fixed tree."""
    acc = np.zeros((*terms.shape[:-1], 8))
    for start in range(0, terms.shape[-1], 8):
        part = terms[..., start : start + 8]
        acc[..., : part.shape[-1]] += part
    l0, l1, l2, l3, l4, l5, l6, l7 = np.moveaxis(acc, -1, 0)
    return ((l0 + l4) + (l2 + l6)) + ((l1 + l5) + (l3 + l7))


def bits_of(x: Rows) -> np.ndarray:
    """(n, dim) of 0 and 1: packed most significant bit first, pad bits dropped."""
    return np.unpackbits(x.data.view(np.uint8) ^ np.uint8(x.flip), axis=1)[:, : x.dim]


def code_values(x: Rows) -> np.ndarray:
    """(n, dim) float64: the elements as stored, before any per-row scale. A bit is +1 or -1."""
    if x.kind == "bits":
        return bits_of(x) * 2.0 - 1.0
    if x.kind == "i4":
        nibbles = np.stack([x.data & 15, x.data >> 4], axis=2).reshape(x.n, 2 * x.data.shape[1])[:, : x.dim]
        return nibbles.astype(np.float64) - 8.0
    if x.kind == "bf16":
        return (x.data.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    if x.kind == "f64":
        return x.data.astype(np.float32).astype(np.float64)
    return x.data.astype(np.float64)


def values(x: Rows) -> np.ndarray:
    """(n, dim) float64: what canonical sums run over. Codes with ranges stand for their dequantized float32 values."""
    v = code_values(x)
    if x.ranges is None:
        return v
    low, step = x.ranges.astype(np.float64)
    return (step * (v + (128.0 if x.kind == "i8" else 0.0)) + low).astype(np.float32).astype(np.float64)


def scales(x: Rows) -> np.ndarray:
    """(n,) float64: the per-row scale, 1 where there is none."""
    return np.ones(x.n) if x.scale is None else x.scale.astype(np.float64)


def bit_scores(q: Rows, x: Rows, metric: str) -> np.ndarray:
    a, b = bits_of(q).astype(np.int64), bits_of(x).astype(np.int64)
    both = a @ b.T
    either = a.sum(1)[:, None] + b.sum(1)[None] - both
    if metric == "hamming":
        return (either - both).astype(np.int32)
    return finish(np.where(either == 0, 0.0, (either - both) / np.maximum(either, 1)))


def finish(score: np.ndarray) -> np.ndarray:
    """One rounding to float32; -0 becomes +0 and every NaN 0x7FC00000."""
    with np.errstate(over="ignore"):
        rounded = score.astype(np.float32) + np.float32(0)
    rounded[np.isnan(rounded)] = np.array(0x7FC00000, np.uint32).view(np.float32)
    return rounded


@np.errstate(invalid="ignore", over="ignore", divide="ignore")
def canonical(q: Rows, x: Rows, score: Score) -> np.ndarray:
    """(Q, N) canonical scores, float32 or int32."""
    if score.form == "bits":
        return bit_scores(q, x, score.metric)
    dequantize = score.form == "float"  # codes with ranges on both sides are their integers, as the host does
    a, b = (values(q), values(x)) if dequantize else (code_values(q), code_values(x))
    sa, sb = scales(q), scales(x)
    rows = [one_query(a[i], sa[i], b, sb, score.metric) for i in range(q.n)]
    full = np.array(rows).reshape(q.n, x.n)
    return full.astype(np.int32) if score.dtype == np.int32 else finish(full)


def one_query(a: np.ndarray, sa: float, b: np.ndarray, sb: np.ndarray, metric: str) -> np.ndarray:
    """(N,) float64 scores of one query's codes `a` (scale sa) with the rows' codes `b` (scales sb)."""
    if metric in ("l2", "sqeuclidean"):
        difference = sa * a - sb[:, None] * b
        squared = lanes(difference * difference)
        return np.sqrt(squared) if metric == "l2" else squared
    dot = lanes(a * b)
    if metric == "ip":
        return dot * (sa * sb)
    norms = np.sqrt(lanes(a * a)) * np.sqrt(lanes(b * b))
    cosine = np.where(norms == 0, dot, dot / norms)  # a zero row's dot product is 0, or NaN where it met one
    return np.where(np.isnan(sa * sb), np.nan, cosine)  # a row that held no number has NaN for its scale


def ranking(score: np.ndarray, index: np.ndarray, similarity: bool) -> np.ndarray:
    """The order of one query's results: numbers best first, then NaN, each by the lowest index."""
    key = score.astype(np.float64) * (-1 if similarity else 1)
    return np.lexsort((index, np.where(np.isnan(key), 0, key), np.isnan(key)))
