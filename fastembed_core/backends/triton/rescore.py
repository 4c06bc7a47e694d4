"""Canonical scores of given candidates, gathered in row order and sorted."""

from __future__ import annotations

from typing import Any

import torch

from ...arrays import to_device
from ...operands import Rows
from ...ops.scores import Score
from ._canonical import scores_of
from ._launch import device_of, on
from ._operand import side_of
from ._pairs import keys_of

CANDIDATES = 1 << 22  # ranked at a time


def rescore(q: Rows, x: Rows, ids: Any, k: int, score: Score) -> tuple[torch.Tensor, torch.Tensor]:
    device = device_of(q, x)
    keys = torch.empty((q.n, k), dtype=torch.int32, device=device)
    rows = torch.empty((q.n, k), dtype=torch.int64, device=device)
    with on(device):
        queries, corpus = side_of(q, score, device), side_of(x, score, device)
        ids = to_device(ids, str(device))
        tile = max(1, CANDIDATES // max(1, ids.shape[1]))
        for lo in range(0, q.n if k else 0, tile):
            some = ids[lo : lo + tile].sort(1).values
            found, place = best(keys_of(queries, corpus, some, lo, score), k)
            keys[lo : lo + tile], rows[lo : lo + tile] = found, some.gather(1, place)
        return scores_of(keys, score), rows


def best(keys: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The k smallest keys of each row, ascending, at equal keys the first; and their places."""
    order = (keys.long() << 32) | torch.arange(keys.shape[1], device=keys.device)
    order = order.topk(k, 1, largest=False, sorted=True).values
    return (order >> 32).int(), order & 0xFFFFFFFF
