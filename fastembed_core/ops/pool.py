"""pool: one embedding for each sequence of token states."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from .. import dispatch
from ..arrays import Origin, beside, float32_of, intake, integers_of, unread
from ..codes import DIM_PRECISIONS, PRECISIONS, ROW_PRECISIONS, STORAGE, Codes, code_width
from ._direct import direct
from ._rows import dim_of, floats_of, is_plain, matrix_of, output_of, tracked
from ._spec import Spec
from ._traced import traced

MODES = ("mean", "max", "cls", "lasttoken", "weightedmean", "mean_sqrt_len_tokens", "attention")
SUMS = frozenset({"mean", "weightedmean", "mean_sqrt_len_tokens"})
FLOAT_PRECISIONS = ("float32", "float16")
EPS = 1e-12  # the least divisor of an L2 normalization, as everywhere


class Tokens(NamedTuple):
    """Checked token states. Side arrays lie densely on the host, or beside the states on their device."""

    data: Any  # (B, T, D), or (total, D) with offsets
    kind: str
    mask: Any  # bool, the shape of data without its last axis; None: every token is valid
    weights: Any  # float32, likewise; None: 1
    offsets: Any  # (B + 1,) int64: sequence b is rows offsets[b] to offsets[b + 1]; None without them

    @property
    def n(self) -> int:
        return self.data.shape[0] if self.offsets is None else self.offsets.shape[0] - 1

    def sequence(self, b: int) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """(states, positions, weights) of the valid tokens of sequence b on the host; positions count from the first of them."""
        at: Any = b if self.offsets is None else slice(self.offsets[b], self.offsets[b + 1])
        states = self.data[at]
        valid = np.arange(len(states)) if self.mask is None else np.flatnonzero(self.mask[at])
        if len(valid) == 0:
            return states[:0], valid, None
        start, run = valid[0], valid[-1] + 1 - valid[0] == len(valid)
        picked: Any = slice(start, start + len(valid)) if run else valid
        return states[picked], valid - start, None if self.weights is None else self.weights[at][picked]

    def blocks(self, elements: int) -> Iterator[tuple[slice, Tokens]]:
        """Runs of sequences of about `elements` elements in all, at least one sequence long: which ones, and their tokens."""
        lengths = np.full(self.n, self.data.shape[-2]) if self.offsets is None else np.diff(self.offsets)
        full = np.cumsum(lengths) * self.data.shape[-1] // elements
        starts = [0, *(np.flatnonzero(np.diff(full)) + 1), self.n]
        for start, stop in pairwise(starts):
            ends = None if self.offsets is None else self.offsets[start : stop + 1]
            at = slice(start, stop) if ends is None else slice(ends[0], ends[-1])
            mask, weights = (None if side is None else side[at] for side in (self.mask, self.weights))
            yield slice(start, stop), Tokens(self.data[at], self.kind, mask, weights, None if ends is None else ends - ends[0])


class Recipe(NamedTuple):
    """What becomes of each sequence."""

    mode: str
    query: Any  # (H, D) or (H, D / H) float32 for attention
    scale: float
    dim: int  # elements kept
    normalize: bool
    precision: str
    ranges: Any  # (2, dim) float32 minimum and maximum, where the states are


@direct
@traced
def pool(
    tokens: Any,
    mask: Any = None,
    *,
    mode: str = "mean",
    cu_seqlens: Any = None,
    query: Any = None,
    scale: float | None = None,
    token_weights: Any = None,
    truncate_dim: int | None = None,
    normalize: bool = False,
    precision: str = "float32",
    ranges: Any = None,
    out: Any = None,
    backend: str | None = None,
) -> Any:
    """Token states to one embedding a sequence: mask, pool, truncate, normalize and quantize in one pass.

    With x_t the valid tokens of a sequence, n their number, w_t their weights (1 without `token_weights`), p_t = 1 + their
    position counted from the first valid token:

    ``mean``                  sum(w_t x_t) / sum(w_t)
    ``mean_sqrt_len_tokens``  sum(w_t x_t) / sqrt(sum(w_t))
    ``weightedmean``          sum(p_t w_t x_t) / sum(p_t w_t)
    ``max``                   the largest of each element; NaN where a valid token has NaN
    ``cls``, ``lasttoken``    the first, the last valid token, wherever the padding is
    ``attention``             softmax(scale * q . x_t) over t, times x_t: for each learned query q what
                              ``torch.nn.functional.scaled_dot_product_attention(query, tokens, tokens)`` returns

    A sequence with no valid token pools to zeros in every mode. Masked tokens are not read: NaN under a mask never shows. A
    result depends on the valid tokens, their order (and positions, for ``weightedmean``) alone: padding, threads and the rest
    of the batch leave every bit of it as it is. The first six modes are those of sentence-transformers 6.2 ``Pooling``, but
    for an empty sequence, and for weights, which it leaves to its caller to multiply in.

    Parameters
    ----------
    tokens : (B, T, D), or (total, D) with `cu_seqlens`; float32, float16, bfloat16 or float64 (rounded to float32). Any
        strides over B and T are read in place; feature maps are (B, H * W, C).
    mask : (B, T), or (total,) with `cu_seqlens`: bool, or 0 and 1 in any integer or float type; 1 = valid. None: all are.
    mode : see above
    cu_seqlens : (B + 1,) integers rising from 0 to total: sequence b is tokens cu_seqlens[b] to cu_seqlens[b + 1]
    query : for ``attention``. (D,), or (H, D): each query attends over whole tokens, and their results stand side by side
        in one row of H * D, of which ``.reshape(B, H, D)`` is the view by query. (H, D // H): H heads, each over its own slice.
    scale : for ``attention``; None is 1 / sqrt of the query's elements
    token_weights : the shape of `mask`, float: for the three means
    truncate_dim : keep the first elements (Matryoshka embeddings), before normalization
    normalize : divide by max(L2 norm, 1e-12)
    precision : ``float32``, ``float16``, ``int8_row``, ``int4_row``, ``binary``, ``ubinary``, or with `ranges` ``int8``, ``uint8``
    ranges : (2, D') minimum and maximum of each element kept, as `calibrate` returns them
    out : (B, width) array to write into, of the result's type (for `Codes`, of their data's)
    backend : a backend's name; None chooses

    Returns
    -------
    (B, D') float32 or float16, or `Codes`, in the kind and on the device of `tokens`; D' is D (H * D for H queries) or
    truncate_dim. Codes are, bit for bit, those `quantize` gives for the float32 result of the same backend.

    Sums are float32 in pieces of 64 tokens. Before normalization the means lie within (80 + n / 64) * 2**-24 * m of the exact
    value, m the same mean of \\|x_t\\|; max, cls and lasttoken are exact. In attention each weight has besides the relative error
    (D / 8 + 64) * 2**-23 * \\|scale\\| * \\|q\\| * max\\|x_t\\|. Normalization is exact to 1 ulp. Sums beyond float32 are infinite.

    A torch input (tokens, query, weights) that requires grad while grad mode is on takes torch's own operations and is
    differentiable, in float32 and float16.

    Raises
    ------
    TypeError, ValueError
        for shapes and types that do not fit, arguments of another mode or precision, mask values other than 0 and 1 (looked
        for in host memory), in one sentence that names the argument.
    """
    if mode not in MODES:
        raise ValueError(f"mode: got {mode!r}, expected one of {', '.join(MODES)}")
    states, origin = _tokens_of(tokens, mask, cu_seqlens, token_weights, mode)
    recipe = _recipe_of(states, origin, mode, query, scale, truncate_dim, normalize, precision, ranges)
    operands = (states.data, states.weights, recipe.query)
    grad = any(x is not None and tracked(x) for x in operands)
    if grad:
        check_differentiable(precision, out)
        origin = origin if tracked(states.data) else Origin("torch", origin.device)
    spec, scale_spec = pool_spec(states, recipe)
    target = None if out is None else output_of(out, *spec, origin, "tokens")
    if grad or not isinstance(states.data, np.ndarray):
        result, row_scale = dispatch.run("pool", states, recipe, None, None, device=origin.device, grad=grad, backend=backend)
        if target is not None:
            target.copy_(result)
    else:
        result = np.empty(*spec) if target is None else target
        row_scale = None if scale_spec is None else np.empty(*scale_spec)
        _on_host(states, recipe, result, row_scale, backend)
    result = origin.give(result) if out is None else out
    if precision not in PRECISIONS:
        return result
    return Codes(result, precision, recipe.dim, origin.give(row_scale), origin.give(recipe.ranges))


def pool_spec(x: Any, how: Any, *_: Any) -> tuple[Spec, Spec | None]:
    """Rows of x.n floats or codes, and the scales of those that have them; of `embedding_bag` too."""
    codes = how.precision in PRECISIONS
    width = code_width(how.precision, how.dim) if codes else how.dim
    scale = Spec((x.n,), "float32") if how.precision in ROW_PRECISIONS else None
    return Spec((x.n, width), STORAGE[how.precision] if codes else how.precision), scale


def _on_host(states: Tokens, recipe: Recipe, result: np.ndarray, scale: np.ndarray | None, backend: str | None) -> None:
    """Fill `result` and `scale`, through a copy where the elements of a row of `result` do not lie side by side."""
    if result.size == 0:
        if scale is not None:
            scale[...] = 0
        return
    written = result if is_plain(result) else np.empty(result.shape, result.dtype.newbyteorder("="))
    dispatch.run("pool", states, recipe, written, scale, backend=backend)
    if written is not result:
        result[...] = written


def check_differentiable(precision: str, out: Any) -> None:
    if precision not in FLOAT_PRECISIONS:
        raise TypeError(f"precision: got {precision!r} for an input that requires grad, expected float32 or float16; use torch.no_grad()")
    if out is not None:
        raise TypeError("out: got an array for an input that requires grad, expected None, or torch.no_grad()")


def _tokens_of(tokens: Any, mask: Any, cu_seqlens: Any, token_weights: Any, mode: str) -> tuple[Tokens, Origin]:
    data, kind, origin = floats_of(tokens, "tokens")
    shape = tuple(data.shape)
    if cu_seqlens is None and len(shape) != 3:
        raise ValueError(f"tokens: got shape {shape}, expected (B, T, D), or (total, D) with cu_seqlens")
    if cu_seqlens is not None and len(shape) != 2:
        raise ValueError(f"tokens: got shape {shape}, expected (total, D) beside cu_seqlens")
    if isinstance(data, np.ndarray) and not is_plain(data):
        data = np.ascontiguousarray(data, dtype=data.dtype.newbyteorder("="))
    offsets = None if cu_seqlens is None else _offsets_of(cu_seqlens, shape[0], origin.device)
    valid = None if mask is None else _mask_of(mask, shape[:-1], origin)
    weights = None
    if token_weights is not None:
        if mode not in SUMS:
            raise ValueError(f"token_weights: got an array for mode {mode!r}, expected None, or one of {', '.join(sorted(SUMS))}")
        weights = floats_beside(token_weights, "token_weights", origin)
        if tuple(weights.shape) != shape[:-1]:
            raise ValueError(f"token_weights: got shape {tuple(weights.shape)}, expected {shape[:-1]}, tokens without their last axis")
    return Tokens(data, kind, valid, weights, offsets), origin


def _offsets_of(cu_seqlens: Any, total: int, device: str) -> Any:
    offsets = integers_of(cu_seqlens, "cu_seqlens", device)
    if offsets.ndim != 1 or offsets.shape[0] == 0:
        raise ValueError(f"cu_seqlens: got shape {tuple(offsets.shape)}, expected (B + 1,)")
    if unread(offsets):
        return offsets
    if offsets[0] != 0 or offsets[-1] != total or (offsets[1:] < offsets[:-1]).any():
        raise ValueError(f"cu_seqlens: got {offsets[0]} to {offsets[-1]}, expected it to rise from 0 to {total}, the number of tokens")
    return offsets


def _beside(x: Any, name: str, origin: Origin, beside: str = "tokens") -> tuple[Any, str]:
    """A side array on the tokens' device or on the host."""
    data, dtype, place = intake(x, name)
    if place.device not in ("cpu", origin.device):
        raise ValueError(f"{name}: got an array on {place.device}, expected {origin.device} as {beside}")
    return data, dtype


def _mask_of(mask: Any, shape: tuple[int, ...], origin: Origin) -> Any:
    data, dtype = _beside(mask, "mask", origin)
    if not dtype.startswith(("bool", "int", "uint", "float", "bfloat")):
        raise TypeError(f"mask: got {dtype}, expected bool, or 0 and 1 in an integer or float type")
    if tuple(data.shape) != shape:
        raise ValueError(f"mask: got shape {tuple(data.shape)}, expected {shape}, tokens without their last axis")
    if not isinstance(data, np.ndarray):
        return data != 0
    if dtype == "bool":
        return np.ascontiguousarray(data)
    if dtype == "bfloat16":
        data = float32_of(data, "bf16")
    valid = data == 1
    known = valid | (data == 0)
    if not known.all():
        raise ValueError(f"mask: got the value {data[~known].flat[0]}, expected 0 and 1 alone")
    return np.ascontiguousarray(valid)


def floats_beside(x: Any, name: str, origin: Origin, beside: str = "tokens") -> Any:
    """A side array as float32, densely on the host, or a tensor on the device of what it lies beside or with a gradient."""
    _beside(x, name, origin, beside)
    data, kind, _ = floats_of(x, name)
    return np.ascontiguousarray(float32_of(data, kind)) if isinstance(data, np.ndarray) else data.float()


def _recipe_of(
    states: Tokens,
    origin: Origin,
    mode: str,
    query: Any,
    scale: float | None,
    truncate_dim: int | None,
    normalize: bool,
    precision: str,
    ranges: Any,
) -> Recipe:
    queries, factor, dim = None, 1.0, states.data.shape[-1]
    if mode == "attention":
        queries = _queries_of(query, dim, origin)
        factor = 1 / math.sqrt(max(1, queries.shape[1])) if scale is None else _scale_of(scale)
        dim = queries.shape[0] * queries.shape[1]
    else:
        for name, value in (("query", query), ("scale", scale)):
            if value is not None:
                raise ValueError(f"{name}: got {type(value).__name__} for mode {mode!r}, expected None, or mode 'attention'")
    dim = dim_of(truncate_dim, dim)
    if precision not in FLOAT_PRECISIONS and precision not in PRECISIONS:
        raise ValueError(f"precision: got {precision!r}, expected one of {', '.join((*FLOAT_PRECISIONS, *PRECISIONS))}")
    return Recipe(mode, queries, factor, dim, bool(normalize), precision, limits_of(ranges, dim, precision, states.data))


def _queries_of(query: Any, dim: int, origin: Origin) -> Any:
    if query is None:
        raise ValueError(f"query: got None for mode 'attention', expected ({dim},), (H, {dim}), or one slice of it a head")
    data = floats_beside(query, "query", origin)
    data = data.reshape(1, -1) if data.ndim == 1 else data
    if data.ndim != 2 or data.shape[0] == 0 or (data.shape[1] != dim and data.shape[0] * data.shape[1] != dim):
        raise ValueError(f"query: got shape {tuple(data.shape)}, expected ({dim},), (H, {dim}), or (H, {dim} // H)")
    return data


def _scale_of(scale: Any) -> float:
    try:
        value = float(scale)
    except (TypeError, ValueError):
        raise TypeError(f"scale: got {type(scale).__name__}, expected a number") from None
    if not math.isfinite(value):
        raise ValueError(f"scale: got {scale}, expected a finite number")
    return value


def limits_of(ranges: Any, dim: int, precision: str, data: Any) -> Any:
    """The checked ranges as float32 where `data` is."""
    if precision not in DIM_PRECISIONS:
        if ranges is not None:
            raise ValueError(f"ranges: got an array for precision {precision!r}, which has none")
        return None
    if ranges is None:
        raise ValueError(f"ranges: got None for precision {precision!r}, expected (2, {dim}), as calibrate returns them")
    limits, kind, _ = matrix_of(ranges, "ranges")
    if tracked(limits):
        raise TypeError("ranges: got a tensor that requires grad, expected a plain one")
    if tuple(limits.shape) != (2, dim):
        raise ValueError(f"ranges: got shape {tuple(limits.shape)}, expected (2, {dim}), the minimum and maximum of each element kept")
    # A copy: the Codes outlive what the caller does with theirs.
    values = np.array(float32_of(limits, kind)) if isinstance(limits, np.ndarray) else limits.float().clone()
    return beside(values, "ranges", data)
