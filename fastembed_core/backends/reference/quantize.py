"""The formulas of `ops.quantize`, in float32 as the specification has them."""

import numpy as np

from ...operands import Rows
from ._scores import code_values


@np.errstate(invalid="ignore", over="ignore", divide="ignore")
def quantize(x: Rows, precision: str, ranges: np.ndarray | None, codes: np.ndarray, scale: np.ndarray | None) -> None:
    v = code_values(x).astype(np.float32)
    if scale is not None:
        scale[...] = [row_scale(row, levels_of(precision)) for row in v]
        quotient = np.rint(v / scale[:, None])
        used = np.where(scale[:, None] > 0, quotient, 0)  # neither a row of zeros nor one that holds no number
        row_codes = np.clip(used, -levels_of(precision), levels_of(precision)).astype(np.int8)
        codes[...] = row_codes if precision == "int8_row" else pairs(row_codes)
    elif ranges is not None:
        minimum, maximum = ranges
        step = (maximum - minimum) / np.float32(255)
        step[step == 0] = 1
        u = np.clip(np.floor((v - minimum) / step), 0, 255)
        u[np.isnan(u)] = 0
        codes[...] = u - 128 if precision == "int8" else u
    else:
        packed = np.packbits(v > 0, axis=1)
        codes[...] = (packed ^ 0x80).view(np.int8) if precision == "binary" else packed


def levels_of(precision: str) -> int:
    return 127 if precision == "int8_row" else 7


def row_scale(row: np.ndarray, levels: int) -> np.float32:
    """max|x| / levels in float32, NaN where an element is NaN or infinite."""
    if not np.isfinite(row).all():
        return np.float32(np.nan)
    return np.abs(row).max() / np.float32(levels)


def pairs(codes: np.ndarray) -> np.ndarray:
    """Codes in [-7, 7] as nibbles code + 8, element 2i the low one of byte i; an odd dim's last high nibble is code 0."""
    nibbles = np.pad(codes + 8, ((0, 0), (0, codes.shape[1] % 2)), constant_values=8).astype(np.uint8)
    return nibbles[:, 0::2] | nibbles[:, 1::2] << 4
