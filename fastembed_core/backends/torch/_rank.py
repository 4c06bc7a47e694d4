"""Ranking by one integer: the score mapped so that smaller is better, above the place that breaks ties."""

from __future__ import annotations

import torch

from ...ops.scores import Score

EMPTY = 2**31 - 1  # a place no row fills: after every number and every NaN
NAN = EMPTY - 1


def keys_of(scores: torch.Tensor, score: Score) -> torch.Tensor:
    """int32 keys that rank as SEMANTICS section 4 ranks these scores (int32, or float32 without -0)."""
    if scores.dtype == torch.int32:
        return ~scores if score.similarity else scores.clone()
    keys = scores.view(torch.int32) >> 31
    keys.bitwise_and_(0x7FFFFFFF).bitwise_xor_(scores.view(torch.int32))
    if score.similarity:
        keys.bitwise_not_()
    return keys.masked_fill_(scores.isnan(), NAN)


def best(scores: torch.Tensor, rows: torch.Tensor, k: int, score: Score) -> tuple[torch.Tensor, torch.Tensor]:
    """The k best of each query's (score, row), (t, m) each: at equal scores the one that comes first. Row -1 is none."""
    keys = keys_of(scores, score).masked_fill_(rows < 0, EMPTY)
    order = keys.long()
    order.bitwise_left_shift_(32).bitwise_or_(torch.arange(keys.shape[1], device=keys.device))
    del keys  # where k is a large part of the corpus, what is held here is the workspace
    place = _smallest(order, k).bitwise_and_(0xFFFFFFFF)
    rows = rows.gather(1, place)
    return scores.gather(1, place).masked_fill_(rows < 0, score.unfilled), rows


def _smallest(order: torch.Tensor, k: int) -> torch.Tensor:
    """The k smallest of each row, ascending; `order` is spent. numpy's selection works in place, torch's takes copies."""
    if order.device.type != "cpu":
        return order.topk(k, 1, largest=False, sorted=True).values
    array = order.numpy()
    if k < array.shape[1]:
        array.partition(k - 1, axis=1)
    array[:, :k].sort(axis=1)
    return order[:, :k]


def empty(t: int, k: int, score: Score, dtype: torch.dtype, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """(scores, rows) of t queries with k unfilled places."""
    scores = torch.full((t, k), score.unfilled, dtype=dtype, device=device)
    return scores, torch.full((t, k), -1, dtype=torch.int64, device=device)
