"""csrc/cpu/quantize.cpp."""

import numpy as np

from ... import _core
from ...operands import Rows
from ...threads import num_threads


def dequantize(x: Rows, out: np.ndarray) -> None:
    _core.dequantize(x.data, x.kind, x.dim, x.scale, x.ranges, x.flip, out, num_threads())
