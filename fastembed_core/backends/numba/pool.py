"""One loop over sequences and tokens; sums in float64."""

from collections.abc import Iterator

import numba
import numpy as np

from ...arrays import float32_of
from ...ops.pool import MODES, Recipe, Tokens
from ..numpy.pool import finish

_BLOCK = 1 << 20  # elements widened, or gathered from odd strides, at a time


@np.errstate(invalid="ignore", over="ignore", under="ignore")
def pool(x: Tokens, how: Recipe, out: np.ndarray, scale: np.ndarray | None) -> None:
    attention = how.mode == "attention"
    queries = how.query if attention else np.zeros((0, 0), np.float32)
    rows = np.zeros((x.n, queries.size if attention else how.dim), np.float32)
    for at, states, part in _dense(x):
        flat = part.offsets is not None
        ends = part.offsets if flat else np.arange(part.n + 1) * states.shape[1]
        mask = np.zeros(0, bool) if part.mask is None else part.mask.reshape(-1)
        weights = np.zeros(0, np.float32) if part.weights is None else part.weights.reshape(-1)
        tokens = states.reshape(-1, states.shape[-1])
        _pool(tokens, ends, mask, weights, MODES.index(how.mode), queries, np.float32(how.scale), rows[at])
    finish(np.ascontiguousarray(rows[:, : how.dim]), how, out, scale)


def _dense(x: Tokens) -> Iterator[tuple[slice, np.ndarray, Tokens]]:
    """Runs of sequences and their states as dense float32: all at once where they are that, else in copies of a few MiB."""
    if x.kind == "f32" and x.data.flags.c_contiguous and x.data.flags.aligned:
        yield slice(0, x.n), x.data, x
        return
    for at, part in x.blocks(_BLOCK):
        yield at, np.ascontiguousarray(float32_of(part.data, x.kind)), part


def _read(dtype: numba.types.Type, ndim: int) -> numba.types.Array:
    return numba.types.Array(dtype, ndim, "C", readonly=True)


_f4 = numba.types.float32
_signature = numba.types.void(
    _read(_f4, 2),
    _read(numba.types.int64, 1),
    _read(numba.types.boolean, 1),
    _read(_f4, 1),
    numba.types.int64,
    _read(_f4, 2),
    _f4,
    _f4[:, ::1],
)
MEAN, MAX, CLS, LASTTOKEN, WEIGHTEDMEAN, MEAN_SQRT_LEN_TOKENS, ATTENTION = range(len(MODES))


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _attend(token, queries, scale, sums, tops, masses):  # type: ignore[no-untyped-def]
    """Online softmax: sums and masses are relative to the highest score met, and rescaled when it rises."""
    heads, width = queries.shape
    step = width if width < token.size else 0
    for h in range(heads):
        dot = 0.0
        for d in range(width):
            dot += np.float64(token[h * step + d]) * queries[h, d]
        score = np.float32(dot * scale)
        acc = sums[h * width : (h + 1) * width]
        if score > tops[h]:
            factor = np.exp(np.float64(tops[h]) - score)
            masses[h] *= factor
            for d in range(width):
                acc[d] *= factor
            tops[h] = score
        p = np.exp(np.float64(score) - (0.0 if tops[h] == -np.inf else tops[h]))
        masses[h] += p
        for d in range(width):
            acc[d] += p * token[h * step + d]


# One signature: layouts and read-only flags would each compile another.
@numba.njit(_signature, nogil=True, cache=True, error_model="numpy")
def _pool(tokens, ends, mask, weights, mode, queries, scale, rows):  # type: ignore[no-untyped-def]
    width = rows.shape[1]
    sums = np.zeros(width)
    tops = np.zeros(queries.shape[0], np.float32)
    masses = np.zeros(queries.shape[0])
    for b in range(rows.shape[0]):
        first, total = -1, 0.0
        sums[:] = 0.0
        tops[:] = -np.inf
        masses[:] = 0.0
        for t in range(ends[b], ends[b + 1]):
            if mask.size and not mask[t]:
                continue
            fresh = first < 0
            first = t if fresh else first
            if mode == ATTENTION:
                _attend(tokens[t], queries, scale, sums, tops, masses)
            elif mode == MAX and not fresh:
                for d in range(width):
                    v = tokens[t, d]
                    rows[b, d] = v if v > rows[b, d] or v != v else rows[b, d]
            elif mode in (MAX, LASTTOKEN) or (mode == CLS and fresh):
                rows[b] = tokens[t, :width]
            elif mode != CLS:
                w = weights[t] if weights.size else np.float32(1)
                if mode == WEIGHTEDMEAN:
                    w *= np.float32(1 + t - first)
                total += np.float64(w)
                for d in range(width):
                    sums[d] += np.float64(w) * tokens[t, d]
        if first < 0 or mode in (MAX, CLS, LASTTOKEN):
            continue
        for d in range(width):
            divisor = masses[d // queries.shape[1]] if mode == ATTENTION else total
            rows[b, d] = sums[d] / (np.sqrt(divisor) if mode == MEAN_SQRT_LEN_TOKENS else divisor)
