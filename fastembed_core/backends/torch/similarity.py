"""Canonical scores of all pairs, block by block."""

import torch

from ...operands import Rows
from ...ops.scores import Score
from ._dense import Dense, center_of
from ._gradient import matrix_gradient, tracked
from ._operand import Operand, device_of, plainly


def similarity(q: Rows, x: Rows, score: Score) -> torch.Tensor:
    device = device_of(q, x)
    with plainly(device):
        a, b = Operand(q, score, device), Operand(x, score, device)
        scores = Dense(a, b, score, center_of(b, score)).scores(slice(0, q.n), slice(0, x.n))
    return matrix_gradient(q, x, scores, score, device) if tracked(q, x) else scores
