"""Which rows each query may return, block by block, where the scores are."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ...arrays import to_device
from ...operands import Mask
from ._operand import Index, members, unpacked


class Allowed:
    """A mask and excludes as one question."""

    def __init__(self, mask: Mask | None, exclude: Any, n: int, device: torch.device) -> None:
        self.mask, self.n, self.device = mask, n, device
        self.exclude = None if exclude is None or exclude.shape[1] == 0 else to_device(exclude, str(device))

    def among(self, queries: Index, rows: slice) -> torch.Tensor | None:
        """bool (t, m) or (1, m): the rows of a block that may be returned; None where all may."""
        allowed = None if self.mask is None else self._masked(self.mask, queries, rows)
        if self.exclude is None:
            return allowed
        ids = self.exclude[members(queries, self.device)] - rows.start
        width = rows.stop - rows.start
        keep = torch.ones(len(ids), width + 1, dtype=torch.bool, device=self.device)  # the last column takes what is elsewhere
        keep.scatter_(1, ids.where((ids >= 0) & (ids < width), width), False)
        return keep[:, :width] if allowed is None else keep[:, :width] & allowed

    def _masked(self, mask: Mask, queries: Index, rows: slice) -> torch.Tensor:
        if isinstance(mask.data, np.ndarray):
            tiles = [queries] if mask.shared or isinstance(queries, slice) else [slice(i, i + 1) for i in queries.tolist()]
            block = np.concatenate([mask.block(tile, rows.start, rows.stop) for tile in tiles])
            return to_device(block, str(self.device))
        data = mask.data[None] if mask.shared else mask.data[queries]
        if not mask.packed:
            return data[:, rows]
        first = rows.start // 8
        bits = unpacked(data[:, first : (rows.stop + 7) // 8], little=True)
        return bits[:, rows.start - first * 8 : rows.stop - first * 8].bool()
