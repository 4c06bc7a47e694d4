"""The formulas of `ops.quantize` as tensor operations, over blocks of rows."""

from typing import Any

import numpy as np
import torch

from ...arrays import from_host
from ...codes import ROW_PRECISIONS, STORAGE, code_width
from ...operands import Rows
from ._blocks import blocks, put


def quantize(x: Rows, precision: str, ranges: Any, codes: Any, scale: Any) -> tuple[Any, Any]:
    """Fills the host arrays `codes` and `scale`, or makes tensors on x's device where they are None."""
    v = x.to_torch("cpu").data
    storage = getattr(torch, STORAGE[precision])
    if codes is None:
        codes = torch.empty((x.n, code_width(precision, x.dim)), dtype=storage, device=v.device)
        scale = torch.empty(x.n, device=v.device) if precision in ROW_PRECISIONS else None
    limits = from_host(ranges) if isinstance(ranges, np.ndarray) else ranges
    for rows in blocks(v, x.dim):
        part = v[rows].float()
        if scale is not None:
            levels = 127 if precision == "int8_row" else 7
            row_scale, whole = _by_row(part, levels)
            put(scale, rows, row_scale)
            put(codes, rows, whole if levels == 127 else _pairs(whole))
        elif limits is not None:
            u = _by_dimension(part, limits)
            put(codes, rows, (u if storage == torch.uint8 else u - 128).to(storage))
        else:
            packed = _packed(part > 0)
            put(codes, rows, packed if storage == torch.uint8 else (packed ^ 128).view(torch.int8))
    return codes, scale


def _by_row(v: torch.Tensor, levels: int) -> tuple[torch.Tensor, torch.Tensor]:
    top = v.abs().amax(dim=1)
    # On a device a Python divisor is a reciprocal multiplied, which is no division.
    scale = torch.where(top.isfinite(), top / torch.full_like(top, levels), torch.nan)
    divisor = torch.where(scale > 0, scale, torch.inf)  # x / inf = 0
    return scale, (v / divisor[:, None]).round_().clamp_(-levels, levels).nan_to_num_(nan=0.0).to(torch.int8)


def _pairs(codes: torch.Tensor) -> torch.Tensor:
    """Two codes a byte as nibbles code + 8, the first the low one; an odd dim's last high nibble is code 0."""
    nibbles = torch.full((len(codes), codes.shape[1] + codes.shape[1] % 2), 8, dtype=torch.uint8, device=codes.device)
    nibbles[:, : codes.shape[1]] = (codes + 8).to(torch.uint8)
    return nibbles[:, 0::2] | nibbles[:, 1::2] << 4


def _by_dimension(v: torch.Tensor, limits: torch.Tensor) -> torch.Tensor:
    minimum, maximum = limits
    step = (maximum - minimum) / torch.full_like(minimum, 255)
    return v.sub(minimum).div_(torch.where(step == 0, 1.0, step)).floor_().clamp_(0, 255).nan_to_num_(nan=0.0)


def _packed(flags: torch.Tensor) -> torch.Tensor:
    """Eight flags a byte, most significant first."""
    flags = torch.nn.functional.pad(flags, (0, -flags.shape[1] % 8))
    weight = torch.tensor([128, 64, 32, 16, 8, 4, 2, 1], dtype=torch.uint8, device=flags.device)
    return (flags.view(len(flags), -1, 8) * weight).sum(dim=2, dtype=torch.uint8)
