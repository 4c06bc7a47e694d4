"""embedding_bag: rows of a table, gathered and reduced in bags."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .. import dispatch
from ..arrays import Origin, integers_of, to_device, unread
from ..checks import integer_of
from ..codes import PRECISIONS, Codes
from ..operands import Rows, in_front, multiples, rows_of
from ._rows import dim_of, is_plain, output_of, tracked
from ._spec import Spec
from ._traced import traced
from .pool import FLOAT_PRECISIONS, check_differentiable, floats_beside, limits_of, pool_spec

MODES = ("sum", "mean", "max")


class Bags(NamedTuple):
    """Checked ids: bag b is ids[offsets[b]] to ids[offsets[b + 1]], each with its weight."""

    ids: Any  # (L,) int64, rows of the table; of ids on a device some may lie outside, and `offsets` may end before L
    offsets: Any  # (B + 1,) int64
    weights: Any  # (L,) float32 on the host, or where the table is; None: 1

    @property
    def n(self) -> int:
        return self.offsets.shape[0] - 1


class Recipe(NamedTuple):
    """What becomes of each bag."""

    mode: str
    normalize: bool
    precision: str
    dim: int
    ranges: Any  # (2, dim) float32 minimum and maximum, where the table is


@traced
def embedding_bag(
    table: Any,
    ids: Any,
    offsets: Any = None,
    *,
    mode: str = "mean",
    weights: Any = None,
    padding_idx: int | None = None,
    include_last_offset: bool = True,
    truncate_dim: int | None = None,
    normalize: bool = False,
    precision: str = "float32",
    ranges: Any = None,
    out: Any = None,
    backend: str | None = None,
) -> Any:
    """Rows of a table, reduced bag by bag: static and categorical embeddings, in one pass with truncation, L2 and codes.

    With x_i the rows a bag names and w_i their weights (1 without `weights`):

    ``sum``   sum(w_i x_i)
    ``mean``  sum(w_i x_i) / sum(w_i)
    ``max``   the largest of each element; NaN where a row has NaN

    A bag without ids is zeros, as in ``torch.nn.functional.embedding_bag``, whose results these are but for ``weights``, which it
    takes for ``sum`` alone. A result depends on its bag's ids and their order alone.

    Parameters
    ----------
    table : (N, D) float32, float16, bfloat16, float64 (rounded to float32), int8, uint8 (their integers), or `Codes`, whose rows
        stand for their values; read where it lies
    ids : (L,) integers with `offsets`, or (B, L): each row a bag. Tensors on the table's device are not looked at by the host: there a bag
        with the id of no row is NaN.
    offsets : (B + 1,) integers rising from 0 to L: bag b is ids[offsets[b]:offsets[b + 1]]
    mode : see above
    weights : the shape of `ids`, float: for ``sum`` and ``mean``
    padding_idx : ids of this value count for nothing, whatever row it names
    include_last_offset : False takes (B,) offsets, the starts alone, the last bag ending at L: torch's own default
    truncate_dim : keep the first elements (Matryoshka embeddings), before normalization
    normalize : divide by max(L2 norm, 1e-12)
    precision : ``float32``, ``float16``, ``int8_row``, ``int4_row``, ``binary``, ``ubinary``, or with `ranges` ``int8``, ``uint8``
    ranges : (2, D') minimum and maximum of each element kept, as `calibrate` returns them
    out : (B, width) array to write into, of the result's type (for `Codes`, of their data's)
    backend : a backend's name; None chooses

    Returns
    -------
    (B, D') float32 or float16, or `Codes`, in the kind and on the device of `table`; D' is D or truncate_dim. Codes are, bit for
    bit, those `quantize` gives for the float32 result of the same backend.

    Sums are float32 in pieces of 64 rows: before normalization they lie within (80 + n / 64) * 2**-24 * sum(\\|w_i x_i\\|) of the
    exact value, a mean within the same divided by \\|sum(w_i)\\|; the same bits for every thread count and batch. max is exact, but
    of codes with a scale, whose values are rounded once.

    A torch table or weights that require grad while grad mode is on take torch's own operations and are differentiable.

    Raises
    ------
    TypeError, ValueError
        for ids outside the table, shapes and types that do not fit and arguments of another mode or precision, in one sentence
        that names the argument.
    """
    if mode not in MODES:
        raise ValueError(f"mode: got {mode!r}, expected one of {', '.join(MODES)}")
    rows, origin = rows_of(table, "table", copy_inner=False)
    bags = _bags_of(ids, offsets, weights, mode, padding_idx, include_last_offset, rows.n, origin)
    dim = dim_of(truncate_dim, rows.dim)
    rows = truncated(rows, dim)
    if precision not in FLOAT_PRECISIONS and precision not in PRECISIONS:
        raise ValueError(f"precision: got {precision!r}, expected one of {', '.join((*FLOAT_PRECISIONS, *PRECISIONS))}")
    recipe = Recipe(mode, bool(normalize), precision, dim, limits_of(ranges, dim, precision, rows.data))
    grad = tracked(rows.data) or (bags.weights is not None and tracked(bags.weights))
    if grad:
        check_differentiable(precision, out)
        origin = origin if tracked(rows.data) else Origin("torch", origin.device)
    spec, scale_spec = pool_spec(bags, recipe)
    target = None if out is None else output_of(out, *spec, origin, "table")
    if grad or rows.is_torch:
        result, scale = dispatch.run("embedding_bag", rows, bags, recipe, None, None, device=origin.device, grad=grad, backend=backend)
        if target is not None:
            target.copy_(result)
    else:
        result = np.empty(*spec) if target is None else target
        scale = None if scale_spec is None else np.zeros(*scale_spec)
        if result.size:
            written = result if is_plain(result) else np.empty(*spec)
            dispatch.run("embedding_bag", rows, bags, recipe, written, scale, backend=backend)
            if written is not result:
                result[...] = written
    result = origin.give(result) if out is None else out
    if precision not in PRECISIONS:
        return result
    return Codes(result, precision, dim, origin.give(scale), origin.give(recipe.ranges))


def embedding_bag_spec(table: Rows, bags: Bags, how: Recipe, *_: Any) -> tuple[Spec, Spec | None]:
    return pool_spec(bags, how)


def truncated(x: Rows, dim: int) -> Rows:
    """The first `dim` elements of each row, in place."""
    width = {"bits": (dim + 7) // 8, "i4": (dim + 1) // 2}.get(x.kind, dim)
    ranges = x.ranges
    if ranges is not None and dim != x.dim:
        ranges = np.ascontiguousarray(ranges[:, :dim]) if isinstance(ranges, np.ndarray) else ranges[:, :dim].contiguous()
    return Rows(x.data[:, :width], x.kind, dim, x.scale, ranges, x.flip)


def _bags_of(
    ids: Any, offsets: Any, weights: Any, mode: str, padding_idx: int | None, include_last_offset: bool, n: int, origin: Origin
) -> Bags:
    rows = integers_of(ids, "ids", origin.device)
    shape = tuple(rows.shape)
    if offsets is None:
        if rows.ndim != 2:
            raise ValueError(f"ids: got shape {shape}, expected (B, L), or (L,) with offsets")
        ends = multiples(shape[0], shape[1], rows)
    else:
        if rows.ndim != 1:
            raise ValueError(f"ids: got shape {shape}, expected (L,) beside offsets")
        ends = _ends_of(offsets, rows, include_last_offset)
    rows = rows.reshape(-1)
    side = None
    if weights is not None:
        if mode == "max":
            raise ValueError("weights: got an array for mode 'max', expected None, or one of sum, mean")
        side = floats_beside(weights, "weights", origin, "table")
        if tuple(side.shape) != shape:
            raise ValueError(f"weights: got shape {tuple(side.shape)}, expected {shape} as ids")
        side = side.reshape(-1)
    if padding_idx is not None:
        rows, ends, side = _without(integer_of(padding_idx, "padding_idx"), rows, ends, side)
    if not unread(rows) and rows.size and (rows.min() < 0 or rows.max() >= n):
        raise ValueError(f"ids: got {rows[(rows < 0) | (rows >= n)][0]}, expected 0 to {n - 1}, rows of the table")
    return Bags(rows, ends, side)


def _without(padding: int, rows: Any, ends: Any, side: Any) -> tuple[Any, Any, Any]:
    """The ids that are no padding, the ends of their bags, their weights. On a device the places left over stay, behind the last."""
    if not unread(rows):
        kept = np.flatnonzero(rows != padding)
        if side is not None:
            side = side[kept if isinstance(side, np.ndarray) else to_device(kept, str(side.device))]
        return rows[kept], np.searchsorted(kept, ends), side
    order, ends = in_front(rows != padding, ends)
    return rows[order], ends, None if side is None else to_device(side, str(rows.device))[order]


def _ends_of(offsets: Any, ids: Any, include_last: bool) -> Any:
    total = ids.shape[0]
    ends = integers_of(offsets, "offsets", "cpu" if isinstance(ids, np.ndarray) else str(ids.device))
    if ends.ndim != 1 or (include_last and ends.shape[0] == 0):
        raise ValueError(f"offsets: got shape {tuple(ends.shape)}, expected {'(B + 1,)' if include_last else '(B,)'}")
    if unread(ends):
        import torch

        return ends if include_last else torch.cat([ends, ends.new_full((1,), total)])
    if not include_last:
        ends = np.append(ends, total)
    if (ends[0] != 0 and len(ends) > 1) or ends[-1] != total or (ends[1:] < ends[:-1]).any():
        raise ValueError(
            f"offsets: got {ends[0]} to {ends[-1]}, expected it to rise from 0 to {total}, the number of ids"
            + ("; include_last_offset=False takes the starts alone" if include_last else "")
        )
    return ends if isinstance(ids, np.ndarray) else to_device(ends, str(ids.device))
