"""The smallest and largest value of each dimension, a block that fits the cache at a time."""

import numpy as np

from ...arrays import float32_of
from ...operands import Rows
from ._blocks import blocks


def calibrate(x: Rows) -> np.ndarray:
    low = np.full(x.dim, np.inf, np.float32)
    high = np.full(x.dim, -np.inf, np.float32)
    for rows in blocks(x):
        v = float32_of(x.data[rows], x.kind)
        np.minimum(low, v.min(axis=0), out=low)
        np.maximum(high, v.max(axis=0), out=high)
    return np.stack([low, high])
