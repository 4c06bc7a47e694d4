"""csrc/cpu/quantize.cpp."""

from typing import Any

import numpy as np

from ... import _core
from ...codes import Codes, made
from ...operands import Rows
from ...threads import num_threads


def quantize(x: Rows, precision: str, ranges: np.ndarray | None, codes: np.ndarray, scale: np.ndarray | None) -> None:
    _core.quantize(x.data, x.kind, precision, ranges, codes, scale, num_threads())


def direct(*args: Any, **kwargs: Any) -> Codes | None:
    found = _core.direct_quantize(*args, **kwargs)
    return None if found is None else made(*found)
