"""csrc/cpu/normalize.cpp."""

import numpy as np

from ... import _core
from ...operands import Rows
from ...threads import num_threads


def normalize(x: Rows, eps: float, out: np.ndarray) -> None:
    _core.normalize(x.data, x.kind, eps, out, num_threads())


direct = _core.direct_normalize
