"""x / max(|x|, eps) in float64, rounded to float32 and then to the operand's own type."""

import numpy as np

from ...arrays import round_to
from ...operands import Rows
from ._scores import code_values


@np.errstate(invalid="ignore", over="ignore")
def normalize(x: Rows, eps: float, out: np.ndarray) -> None:
    v = code_values(x)
    norm = np.sqrt((v * v).sum(axis=1))
    out[...] = round_to((v / np.maximum(norm, eps)[:, None]).astype(np.float32), x.kind)
