"""Unpack, then one multiplication, over blocks of rows."""

import numpy as np
import torch

from ...operands import Rows
from ._blocks import blocks, put


def dequantize(x: Rows, out: np.ndarray | None) -> torch.Tensor | np.ndarray:
    """Fills the host array `out`, or makes a tensor on x's device where it is None."""
    x = x.to_torch("cpu")
    values = torch.empty((x.n, x.dim), device=x.data.device) if out is None else out
    for rows in blocks(x.data, x.dim):
        put(values, rows, _values(x[rows]))
    return values


def _values(x: Rows) -> torch.Tensor:
    if x.kind == "bits":
        shift = torch.arange(7, -1, -1, dtype=torch.uint8, device=x.data.device)
        bits = (x.data.view(torch.uint8) ^ x.flip)[:, :, None] >> shift & 1
        return bits.flatten(1)[:, : x.dim].float() * 2 - 1
    if x.ranges is not None:
        low, step = x.ranges.double()
        return ((x.data.double() + (128 if x.kind == "i8" else 0)) * step + low).float()
    codes = x.data
    if x.kind == "i4":
        codes = torch.stack([codes & 15, codes >> 4], dim=2).flatten(1)[:, : x.dim].to(torch.int8) - 8
    return codes * x.scale[:, None]
