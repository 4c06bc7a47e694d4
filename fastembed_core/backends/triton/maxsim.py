"""All documents scored canonically; or of the k best bounds first, and the best of those canonically, certified as in topk."""

from __future__ import annotations

from typing import Any

import torch

from ...operands import Mask
from ...ops.maxsim import ALMOST_LEAST, Queries, TokenSets
from ...ops.scores import Score
from ._allowed import Allowed
from ._canonical import scores_of
from ._certify import flags_of
from ._groups import members
from ._late import LEAST, Sets, late_bounds, late_keys
from ._launch import beside, device_of, on
from ._operand import side_of
from ._queries import PLANES, prepared
from ._queries import Queries as Prepared
from ._scan import kind_of, step_of
from ._select import select

WORKSPACE = 1 << 26  # bytes of keys


def maxsim(q: Queries, x: TokenSets, k: int | None, score: Score, mask: Mask | None) -> Any:
    device = device_of(q.rows, x.rows)
    columns = x.n if k is None else k
    tile = max(1, WORKSPACE // (4 * max(1, x.n)))
    with on(device):
        scores = torch.empty((q.n, columns), dtype=torch.int32 if score.dtype.name == "int32" else torch.float32, device=device)
        rows = None if k is None else torch.empty((q.n, k), dtype=torch.int64, device=device)
        if scores.numel():
            late = Late(q, x, columns, score, Allowed(mask, None, device), device)
            for lo in range(0, q.n, tile):
                part = slice(lo, min(lo + tile, q.n))
                if rows is None:
                    scores[part] = _scores(late.all(part), score)
                    continue
                keys, rows[part] = late.run(part)
                scores[part] = _scores(keys, score)
                rows[part].masked_fill_(keys == 2**31 - 1, -1)
        return scores if rows is None else (scores, rows)


def _scores(keys: torch.Tensor, score: Score) -> torch.Tensor:
    scores = scores_of(keys, score)
    return scores.masked_fill_(scores == ALMOST_LEAST, score.unfilled) if scores.dtype == torch.int32 else scores


class Late:
    """One call: its tokens, and how many documents are scored canonically."""

    def __init__(self, q: Queries, x: TokenSets, k: int, score: Score, may: Allowed, device: torch.device) -> None:
        self.longest, self.k, self.score, self.may, self.device = q.longest, k, score, may, device
        left, right = side_of(q.rows, score, device), side_of(x.rows, score, device)
        self.sets = Sets(left, right, *(beside(part, device) for part in (q.offsets, x.starts, x.stops, x.ids)))
        self.taken = k + max(32, k // 4)
        self.kind = None
        if score.form == "float" and score.metric == "ip" and right.kind not in PLANES and 2 * self.taken < x.n:
            self.kind = kind_of(left, right, score)

    def all(self, part: slice) -> torch.Tensor:
        """(t, n) keys of some queries."""
        keys = self._space(part.stop - part.start, self.sets.n)
        late_keys(self.sets, part.start, keys, self.score, self.may)
        return keys

    def run(self, part: slice) -> tuple[torch.Tensor, torch.Tensor]:
        """(keys, documents) of the k best of some queries, best first."""
        t, first, n = part.stop - part.start, part.start, self.sets.n
        if self.kind is None:
            keys = self.all(part)
            places, worst = self._space(t, self.k), self._space(t, 1)
            select(keys, places, worst, None)
            return _ranked(keys, places)
        keys = self._space(t, n)
        bounds = self._bounds(part, keys)
        taken, worst_taken, best, worst = (self._space(t, columns) for columns in (self.taken, 1, self.k, 1))
        documents = torch.empty((t, self.taken), dtype=torch.int64, device=self.device)
        exact = self._space(t, self.taken)
        flags = None
        for again in (False, True):
            if again:
                flags = flags_of(worst_taken, worst, bounds, self.score) | (worst == LEAST.value)
                late_keys(self.sets, first, keys, self.score, self.may, flags=flags)
            select(keys, taken, worst_taken, flags)
            members(taken, documents, first, n, 1, self.may, flags=flags)
            late_keys(self.sets, first, exact, self.score, self.may, documents=documents, flags=flags)
            select(exact, best, worst, flags)
        found, place = _ranked(exact, best)
        return found, documents.gather(1, place)

    def _space(self, t: int, columns: int) -> torch.Tensor:
        return torch.empty((t, columns), dtype=torch.int32, device=self.device)

    def _bounds(self, part: slice, keys: torch.Tensor) -> Prepared:
        """Fill keys; what certifies them: bounds in units of the scores themselves, whose own test of range is the kernel's."""
        assert self.kind is not None
        q, step = self.sets.q, step_of(self.sets.x, self.kind)
        tokens = min(q.n, self.longest * len(keys))  # of these queries at most
        planes = prepared(q, self.sets.x, 0, tokens, self.kind, step, base=self.sets.arguments[0][part.start :])
        late_bounds(self.sets, planes, part.start, keys, self.may, self.kind, step, self.longest)
        ones = torch.ones(len(keys), dtype=torch.float32, device=self.device)
        return Prepared(planes.planes, torch.zeros_like(ones), ones, ones.double())


def _ranked(keys: torch.Tensor, places: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Places of the best, ascending, by key."""
    found, order = keys.gather(1, places.long()).sort(dim=1, stable=True)
    return found, places.long().gather(1, order)
