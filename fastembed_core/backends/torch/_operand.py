"""An operand read block by block: any storage kind as float32 tensors, which hold every one of them exactly."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeAlias

import numpy as np
import torch

from ...arrays import to_device
from ...dispatch import Unsupported
from ...operands import Rows
from ...ops.scores import Score

Index: TypeAlias = "slice | torch.Tensor"
DEPTH = 1024  # elements of a row handled at a time, a multiple of the eight lanes: bounds the blocks whatever D is
GRAIN = 32_767  # torch runs an elementwise operation of at most so many elements in the calling thread


def converted(x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """x as another float type, on the host in the calling thread alone.

    The calling thread keeps subnormal numbers; torch's own threads flush them if the caller had them flushed when
    they were started.
    """
    if x.device.type != "cpu" or x.numel() <= GRAIN or x.dtype == dtype:
        return x.to(dtype)
    out = torch.empty(x.shape, dtype=dtype, device="cpu")
    step = max(1, GRAIN // x.shape[1])
    for target, source in zip(out.split(step), x.split(step), strict=True):
        target.copy_(source)
    return out


def unpacked(packed: torch.Tensor, little: bool) -> torch.Tensor:
    """(m, 8 w) uint8 of 0 and 1 from (m, w) bytes."""
    shifts = torch.arange(8, dtype=torch.uint8, device=packed.device)
    return ((packed[:, :, None] >> (shifts if little else 7 - shifts)) & 1).flatten(1)


class Operand:
    """One side of a search on `device`, as `score` reads it: bits as 0, 1 or -1, 1, codes as integers or dequantized."""

    def __init__(self, rows: Rows, score: Score, device: torch.device) -> None:
        self.rows, self.n, self.dim, self.device = rows, rows.n, rows.dim, device
        self._signs = score.form == "float"
        self._ranges = None
        if score.form == "float" and rows.ranges is not None:
            self._ranges = _tensor(rows.ranges, device)

    def chunks(self, depth: int = DEPTH) -> list[tuple[int, int]]:
        """[lo, hi) over the elements of a row."""
        return [(lo, min(lo + depth, self.dim)) for lo in range(0, self.dim, depth)]

    def _part(self, rows: Index, lo: int, hi: int) -> torch.Tensor:
        """Columns of some rows, as stored. What torch has no view of is copied, this block of it alone."""
        data = self.rows.data
        if not isinstance(data, np.ndarray):
            part = data.detach()[:, lo:hi]
            return part[rows] if isinstance(rows, slice) else part.index_select(0, rows)
        part = data[rows if isinstance(rows, slice) else rows.cpu().numpy(), lo:hi]
        if self.rows.kind == "bf16":
            return _tensor(part.view(np.int16), self.device).view(torch.bfloat16)
        return _tensor(part, self.device)

    def block(self, rows: Index, lo: int, hi: int) -> torch.Tensor:
        """(m, hi - lo) float32: elements lo (a multiple of 8) to hi of some rows."""
        kind, width = self.rows.kind, hi - lo
        if kind == "bits":
            packed = self._part(rows, lo // 8, (hi + 7) // 8).view(torch.uint8) ^ self.rows.flip
            bits = unpacked(packed, little=False)[:, :width].float()
            return bits * 2 - 1 if self._signs else bits
        if kind == "i4":
            packed = self._part(rows, lo // 2, (hi + 1) // 2)
            return torch.stack([packed & 15, packed >> 4], 2).flatten(1)[:, :width].float() - 8
        part = self._part(rows, lo, hi)
        if self._ranges is None:
            return converted(part, torch.float32)
        low, step = self._ranges[:, lo:hi].double()
        return converted(step * (part.double() + (128.0 if kind == "i8" else 0.0)) + low, torch.float32)

    def scale(self, rows: Index) -> torch.Tensor | None:
        """(m,) float64: what a row's elements are multiplied by, None for 1."""
        scale = self.rows.scale
        if scale is None:
            return None
        if isinstance(scale, np.ndarray):
            return _tensor(scale[rows if isinstance(rows, slice) else rows.cpu().numpy()], self.device).double()
        return (scale[rows] if isinstance(rows, slice) else scale.index_select(0, rows)).double()


def _tensor(x: np.ndarray | torch.Tensor, device: torch.device) -> torch.Tensor:
    return to_device(x, str(device)) if isinstance(x, np.ndarray) else x


def device_of(q: Rows, x: Rows) -> torch.device:
    """Where the operands are; host memory where none is a tensor."""
    tensor = next((side.data for side in (q, x) if side.is_torch), None)
    device = torch.device("cpu") if tensor is None else tensor.device
    if device.type == "mps":
        raise Unsupported("canonical scores take float64, which mps devices have not")
    return device


@contextmanager
def plainly(device: torch.device) -> Iterator[None]:
    """No gradients and no autocast, which would round what a bound on the error takes for float32."""
    with torch.no_grad(), torch.autocast(device.type, enabled=False):
        yield


def length(rows: Index) -> int:
    return rows.stop - rows.start if isinstance(rows, slice) else len(rows)


def members(rows: Index, device: torch.device) -> torch.Tensor:
    """The row numbers an index stands for."""
    return torch.arange(rows.start, rows.stop, device=device) if isinstance(rows, slice) else rows
