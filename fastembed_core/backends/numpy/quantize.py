"""The formulas of `ops.quantize` over blocks of rows, in place where numpy can."""

import numpy as np

from ...arrays import float32_of
from ...operands import Rows, steps_of
from ._blocks import blocks


@np.errstate(invalid="ignore", over="ignore", divide="ignore", under="ignore")
def quantize(x: Rows, precision: str, ranges: np.ndarray | None, codes: np.ndarray, scale: np.ndarray | None) -> None:
    steps = None if ranges is None else steps_of(ranges)
    for rows in blocks(x):
        v = float32_of(x.data[rows], x.kind)
        if scale is not None:
            _by_row(v, codes[rows], scale[rows], 127 if precision == "int8_row" else 7)
        elif steps is not None:
            _by_dimension(v, steps, codes[rows])
        else:
            bits = np.packbits(v > 0, axis=1)
            codes[rows] = bits if precision == "ubinary" else (bits ^ 0x80).view(np.int8)


def _by_row(v: np.ndarray, codes: np.ndarray, scale: np.ndarray, levels: int) -> None:
    """Symmetric codes with a scale a row: NaN for a row that holds no number, whose codes are 0 as a zero row's."""
    top = np.abs(v).max(axis=1)
    scale[...] = np.where(np.isfinite(top), top / np.float32(levels), np.float32(np.nan))
    divisor = np.where(scale > 0, scale, np.float32(np.inf))  # x / inf = 0
    quotient = v / divisor[:, None]
    np.rint(quotient, out=quotient)
    np.clip(quotient, -levels, levels, out=quotient)
    np.nan_to_num(quotient, copy=False, nan=0.0)  # inf / inf and NaN
    if levels == 127:
        codes[...] = quotient
        return
    nibbles = np.full((len(v), 2 * codes.shape[1]), 8, np.uint8)
    nibbles[:, : v.shape[1]] = quotient + 8
    codes[...] = nibbles[:, 0::2] | nibbles[:, 1::2] << 4


def _by_dimension(v: np.ndarray, steps: np.ndarray, codes: np.ndarray) -> None:
    """clip(floor((x - minimum) / step), 0, 255), NaN as 0; 128 less where codes are signed."""
    u = v - steps[0]
    u /= steps[1]
    np.floor(u, out=u)
    np.fmin(np.fmax(u, 0, out=u), 255, out=u)  # fmax takes the 0 where u is NaN
    if codes.dtype == np.int8:
        u -= 128
    codes[...] = u
