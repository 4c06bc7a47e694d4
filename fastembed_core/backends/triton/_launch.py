"""Launching: on the operands' own device and current stream, and no fused multiply-add that the source does not ask for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch

from ...arrays import to_device
from ...dispatch import Unsupported
from ...operands import Rows
from . import interpreted


def launch(kernel: Any, programs: int, *args: Any, warps: int = 4, stages: int = 2, **constants: Any) -> None:
    """Run `programs` programs of a kernel; none is no launch."""
    if programs:
        kernel[(programs,)](*args, **constants, num_warps=warps, num_stages=stages, enable_fp_fusion=False)


def device_of(*operands: Rows) -> torch.device:
    """Where the operands are: host memory only where Triton interprets."""
    tensor = next((rows.data for rows in operands if rows.is_torch), None)
    device = torch.device("cpu") if tensor is None else tensor.device
    if device.type != "cuda" and not interpreted():
        raise Unsupported(f"its kernels take CUDA tensors, and an input is on {device}")
    return device


@contextmanager
def on(device: torch.device) -> Iterator[None]:
    """`device` as the current one, and nothing recorded for gradients."""
    current = torch.cuda.device(device) if device.type == "cuda" else nullcontext()
    with torch.no_grad(), current, np.errstate(all="ignore"):
        yield


def beside(x: Any, device: torch.device) -> torch.Tensor | None:
    """A side array as a dense tensor on `device`; None stays None."""
    return None if x is None else (x.to(device) if isinstance(x, torch.Tensor) else to_device(x, str(device))).contiguous()


def blocks(n: int, size: int) -> int:
    return -(-n // size)


def fill(target: np.ndarray | None, source: torch.Tensor | None) -> None:
    """Write a result made on the host to the caller's array, whatever its strides; None: nothing is asked for."""
    if target is not None and source is not None:
        target[...] = (source.view(torch.int16) if source.dtype == torch.bfloat16 else source).numpy().view(target.dtype)
