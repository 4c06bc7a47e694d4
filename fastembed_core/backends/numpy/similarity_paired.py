"""Canonical scores of the pairs (i, i)."""

import numpy as np

from ...operands import Rows
from ...ops.scores import Score
from ._canonical import pair_scores
from ._operand import Operand


@np.errstate(all="ignore")
def similarity_paired(q: Rows, x: Rows, score: Score) -> np.ndarray:
    rows = np.arange(q.n)
    return pair_scores(Operand(q, score), Operand(x, score), rows, rows, score)
