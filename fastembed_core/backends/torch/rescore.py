"""Canonical scores of given candidates, gathered in row order and sorted."""

from typing import Any

import torch

from ...arrays import to_device
from ...operands import Rows
from ...ops.scores import Score
from ._canonical import dtype_of, pair_scores
from ._gradient import pair_gradient, tracked
from ._operand import Operand, device_of, plainly
from ._rank import best, empty

PAIRS = 1 << 17  # candidates handled at a time


def rescore(q: Rows, x: Rows, ids: Any, k: int, score: Score) -> tuple[torch.Tensor, torch.Tensor]:
    device = device_of(q, x)
    with plainly(device):
        scores, rows = empty(q.n, k, score, dtype_of(score), device)
        queries, corpus = Operand(q, score, device), Operand(x, score, device)
        ids = to_device(ids, str(device))
        tile = max(1, PAIRS // max(1, ids.shape[1]))
        for lo in range(0, q.n if k else 0, tile):
            part = slice(lo, lo + tile)
            ascending = ids[part].sort(1).values
            for start in range(0, ids.shape[1], PAIRS):
                some = ascending[:, start : start + PAIRS]
                who = torch.arange(lo, lo + len(some), device=device)[:, None].expand_as(some)
                given = some >= 0
                new = torch.zeros(some.shape, dtype=scores.dtype, device=device)
                new[given] = pair_scores(queries, corpus, who[given], some[given], score)
                scores[part], rows[part] = best(torch.cat([scores[part], new], 1), torch.cat([rows[part], some], 1), k, score)
    if tracked(q, x):
        scores = pair_gradient(q, x, rows, scores, score, device)
    return scores, rows
