"""The smallest and largest value of each dimension."""

import numpy as np
import torch

from ...operands import Rows
from ._blocks import blocks


def calibrate(x: Rows) -> torch.Tensor | np.ndarray:
    """A host array for host operands, a tensor on x's device for tensors."""
    v = x.to_torch("cpu").data
    low = torch.full((x.dim,), torch.inf, device=v.device)
    high = -low
    for rows in blocks(v, x.dim):
        part = v[rows].float()
        low, high = torch.minimum(low, part.amin(dim=0)), torch.maximum(high, part.amax(dim=0))
    limits = torch.stack([low, high])
    return limits if x.is_torch else limits.numpy()
