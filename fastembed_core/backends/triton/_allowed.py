"""Which rows each query may return, as kernels ask it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import triton
import triton.language as tl

from ...arrays import to_device
from ...operands import Mask


@triton.jit
def allowed(mask, stride, queries, rows, inside, PACKED: tl.constexpr):
    """Of (M, N) pairs those inside whose mask bit is set."""
    if mask is None:
        may = inside
    elif PACKED:
        byte = tl.load(mask + (queries * stride)[:, None] + (rows // 8)[None, :], mask=inside, other=0).to(tl.int32)
        may = inside & (((byte >> (rows % 8).to(tl.int32)[None, :]) & 1) != 0)
    else:
        may = inside & (tl.load(mask + (queries * stride)[:, None] + rows[None, :], mask=inside, other=0) != 0)
    return may


class Allowed:
    """A mask and excludes on one device."""

    def __init__(self, mask: Mask | None, exclude: Any, device: torch.device) -> None:
        self.packed = mask is not None and mask.packed
        self.mask: torch.Tensor | None = None
        if mask is not None:
            data = to_device(mask.data, str(device)) if isinstance(mask.data, np.ndarray) else mask.data
            self.mask = data.contiguous().view(torch.uint8)
        self.exclude = None if exclude is None or exclude.shape[1] == 0 else to_device(exclude, str(device))

    @property
    def excluded(self) -> int:
        """Rows that a query may not return, at most."""
        return 0 if self.exclude is None else int(self.exclude.shape[1])

    def arguments(self, first: int) -> tuple[Any, int]:
        """The mask from query `first` on, and its stride over queries."""
        if self.mask is None:
            return None, 0
        return (self.mask, 0) if self.mask.ndim == 1 else (self.mask[first:], self.mask.stride(0))
