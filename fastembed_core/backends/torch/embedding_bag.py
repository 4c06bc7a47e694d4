"""Differentiable, on any device: rows gathered a block of bags at a time, then reduced as pool reduces tokens."""

from __future__ import annotations

import numpy as np
import torch

from ...arrays import to_device, unread
from ...operands import Rows
from ...ops import pool as pooling
from ...ops.embedding_bag import Bags, Recipe
from ...ops.maxsim import runs
from .dequantize import dequantize
from .pool import aligned, finish, pooled, summed


def embedding_bag(
    table: Rows, bags: Bags, how: Recipe, out: np.ndarray | None, scale: np.ndarray | None
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Fills host arrays `out` and `scale`, or makes tensors on the table's device where they are None."""
    x = table.to_torch("cpu")
    device = x.data.device
    ids, offsets = (side.cpu().numpy() if torch.is_tensor(side) else side for side in (bags.ids, bags.offsets))
    weights = bags.weights if bags.weights is None or torch.is_tensor(bags.weights) else to_device(bags.weights, str(device))
    elements = 1 << 18 if device.type == "cpu" else 1 << 24
    grad = torch.is_grad_enabled() and (x.data.requires_grad or (weights is not None and weights.requires_grad))
    parts = [torch.zeros(0, table.dim, device=device)]
    result = torch.zeros(0 if grad else bags.n, table.dim, device=device)  # small results kept between blocks would pin the heap
    for some in runs(offsets, max(1, elements // max(1, table.dim))):
        ends = offsets[some.start : some.stop + 1]
        at = slice(int(ends[0]), int(ends[-1]))
        values = _gathered(x, to_device(ids[at], str(device)))
        block = aligned(pooling.Tokens(values, "f32", None, None if weights is None else weights[at].to(device), ends - ends[0]))
        if how.mode == "sum" and block.states.shape[1]:
            part = summed(block.states if block.weights is None else block.weights[..., None] * block.states)
        else:
            mode = "mean" if how.mode == "sum" else how.mode  # of no rows at all
            part = pooled(block, pooling.Recipe(mode, None, 1.0, table.dim, False, "float32", None), None)
        if grad:
            parts.append(part)
        else:
            result[some] = part
    return finish(torch.cat(parts) if grad else result, how, out, scale)


def _gathered(table: Rows, ids: torch.Tensor) -> torch.Tensor:
    if not (unread(ids) and table.n):
        return _rows(table, ids)
    outside = (ids < 0) | (ids >= table.n)
    return _rows(table, ids.masked_fill(outside, 0)).masked_fill(outside[:, None], torch.nan)


def _rows(table: Rows, ids: torch.Tensor) -> torch.Tensor:
    data = table.data.index_select(0, ids)
    scale = None if table.scale is None else table.scale.index_select(0, ids)
    if table.is_float or (scale is None and table.ranges is None and table.kind != "bits"):
        return data.float()
    rows = Rows(data, table.kind, table.dim, scale, table.ranges, table.flip)
    return dequantize(rows, None)
