"""Canonical scores of the pairs (i, i)."""

import torch

from ...operands import Rows
from ...ops.scores import Score
from ._canonical import pair_scores
from ._gradient import paired_gradient, tracked
from ._operand import Operand, device_of, plainly


def similarity_paired(q: Rows, x: Rows, score: Score) -> torch.Tensor:
    device = device_of(q, x)
    with plainly(device):
        rows = torch.arange(q.n, device=device)
        scores = pair_scores(Operand(q, score, device), Operand(x, score, device), rows, rows, score)
    return paired_gradient(q, x, scores, score, device) if tracked(q, x) else scores
