"""One pass of the C++ kernel."""

import numpy as np

from ... import _core
from ...operands import steps_of
from ...ops.pool import Recipe, Tokens
from ...threads import num_threads


def pool(x: Tokens, how: Recipe, out: np.ndarray, scale: np.ndarray | None) -> None:
    ranges = None if how.ranges is None else steps_of(how.ranges)
    sides = (x.mask, x.weights, x.offsets, how.mode, how.query)
    _core.pool(x.data, x.kind, *sides, how.scale, how.normalize, how.precision, how.dim, ranges, out, scale, num_threads())


direct = _core.direct_pool
