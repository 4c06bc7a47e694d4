"""The canonical scores of the pairs (i, i)."""

import torch

from ...arrays import Rows
from ...ops.scores import Score
from ._canonical import scores_of
from ._launch import device_of, on
from ._operand import side_of
from ._pairs import keys_of


def similarity_paired(q: Rows, x: Rows, score: Score) -> torch.Tensor:
    device = device_of(q, x)
    with on(device):
        rows = torch.arange(q.n, device=device)[:, None]
        return scores_of(keys_of(side_of(q, score, device), side_of(x, score, device), rows, 0, score), score)[:, 0]
