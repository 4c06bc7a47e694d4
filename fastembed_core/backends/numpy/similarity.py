"""Canonical scores of all pairs, block by block."""

import numpy as np

from ...operands import Rows
from ...ops.scores import Score
from ._dense import Dense, center_of
from ._operand import Operand


@np.errstate(all="ignore")
def similarity(q: Rows, x: Rows, score: Score) -> np.ndarray:
    a, b = Operand(q, score), Operand(x, score)
    return Dense(a, b, score, center_of(b, score)).scores(np.arange(q.n), np.arange(x.n))
