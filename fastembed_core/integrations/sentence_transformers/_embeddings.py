"""What the host's functions take as embeddings, brought to what ours take; None says that the host's own code must do it."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch

from ...arrays import unread
from ...dispatch import get_backend

FLOATS = (torch.float32, torch.float16, torch.bfloat16)


def plain(x: Any) -> bool:
    """Whether a tensor is one our kernels read where it lies: dense floats with no gradient to keep, in host memory or on a GPU."""
    return (
        x.layout == torch.strided
        and x.dtype in FLOATS
        and not (x.requires_grad and torch.is_grad_enabled())
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()
        and _kernels_for(x.device.type)
    )


@functools.cache
def _kernels_for(device: str) -> bool:
    return device == "cpu" or (device == "cuda" and get_backend("triton").missing() is None)


def view(x: Any) -> Any:
    """A plain tensor as numpy over the same memory, which calls of a few microseconds take faster; bfloat16 and a GPU's stay tensors."""
    return x if x.dtype == torch.bfloat16 or unread(x) else x.detach().numpy()


def host(x: Any) -> np.ndarray:
    """A result as numpy, from wherever it is."""
    return x.cpu().numpy() if isinstance(x, torch.Tensor) else np.asarray(x)


def together(*operands: Any) -> bool:
    """Whether all are matrices of as many columns, in one memory."""
    if any(x is None for x in operands):
        return False
    return len({(str(getattr(x, "device", "cpu")), x.shape[1]) for x in operands}) == 1


def matrix(x: Any) -> Any:
    """(N, D) numpy or torch floats: of one vector a matrix of one row, of a list of vectors their stack."""
    if isinstance(x, list):
        if x and all(isinstance(row, torch.Tensor) and row.layout == torch.strided for row in x):
            x = torch.stack(x)
        elif x and all(isinstance(row, np.ndarray) for row in x):
            x = np.stack(x)
        elif not any(isinstance(row, torch.Tensor) for row in x):
            x = torch.tensor(x)
    if isinstance(x, np.ndarray):
        x = x if x.dtype in (np.float32, np.float16) else None
    elif isinstance(x, torch.Tensor):
        x = x if plain(x) else None
    else:
        return None
    if x is None or x.ndim not in (1, 2) or not all(x.shape):
        return None
    x = x[None] if x.ndim == 1 else x
    inner = x.strides[1] == x.itemsize if isinstance(x, np.ndarray) else x.stride(1) == 1
    return x if inner or x.shape[1] == 1 else None
