"""One stable sort by row and one by key, on the scores' device; scores are gathered, so that gradients pass."""

import numpy as np
import torch

from ...arrays import from_host
from ...ops.scores import Score
from ._rank import EMPTY, keys_of


def merge_topk(
    scores: torch.Tensor | np.ndarray, rows: torch.Tensor | np.ndarray, k: int, score: Score
) -> tuple[torch.Tensor, torch.Tensor]:
    scores, rows = (from_host(side) if isinstance(side, np.ndarray) else side for side in (scores, rows))
    keys = keys_of(scores.detach(), score).masked_fill(rows < 0, EMPTY)
    order = rows.argsort(dim=1, stable=True)
    order = order.gather(1, keys.gather(1, order).argsort(dim=1, stable=True))[:, :k]
    rows = rows.gather(1, order)
    return scores.gather(1, order).masked_fill(rows < 0, score.unfilled), rows
