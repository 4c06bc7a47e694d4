"""Ranking by one integer: the score mapped so that smaller is better, above the place that breaks ties."""

from __future__ import annotations

import torch

from ...ops.scores import Score

EMPTY = 2**31 - 1  # a place no row fills: after every number and every NaN
NAN = EMPTY - 1


def keys_of(scores: torch.Tensor, score: Score) -> torch.Tensor:
    """int64 keys within int32's range that rank as SEMANTICS section 4 ranks these scores (int32, or float32 without -0)."""
    if scores.dtype == torch.int32:
        keys = scores.long()
        return ~keys if score.similarity else keys
    bits = scores.view(torch.int32)
    keys = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).long()
    return (~keys if score.similarity else keys).masked_fill_(scores.isnan(), NAN)


def best(scores: torch.Tensor, rows: torch.Tensor, k: int, score: Score) -> tuple[torch.Tensor, torch.Tensor]:
    """The k best of each query's (score, row), (t, m) each: at equal scores the one that comes first. Row -1 is none."""
    keys = keys_of(scores, score).masked_fill_(rows < 0, EMPTY)
    order = (keys << 32) | torch.arange(keys.shape[1], device=keys.device)
    place = order.topk(k, 1, largest=False, sorted=True).values & 0xFFFFFFFF
    rows = rows.gather(1, place)
    return scores.gather(1, place).masked_fill_(rows < 0, score.unfilled), rows


def empty(t: int, k: int, score: Score, dtype: torch.dtype, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """(scores, rows) of t queries with k unfilled places."""
    scores = torch.full((t, k), score.unfilled, dtype=dtype, device=device)
    return scores, torch.full((t, k), -1, dtype=torch.int64, device=device)
