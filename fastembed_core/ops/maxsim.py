"""maxsim: late interaction, the score of a query's tokens with a document's tokens."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from .. import dispatch
from ..arrays import Origin, float32_of, intake, integers_of, to_device, unread
from ..checks import count_of
from ..codes import Codes
from ..metrics import SIMILARITIES, canonical_name
from ..operands import Rows, in_front, kind_of, mask_of, multiples, plain_rows, rows_of
from ._search import Pair, deliver, outputs_of, places_spec
from ._spec import Spec
from ._traced import traced
from .scores import MAX_DIM_8BIT, MAX_DIM_INT8_IP, Score, check_bits, score_of

# A ranking by integer keys has no room between INT32_MIN, what a document without tokens scores, and a place that none fills:
# meanwhile such a document has this score, which no sum reaches.
ALMOST_LEAST = -(2**31) + 1


class TokenSets(NamedTuple):
    """Checked documents: set i is rows starts[i] to stops[i], or where ids is given the rows listed there, ascending.

    Where the rows are on a device, so is the rest.
    """

    rows: Rows
    starts: Any  # (N,) int64
    stops: Any
    ids: Any
    longest: int  # no set has more rows

    @property
    def n(self) -> int:
        return self.starts.shape[0]

    def on_host(self) -> TokenSets:
        """All but the rows in host memory."""
        return self._replace(starts=_host(self.starts), stops=_host(self.stops), ids=_host(self.ids))

    def tokens(self, i: int) -> np.ndarray:
        """The row numbers of set i."""
        start, stop = int(self.starts[i]), int(self.stops[i])
        return np.arange(start, stop) if self.ids is None else self.ids[start:stop]


class Queries(NamedTuple):
    """Checked queries: query i is rows offsets[i] to offsets[i + 1], every one of them valid. On a device more rows may follow."""

    rows: Rows
    offsets: Any  # (Q + 1,) int64, on the rows' device
    longest: int

    @property
    def n(self) -> int:
        return self.offsets.shape[0] - 1

    def on_host(self) -> Queries:
        """All but the rows in host memory."""
        return self._replace(offsets=_host(self.offsets))


def _host(x: Any) -> Any:
    return x if x is None or isinstance(x, np.ndarray) else x.cpu().numpy()


def runs(ends: np.ndarray, most: int) -> Iterator[slice]:
    """Runs of sets, whose bounds are `ends`, of about `most` rows in all, at least one set long."""
    start, n = 0, len(ends) - 1
    while start < n:
        stop = max(start + 1, int(np.searchsorted(ends, ends[start] + most, "right")) - 1)
        stop = min(stop, n, start + most)
        yield slice(start, stop)
        start = stop


@traced
def maxsim(
    queries: Any,
    documents: Any,
    *,
    query_offsets: Any = None,
    document_offsets: Any = None,
    query_mask: Any = None,
    document_mask: Any = None,
    k: int | None = None,
    metric: str | None = None,
    mask: Any = None,
    out: Any = None,
    backend: str | None = None,
) -> Any:
    """Late interaction: ``score(q, d) = sum over i of max over t of q_i . d_t``, for every query and document, or the k best.

    This is the score of ColBERT and of every multi-vector model (Khattab and Zaharia 2020), sentence-transformers'
    ``util.maxsim``, PyLate's ``colbert_scores``. The maximum is NaN where one of its scores is; a document with no valid
    token scores -inf (int32: the least integer) with every query, else a query with no valid token scores 0.

    Parameters
    ----------
    queries : (Q, T, D) padded, or (total, D) with `query_offsets`; (T, D) alone is one query. float32, float16, bfloat16,
        float64, int8, uint8, or `Codes` (with offsets)
    documents : (N, T, D), or (total, D) with `document_offsets`; likewise, of any type that has an inner product with the
        queries'. Read where they lie, whatever the strides over N and T.
    query_offsets, document_offsets : (n + 1,) integers rising from 0 to total: set i is tokens offsets[i] to offsets[i + 1]
    query_mask, document_mask : (n, T), or (total,) with offsets: bool, or 0 and 1; 1 = valid. None: all are. Masked tokens
        of documents are not read.
    k : return only the k best documents of each query
    metric : ``ip``, or ``cosine``: each token over its length first, what models that normalize their tokens do not need.
        None is ``ip``, but for bits on both sides, where it must be said: each bit is +1 or -1, so ``ip`` is D less twice
        the Hamming distance. Bits against float queries are +1 and -1 too.
    mask : with `k`: (N,) or (Q, N) bool, True = may be returned, or the same as packed little-endian bits in uint8
    out : (Q, N) scores to write into, or with `k` (scores, indices)
    backend : a backend's name; None chooses

    Returns
    -------
    (Q, N) float32, or int32 for ``ip`` of integers or bits on both sides, which is exact. A float score lies within
    (D + 64) * 2**-24 * sum over i of \\|q_i\\| max_t \\|d_t\\| of the exact one, and is the same for every thread count and batch.
    With `k`: (scores, indices), (Q, min(k, N)) each, best first, ties by the lowest index, padded as by `topk`. These scores
    are canonical (SEMANTICS section 3): the sum in order of the largest float64 scores, rounded once; identical bits from
    every backend, instruction set, thread count and batch.

    A torch input that requires grad while grad mode is on takes torch's own operations; scores are differentiable, the
    largest token's share each, the first of equals.

    Raises
    ------
    TypeError, ValueError
        for operands that have no score and for offsets or masks that do not fit, in one sentence that names the argument.
    """
    q, origin = _queries_of(queries, query_offsets, query_mask)
    x, x_origin = _sets_of(documents, document_offsets, document_mask, ("documents", "document_offsets", "document_mask"))
    if origin.device != x_origin.device:
        raise ValueError(f"documents: got an array on {x_origin.device}, expected {origin.device} as queries")
    score = _score_of(q, x, metric)
    grad = _tracked(q.rows) or _tracked(x.rows)
    p = Pair(q.rows, x.rows, score, x_origin if grad and not _tracked(q.rows) else origin, origin.device, grad)
    if k is None:
        if mask is not None:
            raise ValueError("mask: got an array without k, expected None; it says which documents may be among the k best")
        outs = None if out is None else outputs_of(out, p, maxsim_spec(q, x, None, score))
        scores = dispatch.run("maxsim", q, x, None, score, None, device=p.device, grad=grad, backend=backend)
        return deliver(scores, outs and outs[0], p.origin)
    places = min(count_of(k, "k"), x.n)
    allowed = mask_of(mask, q.n, x.n, p.device)
    outs = None if out is None else outputs_of(out, p, maxsim_spec(q, x, places, score))
    scores, indices = dispatch.run("maxsim", q, x, places, score, allowed, device=p.device, grad=grad, backend=backend)
    return deliver(scores, outs and outs[0], p.origin), deliver(indices, outs and outs[1], p.origin)


def maxsim_spec(q: Queries, x: TokenSets, k: int | None, score: Score, *_: Any) -> Spec | tuple[Spec, Spec]:
    return Spec((q.n, x.n), score.dtype.name) if k is None else places_spec(q.n, k, score)


def _tracked(rows: Rows) -> bool:
    return rows.is_torch and bool(rows.data.requires_grad)


def _score_of(q: Queries, x: TokenSets, metric: str | None) -> Score:
    bits = q.rows.kind == x.rows.kind == "bits"
    if metric is None and bits:
        raise TypeError("metric: got none for bits on both sides, expected ip or cosine said aloud; each bit is +1 or -1")
    name = "ip" if metric is None else canonical_name(metric)
    if name not in SIMILARITIES:
        raise ValueError(f"metric: got {metric!r}, expected ip or cosine")
    if bits and q.rows.dim == x.rows.dim:
        if name == "ip":
            check_bits(q.rows.dim, "queries")
        score = Score(name, "float", np.dtype(np.int32 if name == "ip" else np.float32))
    else:
        score = score_of(q.rows, x.rows, name, ("queries", "documents"))
    if score.dtype == np.int32:
        limit = {"i8": MAX_DIM_INT8_IP, "u8": MAX_DIM_8BIT}.get(q.rows.kind, 2**31 - 2)
        if q.longest * q.rows.dim > limit:
            raise ValueError(
                f"queries: got {q.longest} tokens of dimension {q.rows.dim}, expected at most {limit} elements so that sums fit int32"
            )
    return score


def _queries_of(queries: Any, offsets: Any, mask: Any) -> tuple[Queries, Origin]:
    """The queries' valid tokens one after the other; they are copied where they do not lie so."""
    names = ("queries", "query_offsets", "query_mask")
    if offsets is None and getattr(queries, "ndim", 2) == 2 and hasattr(queries, "shape"):
        offsets = multiples(1, queries.shape[0], intake(queries.data if isinstance(queries, Codes) else queries, "queries")[0])
        if mask is not None and getattr(mask, "ndim", 1) == 2 and tuple(mask.shape) == (1, queries.shape[0]):
            mask = mask[0]
    sets, origin = _sets_of(queries, offsets, mask, names, copy=True)
    if unread(sets.rows.data):
        rows, ends = sets.rows, sets.stops.new_zeros(sets.n + 1)
        ends[1:] = sets.stops
        return Queries(rows if sets.ids is None else _picked(rows, sets.ids), ends, sets.longest), origin
    ends = np.concatenate([[0], np.cumsum(sets.stops - sets.starts)])
    rows = sets.rows
    if sets.ids is not None or ends[-1] != rows.n or (sets.starts != ends[:-1]).any():
        picked = np.concatenate([sets.tokens(i) for i in range(sets.n)]) if sets.n else np.empty(0, np.int64)
        rows = _picked(rows, to_device(picked, str(rows.data.device)) if rows.is_torch else picked)
    return Queries(rows, ends, sets.longest), origin


def _picked(rows: Rows, at: Any) -> Rows:
    return Rows(rows.data[at], rows.kind, rows.dim, None if rows.scale is None else rows.scale[at], rows.ranges, rows.flip)


def _sets_of(x: Any, offsets: Any, mask: Any, names: tuple[str, str, str], copy: bool = False) -> tuple[TokenSets, Origin]:
    name = names[0]
    if getattr(x, "ndim", 2) == 3:
        if offsets is not None:
            raise ValueError(f"{names[1]}: got an array for {name} of 3 dimensions, expected None")
        n, length = x.shape[:2]
        rows, step, origin = _flat(x, name, copy)
        shape: tuple[int, ...] = (n, length)
        bounds = multiples(n, length, rows.data)
    else:
        rows, origin = rows_of(x, name, copy_inner=copy)
        if offsets is None:
            raise ValueError(f"{name}: got 2 dimensions, expected (N, T, D), or (total, D) with {names[1]}")
        bounds = _offsets_of(offsets, names[1], rows.n, origin.device)
        shape, length, step = (rows.n,), 1, 1
    longest = shape[1] if len(shape) == 2 else rows.n if unread(bounds) else int(np.diff(bounds).max(initial=0))
    if unread(rows.data):
        bounds, places = to_device(bounds, str(rows.data.device)), None
        if mask is not None:
            places, bounds = in_front(to_device(_valid_of(mask, names[2], shape, name), str(rows.data.device)), bounds)
        return TokenSets(rows, bounds[:-1], bounds[1:], places, longest), origin
    if mask is None:
        starts = bounds[:-1] // length * step if length else bounds[:-1]
        return TokenSets(rows, starts, starts + np.diff(bounds), None, longest), origin
    valid = np.flatnonzero(_valid_of(mask, names[2], shape, name))
    ends = np.searchsorted(valid, bounds)
    valid = valid // length * step + valid % length if length else valid
    first, count = ends[:-1], np.diff(ends)
    some = np.flatnonzero(count)
    starts = np.zeros(len(count), np.int64)
    starts[some] = valid[first[some]]
    if (valid[first[some] + count[some] - 1] - starts[some] == count[some] - 1).all():
        return TokenSets(rows, starts, starts + count, None, longest), origin
    return TokenSets(rows, first.astype(np.int64), ends[1:].astype(np.int64), valid, longest), origin


def _offsets_of(offsets: Any, name: str, total: int, device: str) -> Any:
    ends = integers_of(offsets, name, device)
    if ends.ndim != 1 or ends.shape[0] == 0:
        raise ValueError(f"{name}: got shape {tuple(ends.shape)}, expected (n + 1,)")
    if unread(ends):  # nobody has looked at them: what they name is there, whatever they are
        return ends.clamp(0, total).cummax(0).values
    if ends[0] != 0 or ends[-1] != total or (ends[1:] < ends[:-1]).any():
        raise ValueError(f"{name}: got {ends[0]} to {ends[-1]}, expected it to rise from 0 to {total}, the number of tokens")
    return ends


def _valid_of(mask: Any, name: str, shape: tuple[int, ...], beside: str) -> Any:
    data, dtype, _ = intake(mask, name)
    if not dtype.startswith(("bool", "int", "uint", "float", "bfloat")):
        raise TypeError(f"{name}: got {dtype}, expected bool, or 0 and 1 in an integer or float type")
    if tuple(data.shape) != shape:
        raise ValueError(f"{name}: got shape {tuple(data.shape)}, expected {shape}, {beside} without their last axis")
    if unread(data):
        return (data != 0).reshape(-1)
    values = data if isinstance(data, np.ndarray) else data.detach().float().numpy()
    if dtype == "bfloat16" and isinstance(data, np.ndarray):
        values = float32_of(data, "bf16")
    valid: np.ndarray = values == 1
    if not (valid | (values == 0)).all():
        raise ValueError(f"{name}: got the value {values[~(valid | (values == 0))].flat[0]}, expected 0 and 1 alone")
    return valid.reshape(-1)


def _flat(x: Any, name: str, copy: bool) -> tuple[Rows, int, Origin]:
    """(n, length, D) as rows, where set i begins at row i * step: a view wherever all tokens lie whole steps apart."""
    data, dtype, origin = intake(x, name)
    kind = kind_of(dtype, name)
    n, length, dim = data.shape
    if not isinstance(data, np.ndarray):
        return Rows(plain_rows(data.reshape(-1, dim), name, copy_inner=True), kind, dim), length, origin
    outer, inner = data.strides[:2]
    inner = outer if length <= 1 else inner
    step = length if n <= 1 else outer // inner if inner else 0
    if n and length and n > 1 and (outer != step * inner or step < 0):
        if not copy:
            raise ValueError(
                f"{name}: got strides of {outer} and {inner} bytes, expected sets whole tokens apart;"
                " numpy.ascontiguousarray makes such a copy"
            )
        data, step = np.ascontiguousarray(data), length
        inner = data.strides[1]
    count = (n - 1) * step + length if n and length else 0
    flat = np.lib.stride_tricks.as_strided(data, (count, dim), (inner, data.strides[2]), writeable=False)
    return Rows(plain_rows(flat, name, copy), kind, dim), step, origin
