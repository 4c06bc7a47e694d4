"""Products in float64; of each document's tokens, canonical scores of those that may be a query token's best."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from ...arrays import to_device
from ...operands import Mask
from ...ops.maxsim import ALMOST_LEAST, Queries, TokenSets, runs
from ...ops.scores import Score
from ._allowed import Allowed
from ._canonical import dtype_of, from_dot, is_exact, pair_values, rounded
from ._dense import Dense
from ._gradient import late_gradient, tracked
from ._operand import GRAIN, Operand, device_of, plainly
from ._rank import best, empty

TOKENS, CELLS = 1 << 12, 1 << 18  # tokens of a block of documents, and its scores with a tile of queries


def maxsim(q: Queries, x: TokenSets, k: int | None, score: Score, mask: Mask | None) -> Any:
    device, q, x = device_of(q.rows, x.rows), q.on_host(), x.on_host()
    with plainly(device):
        late = Late(q, x, score, device)
        result = late.matrix() if k is None else late.best(k, Allowed(mask, None, x.n, device))
    if not tracked(q.rows, x.rows):
        return result
    if k is None:
        return late_gradient(q, x, None, result, score, device)
    return late_gradient(q, x, result[1], result[0], score, device), result[1]


class Late:
    """One call: its operands, and the blocks its scores come in."""

    def __init__(self, q: Queries, x: TokenSets, score: Score, device: torch.device) -> None:
        self.q, self.x, self.score, self.device = q, x, score, device
        self.dense = Dense(Operand(q.rows, score, device), Operand(x.rows, score, device), score, None)

    def matrix(self) -> torch.Tensor:
        scores, _ = empty(self.q.n, self.x.n, self.score, dtype_of(self.score), self.device)
        for queries, documents, some in self.blocks():
            scores[queries, documents] = some
        return scores

    def best(self, k: int, allowed: Allowed) -> tuple[torch.Tensor, torch.Tensor]:
        scores, rows = empty(self.q.n, k, self.score, dtype_of(self.score), self.device)
        for queries, documents, some in self.blocks() if k else ():
            ids = torch.arange(documents.start, documents.stop, device=self.device).expand(some.shape)
            among = allowed.among(queries, documents)
            ids = ids if among is None else ids.where(among, -1)
            some = some.clamp(min=ALMOST_LEAST) if some.dtype == torch.int32 else some
            held = torch.cat([scores[queries], some], 1), torch.cat([rows[queries], ids], 1)
            scores[queries], rows[queries] = best(*held, k, self.score)
        return scores.masked_fill_(scores == ALMOST_LEAST, self.score.unfilled) if scores.dtype == torch.int32 else scores, rows

    def blocks(self) -> Iterator[tuple[slice, slice, torch.Tensor]]:
        """The scores of tiles of queries with blocks of documents."""
        x, q = self.x, self.q
        for documents in runs(np.concatenate([[0], np.cumsum(x.stops - x.starts)]), TOKENS):
            tokens = [x.tokens(j) for j in range(documents.start, documents.stop)]
            counts = np.array([len(some) for some in tokens])
            rows = to_device(np.concatenate(tokens), str(self.device))
            owner = to_device(np.repeat(np.arange(len(counts)), counts), str(self.device))
            for queries in runs(q.offsets, max(1, CELLS // max(1, len(rows)))):
                at = slice(int(q.offsets[queries.start]), int(q.offsets[queries.stop]))
                largest = self.maxima(at, rows, owner, len(counts))
                total = summed(largest, q.offsets[queries.start : queries.stop + 1] - at.start)
                some, _ = empty(len(total), len(counts), self.score, dtype_of(self.score), self.device)
                filled = to_device(np.flatnonzero(counts), str(self.device))
                some[:, filled] = finished(total[:, filled], some.dtype)
                yield queries, documents, some

    def maxima(self, queries: slice, rows: torch.Tensor, owner: torch.Tensor, documents: int) -> torch.Tensor:
        """(query tokens, documents) float64: the largest canonical score, -inf for a document without tokens."""
        t = queries.stop - queries.start
        if t == 0 or len(rows) == 0:
            return torch.full((t, documents), -torch.inf, dtype=torch.float64, device=self.device)
        dense = self.dense
        if is_exact(self.score):
            value = from_dot(self.score.metric, *dense.sums(queries, rows, torch.float32), dense.scale(queries, rows))
            return largest_of(value, owner, documents)
        value, error = dense.estimate(queries, rows)
        floor = largest_of(value - error, owner, documents)
        i, j = (~(value + error < floor.index_select(1, owner))).nonzero(as_tuple=True)
        exact = torch.full_like(value, -torch.inf)
        exact[i, j] = pair_values(dense.q, dense.x, i + queries.start, rows[j], self.score)
        return largest_of(exact, owner, documents)


def largest_of(value: torch.Tensor, owner: torch.Tensor, documents: int) -> torch.Tensor:
    """(t, documents): the largest value in the columns of each document, NaN where one of them is."""
    columns = owner.expand_as(value)
    out = torch.full((value.shape[0], documents), -torch.inf, dtype=value.dtype, device=value.device)
    nan = torch.zeros_like(out).scatter_reduce_(1, columns, value.isnan().to(value.dtype), "amax")
    out.scatter_reduce_(1, columns, value.nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf), "amax")
    return out.masked_fill_(nan > 0, torch.nan)


def summed(largest: torch.Tensor, offsets: np.ndarray) -> torch.Tensor:
    """(queries, documents): the sum of each query's rows, one after the other."""
    total = torch.zeros(len(offsets) - 1, largest.shape[1], dtype=torch.float64, device=largest.device)
    lengths = np.diff(offsets)
    for t in range(lengths.max(initial=0)):
        longer = np.flatnonzero(lengths > t)
        at, rows = (to_device(some, str(largest.device)) for some in (longer, offsets[longer] + t))
        total[at] += largest[rows]
    return total


def finished(total: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The sums rounded once, on the host in the calling thread: see `_operand.converted`."""
    if total.device.type != "cpu" or total.numel() <= GRAIN:
        return rounded(total, dtype)
    return torch.cat([rounded(part, dtype) for part in total.flatten().split(GRAIN)]).view(total.shape)
