"""Hamming distances by popcount or binary tensor cores, and floats so few that launches would cost more than scores."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np
import torch

from ... import _cuda
from ...arrays import to_device
from ...dispatch import Unsupported
from ...operands import Mask, Rows
from ...ops.scores import Score

SMALL = 1 << 27  # elements of all pairs of rows, which wide float64 units score while several kernels would be launched
WIDE = ((8, 0), (9, 0), (10, 0))  # compute capabilities of such units; any other has a thirty-second of them
FEW = 4  # queries of which popcount keeps up with memory


def topk(
    q: Rows,
    x: Rows,
    k: int,
    score: Score,
    mask: Mask | None,
    exclude: np.ndarray | None,
    stats: dict[str, Any] | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    device = _device_of(q, x)
    excluded = 0 if exclude is None else exclude.shape[1]
    tensor = _by_tensor_cores(q, x, k, score, excluded)
    on_device = torch.cuda.device(device) if device.type == "cuda" else nullcontext()
    with torch.no_grad(), on_device:
        scores = torch.empty((q.n, k), dtype=torch.int32 if score.metric == "hamming" else torch.float32, device=device)
        rows = torch.empty((q.n, k), dtype=torch.int64, device=device)
        if rows.numel():
            a, b = (side.to_torch(str(device)) for side in (q, x))
            may = _on(device, None if mask is None else mask.data)
            out = _on(device, exclude if excluded else None)
            search = _cuda.Search(
                **_matrix("q", a), **_matrix("x", b), dim=q.dim, k=k,
                mask=_address(may), mask_stride=may.stride(0) if may is not None and may.ndim == 2 else 0,
                packed=mask is not None and mask.packed, exclude=_address(out), excluded=excluded,
                scores=scores.data_ptr(), rows=rows.data_ptr(),
            )  # fmt: skip
            stream = _cuda.Stream(device.index or 0, torch.cuda.current_stream().cuda_stream if device.type == "cuda" else 0)
            if score.metric == "hamming":
                workspace = _bytes(_cuda.hamming_workspace(search, tensor, stream), device)
                _cuda.hamming_topk(search, tensor, q.flip ^ x.flip, workspace.data_ptr(), stream)
            else:
                workspace = _bytes(_cuda.float_workspace(search, stream), device)
                _cuda.float_topk(search, q.kind, x.kind, score.metric, workspace.data_ptr(), stream)
        if stats is not None:
            stats |= {"scanned": q.n * x.n, "rescored": 0, "scan": "bits" if score.metric == "hamming" else "float"}
    return scores, rows


def _device_of(*operands: Rows) -> torch.device:
    """Where the operands are: host memory only where the kernels are compiled for it."""
    tensor = next((rows.data for rows in operands if rows.is_torch), None)
    device = torch.device("cpu") if tensor is None else tensor.device
    if device.type != ("cpu" if _cuda.on_host else "cuda"):
        raise Unsupported(f"its kernels take CUDA tensors, and an input is on {device}")
    return device


def _by_tensor_cores(q: Rows, x: Rows, k: int, score: Score, excluded: int) -> bool:
    """Which of the two ways bits are compared; declines what neither way nor the one launch for floats takes."""
    if k > _cuda.most:
        raise Unsupported(f"k is {k}, and a block holds {_cuda.most}")
    if x.n >= 1 << 32:
        raise Unsupported("rows are numbered in 32 bits")
    if score.metric == "hamming":
        if q.dim > _cuda.most_bits:
            raise Unsupported(f"a row has {q.dim} bits, and shared memory holds queries of {_cuda.most_bits}")
        return q.n > FEW and 0 < q.dim <= _cuda.tensor_bits and k + excluded <= _cuda.most
    if score.form != "float" or not {q.kind, x.kind} <= {"f32", "f16", "bf16"}:
        raise Unsupported(f"it has no kernel for {score.metric} of {q.kind} and {x.kind} operands")
    wide = _cuda.on_host or torch.cuda.get_device_capability(x.data.device) in WIDE
    if q.dim > _cuda.most_floats or q.n * x.n * q.dim > (SMALL if wide else SMALL // 32):
        raise Unsupported("the search is too large for one launch that scores every row in float64")
    return False


def _matrix(name: str, rows: Rows) -> dict[str, int]:
    data = rows.data.detach()
    return {name: data.data_ptr(), f"{name}_n": rows.n, f"{name}_stride": data.stride(0) * data.element_size()}


def _on(device: torch.device, x: Any) -> torch.Tensor | None:
    """A side array as a dense tensor on `device`."""
    return None if x is None else to_device(x, str(device)).contiguous()


def _address(x: torch.Tensor | None) -> int:
    return 0 if x is None else x.data_ptr()


def _bytes(count: int, device: torch.device) -> torch.Tensor:
    return torch.empty(count, dtype=torch.uint8, device=device)
