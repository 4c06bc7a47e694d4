"""A row in registers, its scale found, its codes written: the vectors are read once."""

from __future__ import annotations

from typing import Any

import torch

from ...arrays import Rows, to_device
from ._launch import device_of, fill, on
from ._map import map_rows
from ._rows import output


def quantize(x: Rows, precision: str, ranges: Any, codes: Any, scale: Any) -> tuple[Any, Any]:
    """Fills the host arrays `codes` and `scale` (interpreted), or makes tensors on x's device where they are None."""
    device = device_of(x)
    with on(device):
        v = x.to_torch(str(device)).data
        limits = ranges if isinstance(ranges, torch.Tensor) else to_device(ranges, str(device))
        made = output(x.n, x.dim, precision, None if limits is None else limits.contiguous(), device)
        map_rows(v, x.kind, made)
    fill(codes, made.codes)
    fill(scale, made.scale)
    return made.codes, made.scale
