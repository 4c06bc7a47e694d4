"""One loop: the sum of squares in float64, then the product, a row at a time."""

import numba
import numpy as np

from ...arrays import float32_of, round_to
from ...operands import Rows

_BLOCK = 1 << 16  # elements widened and narrowed at a time, for the types numba has not


def normalize(x: Rows, eps: float, out: np.ndarray) -> None:
    if x.kind == "f32":
        _unit_rows(x.data, eps, out)
        return
    step = max(1, _BLOCK // x.dim)
    for start in range(0, x.n, step):
        rows = slice(start, start + step)
        values = float32_of(x.data[rows], x.kind)
        unit = np.empty(values.shape, np.float32)
        _unit_rows(values, eps, unit)
        out[rows] = round_to(unit, x.kind)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _unit_rows(x: np.ndarray, eps: float, out: np.ndarray) -> None:
    for i in range(x.shape[0]):
        squares = np.zeros(8)
        whole = x.shape[1] - x.shape[1] % 8
        for j in range(0, whole, 8):
            for lane in range(8):
                v = np.float64(x[i, j + lane])
                squares[lane] += v * v
        for j in range(whole, x.shape[1]):
            v = np.float64(x[i, j])
            squares[j - whole] += v * v
        norm = np.sqrt(squares.sum())
        inverse = 1.0 / (eps if norm < eps else norm)
        for j in range(x.shape[1]):
            out[i, j] = np.float32(np.float64(x[i, j]) * inverse)
