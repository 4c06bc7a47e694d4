"""What the host's functions take as embeddings, brought to what ours take; None says that the host's own code must do it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

FLOATS = (torch.float32, torch.float16, torch.bfloat16)


def plain(x: Any) -> bool:
    """Whether a tensor is one our kernels read where it lies: dense floats in host memory, with no gradient to keep."""
    return (
        x.layout == torch.strided
        and x.device.type == "cpu"
        and x.dtype in FLOATS
        and not (x.requires_grad and torch.is_grad_enabled())
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()
    )


def view(x: Any) -> Any:
    """A plain tensor as numpy over the same memory, which calls of a few microseconds take faster; bfloat16 stays a tensor."""
    return x if x.dtype == torch.bfloat16 else x.detach().numpy()


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
