"""Groups that may hold a row that reaches the threshold, and those rows' canonical scores: waits for the device twice a tile, for how
many there are of either."""

from __future__ import annotations

import numpy as np
import torch

from ...arrays import to_device
from ...operands import Mask, Rows
from ...ops.scores import Score
from ._allowed import Allowed
from ._canonical import EMPTY, scores_of
from ._certify import flags_of
from ._groups import Groups, group_of, members, scans_of
from ._launch import device_of, on
from ._operand import side_of
from ._pairs import keys_of

WORKSPACE = 1 << 26  # bytes of group keys, and of candidates
EXPECTED = 64  # rows of each query, for the size of groups

Found = tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # query, row, key


def range_search(q: Rows, x: Rows, limits: np.ndarray, score: Score, mask: Mask | None, exclude: np.ndarray | None) -> Found:
    device = device_of(q, x)
    with on(device):
        parts = [tuple(torch.empty(0, dtype=dtype, device=device) for dtype in (torch.int64, torch.int64, torch.int32))]
        if q.n and x.n:
            may = Allowed(mask, exclude, device)
            left, right = side_of(q, score, device), side_of(x, score, device)
            groups = Groups(left, right, group_of(x.n, EXPECTED, x.dim), score, may, scans_of(left, right, score, x.scan)[:1])
            bounds = to_device(limits, str(device))
            tile = max(1, WORKSPACE // (8 * groups.count))
            for lo in range(0, q.n, tile):
                parts += _found(groups, lo, bounds[lo : lo + tile])
        who, rows, keys = (torch.cat(part) for part in zip(*parts, strict=True))
        order = ((who << 32) + keys).argsort(stable=True)  # rows come in order
        indptr = torch.searchsorted(who[order], torch.arange(q.n + 1, device=device))
        return indptr, scores_of(keys[order], score), rows[order]


def _found(groups: Groups, first: int, limits: torch.Tensor) -> list[Found]:
    """What queries from `first` on return."""
    keys = torch.empty((len(limits), groups.count), dtype=torch.int32, device=limits.device)
    queries = groups.scan(0, first, keys) if groups.scans else None
    if not groups.scans:
        groups.exact(first, keys)
    if queries is None:
        flags = _reaches(keys, limits[:, None], groups.score)
    else:
        flags = flags_of(keys, _keys_of(limits, groups.score), queries, groups.score)
    who, group = flags.nonzero(as_tuple=True)
    step = max(1, WORKSPACE // (16 * groups.group))
    found = []
    for some, at in zip(who.split(step), group.split(step), strict=True):
        ids = torch.empty((len(some), groups.group), dtype=torch.int64, device=limits.device)
        members(at.int()[:, None], ids, first, groups.x.n, groups.group, groups.may, who=some)
        exact = keys_of(groups.q, groups.x, ids, first, groups.score, who=some)
        kept = _reaches(exact, limits[some][:, None], groups.score).flatten().nonzero()[:, 0]
        found.append((first + some[kept // groups.group], ids.flatten()[kept], exact.flatten()[kept]))
    return found


def _reaches(keys: torch.Tensor, limits: torch.Tensor, score: Score) -> torch.Tensor:
    wide = scores_of(keys, score).double()
    return (wide >= limits if score.similarity else wide <= limits) & (keys != EMPTY.value)


def _keys_of(limits: torch.Tensor, score: Score) -> torch.Tensor:
    """The keys that float32 scores equal to the limits have."""
    bits = (limits + 0.0).view(torch.int32)
    keys = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    return ~keys if score.similarity else keys
