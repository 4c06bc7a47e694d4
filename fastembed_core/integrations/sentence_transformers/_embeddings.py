"""What the host's functions take as embeddings, brought to what ours take; None says that the host's own code must do it."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch

from ...dispatch import get_backend

TENSORS = (torch.Tensor, torch.nn.Parameter)  # of another class only its own code knows where the elements lie
KINDS = {torch.float32: "f32", torch.float16: "f16", torch.bfloat16: "bf16"}


def plain(x: Any) -> bool:
    """Whether a tensor is one our kernels read where it lies: dense floats with no gradient to keep, in host memory or on a GPU."""
    return (
        type(x) in TENSORS
        and x.dtype in KINDS
        and x.layout == torch.strided
        and not (x.requires_grad and torch.is_grad_enabled())
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()
        and _kernels_for(x.device.type)
    )


@functools.cache
def _kernels_for(device: str) -> bool:
    return device == "cpu" or (device == "cuda" and get_backend("triton").missing() is None)


def memory(x: Any) -> np.ndarray:
    """A plain tensor of the host as the cells of a backend see it: numpy over its memory, a copy where rows do not lie side by side."""
    x = x.detach() if x.requires_grad else x
    x = x if x.stride(-1) == 1 else x.contiguous()
    return x.numpy() if x.dtype != torch.bfloat16 else x.view(torch.int16).numpy().view(np.uint16)


def tensor(x: np.ndarray) -> Any:
    """What `memory` was made of: uint16 is bfloat16."""
    return torch.from_numpy(x) if x.dtype != np.uint16 else torch.from_numpy(x.view(np.int16)).view(torch.bfloat16)


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
