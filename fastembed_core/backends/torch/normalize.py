"""Tensor operations, differentiable: vector_norm has gradient 0 at a zero row, and the clamp none below eps."""

import numpy as np
import torch

from ...operands import Rows
from ._blocks import blocks, put


def normalize(x: Rows, eps: float, out: np.ndarray | None) -> torch.Tensor | None:
    """Fills the host array `out`, or makes a tensor beside x where it is None."""
    v = x.to_torch("cpu").data
    dtype = torch.float32 if x.kind == "f64" else v.dtype
    if v.requires_grad and torch.is_grad_enabled():
        return _unit(v, eps).to(dtype)
    made = torch.empty(v.shape, dtype=dtype, device=v.device) if out is None else out
    rows_of_v, rows_of_made = (v, made) if v.ndim > 1 else (v[None], made[None])
    for rows in blocks(rows_of_v, x.dim):
        unit = _unit(rows_of_v[rows], eps).to(dtype)
        bits = out is not None and dtype == torch.bfloat16
        put(rows_of_made, rows, unit.view(torch.uint16) if bits else unit)
    return None if out is not None else made


def _unit(v: torch.Tensor, eps: float) -> torch.Tensor:
    wide = v.float().double()
    norm = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
    return (wide * norm.clamp_min(eps).reciprocal()).float()
