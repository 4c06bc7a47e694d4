"""Every pair's canonical score."""

import numpy as np

from ...operands import Rows
from ...ops.scores import Score
from ._scores import canonical


def similarity(q: Rows, x: Rows, score: Score) -> np.ndarray:
    return canonical(q, x, score)
