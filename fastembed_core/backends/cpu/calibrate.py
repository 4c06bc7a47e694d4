"""csrc/cpu/quantize.cpp."""

import numpy as np

from ... import _core
from ...operands import Rows
from ...threads import num_threads


def calibrate(x: Rows) -> np.ndarray:
    return _core.calibrate(x.data, x.kind, num_threads())
