"""The canonical scores of the pairs (i, i)."""

import numpy as np

from ...operands import Rows
from ...ops.scores import Score
from ._scores import canonical


def similarity_paired(q: Rows, x: Rows, score: Score) -> np.ndarray:
    one = [canonical(q[i : i + 1], x[i : i + 1], score)[0, 0] for i in range(q.n)]
    return np.array(one, score.dtype)
