"""A row in registers, its scale found, its codes written: the vectors are read once."""

from __future__ import annotations

from typing import Any

from ...operands import Rows
from ._launch import beside, device_of, fill, on
from ._map import map_rows
from ._rows import output


def quantize(x: Rows, precision: str, ranges: Any, codes: Any, scale: Any) -> tuple[Any, Any]:
    """Fills the host arrays `codes` and `scale` (interpreted), or makes tensors on x's device where they are None."""
    device = device_of(x)
    with on(device):
        v = x.to_torch(str(device)).data
        made = output(x.n, x.dim, precision, beside(ranges, device), device)
        map_rows(v, x.kind, made)
    fill(codes, made.codes)
    fill(scale, made.scale)
    return made.codes, made.scale
