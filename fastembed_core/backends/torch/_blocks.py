"""Working through an operand block by block, so that temporaries stay small beside it."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

_HOST_ELEMENTS = 1 << 18  # stay in the cache
_DEVICE_ELEMENTS = 1 << 22  # fill the device


def blocks(data: torch.Tensor, dim: int) -> Iterator[slice]:
    """Slices of the first axis, each row of which stands for at least `dim` elements."""
    elements = _HOST_ELEMENTS if data.device.type == "cpu" else _DEVICE_ELEMENTS
    step = max(1, elements // max(1, dim, data[:1].numel()))
    for start in range(0, data.shape[0], step):
        yield slice(start, start + step)


def put(target: Any, rows: slice, value: torch.Tensor) -> None:
    """Write rows of a tensor, or of a host array of any strides (torch has no view of some)."""
    if isinstance(target, np.ndarray):
        target[rows] = value.numpy()
    else:
        target[rows] = value
