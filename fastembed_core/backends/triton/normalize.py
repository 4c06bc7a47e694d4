"""A row in registers: its length in float64, then the products."""

from __future__ import annotations

import numpy as np
import torch

from ...operands import Rows
from ._launch import device_of, fill, on
from ._map import map_rows
from ._rows import output

RESULTS = {"f32": "float32", "f64": "float32", "f16": "float16", "bf16": "bfloat16"}


def normalize(x: Rows, eps: float, out: np.ndarray | None) -> torch.Tensor | None:
    """Fills the host array `out` (interpreted), or makes a tensor beside x where it is None."""
    device = device_of(x)
    v = x.to_torch(str(device)).data
    with on(device):
        flat = v.reshape(-1, x.dim)
        made = output(flat.shape[0], x.dim, RESULTS[x.kind], None, device)
        map_rows(flat, x.kind, made, eps)
    fill(out, made.codes)
    return made.codes.view(v.shape) if out is None else None
