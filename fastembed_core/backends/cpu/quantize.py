"""csrc/cpu/quantize.cpp."""

import numpy as np

from ... import _core
from ...arrays import Rows
from ...threads import num_threads


def quantize(x: Rows, precision: str, ranges: np.ndarray | None, codes: np.ndarray, scale: np.ndarray | None) -> None:
    _core.quantize(x.data, x.kind, precision, ranges, codes, scale, num_threads())
