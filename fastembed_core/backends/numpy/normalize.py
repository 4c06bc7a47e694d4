"""Blocks of rows in float64, small enough to stay in the cache."""

import numpy as np

from ...arrays import float32_of, round_to
from ...operands import Rows
from ._blocks import blocks


@np.errstate(invalid="ignore", over="ignore", under="ignore")
def normalize(x: Rows, eps: float, out: np.ndarray) -> None:
    for rows in blocks(x):
        v = float32_of(x.data[rows], x.kind).astype(np.float64)
        inverse = 1.0 / np.maximum(np.sqrt(np.einsum("ij,ij->i", v, v)), eps)
        v *= inverse[:, None]
        out[rows] = round_to(v.astype(np.float32), x.kind)
