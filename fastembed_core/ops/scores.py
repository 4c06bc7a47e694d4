"""What a pair of operands scores under a metric: the arithmetic, the result's dtype, which way it ranks.

Shared by every search operation; SEMANTICS in one table. The arithmetic has four forms:

=========  ==========================================================  ===========================================
form       operands (query x corpus)                                   score
=========  ==========================================================  ===========================================
``float``  float x anything                                            float32 from float64 lanes over the values
``int``    int8 x int8, uint8 x uint8 (bare, or codes with ranges)     int32 for ip and sqeuclidean, else float32
``row``    int8_row / int4_row x int8_row / int4_row                   float32 from the exact integer dot product
``bits``   bits x bits                                                 hamming int32, jaccard float32
=========  ==========================================================  ===========================================
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .. import metrics
from ..operands import Rows

# The largest D whose sum stays inside int32: 128 * 128 * 131071 and 255 * 255 * 33025 are below 2 ** 31.
MAX_DIM_INT8_IP = 131_071
MAX_DIM_8BIT = 33_025
MAX_DIM_BITS = 1 << 24  # the largest distance up to which float32, the type of scans' estimates, holds every whole number


@dataclass(frozen=True)
class Score:
    """How a pair is scored: the metric's own name, the form of the arithmetic, the result's dtype."""

    metric: str
    form: str
    dtype: np.dtype

    @property
    def similarity(self) -> bool:
        return metrics.is_similarity(self.metric)

    @property
    def unfilled(self) -> float | int:
        """The score of a place no row fills: the worst there is."""
        if self.dtype == np.int32:
            return int(np.iinfo(np.int32).min if self.similarity else np.iinfo(np.int32).max)
        return -np.inf if self.similarity else np.inf


_FLOATS = {metric: Score(metric, "float", np.dtype(np.float32)) for metric in metrics.METRICS if metric not in metrics.BIT_METRICS}


def score_of(q: Rows, x: Rows, metric: str | None, names: tuple[str, str] = ("queries", "corpus")) -> Score:
    """The Score of a pair of operands, or one sentence saying why they have none. None is cosine for floats, and no metric for others."""
    if q.dim != x.dim:
        raise ValueError(f"{names[1]}: got dimension {x.dim}, expected {q.dim} as in {names[0]}")
    if q.is_float and x.is_float:
        metric = metric or "cosine"
        if metric in _FLOATS:
            return _FLOATS[metric]
    form = _form(q, x)
    if form is None:
        raise TypeError(
            f"{names[0]} and {names[1]}: got {_say(q)} and {_say(x)}, expected float queries, or codes of one family on both sides"
        )
    bits = "bits" in (q.kind, x.kind)
    allowed = metrics.BIT_METRICS if form == "bits" else metrics.SIMILARITIES if bits else frozenset(_FLOATS)
    if metric is None:
        some = allowed | metrics.BIT_METRICS if form == "int" and q.ranges is None else allowed  # bare bytes may be bits
        raise TypeError(f"metric: got None for {_say(q)} and {_say(x)}, which have no default, expected one of {', '.join(sorted(some))}")
    if metric not in allowed:
        way = "; quantize(..., 'ubinary') makes bits of floats" if q.is_float and metric in metrics.BIT_METRICS else ""
        raise TypeError(f"metric: got {metric!r} for {_say(q)} and {_say(x)}, expected one of {', '.join(sorted(allowed))}{way}")
    if metric == "hamming":
        check_bits(q.dim, names[0])
    integer = metric == "hamming" or (form == "int" and metric in ("ip", "sqeuclidean"))
    if form in ("int", "row"):
        int8_dot = q.kind != "u8" and metric in metrics.SIMILARITIES
        limit = MAX_DIM_INT8_IP if int8_dot or form == "row" else MAX_DIM_8BIT
        if q.dim > limit:
            raise ValueError(
                f"{names[0]}: got dimension {q.dim} for {metric} on {_say(q)}, expected at most {limit} so that sums fit int32"
            )
    return Score(metric, form, np.dtype(np.int32 if integer else np.float32))


def check_bits(dim: int, name: str) -> None:
    """Raise for vectors of bits whose distances are not all numbers that float32 has."""
    if dim > MAX_DIM_BITS:
        raise ValueError(f"{name}: got {dim} bits, expected at most {MAX_DIM_BITS} so that float32 holds any distance")


def _form(q: Rows, x: Rows) -> str | None:
    if q.is_float:
        return "float"
    if x.is_float:
        return None
    if "bits" in (q.kind, x.kind):
        return "bits" if q.kind == x.kind else None
    if q.scale is not None and x.scale is not None:
        return "row"
    return "int" if q.scale is None and x.scale is None and q.kind == x.kind else None


def _say(rows: Rows) -> str:
    if rows.scale is not None:
        return {"i8": "int8_row codes", "i4": "int4_row codes"}[rows.kind]
    return {"f32": "float32", "f16": "float16", "bf16": "bfloat16", "f64": "float64", "i8": "int8", "u8": "uint8", "bits": "packed bits"}[
        rows.kind
    ]
