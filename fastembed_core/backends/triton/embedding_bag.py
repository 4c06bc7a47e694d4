"""Rows of the table gathered, each bag reduced in pieces."""

from __future__ import annotations

import numpy as np
import torch

from ...operands import Rows
from ...ops.embedding_bag import Bags, Recipe
from ...ops.pool import EPS
from ._launch import beside, device_of, fill, on
from ._operand import VALUES, side_of
from ._pieces import reduce_pieces
from ._rows import output


def embedding_bag(
    table: Rows, bags: Bags, how: Recipe, out: np.ndarray | None, scale: np.ndarray | None
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Fills host arrays `out` and `scale` (interpreted), or makes tensors on the table's device where they are None."""
    device = device_of(table)
    with on(device):
        made = output(bags.n, table.dim, how.precision, beside(how.ranges, device), device)
        reduce_pieces(
            side_of(table, VALUES, device), made, bags.n, len(bags.ids), how.mode,
            EPS if how.normalize else None, weights=beside(bags.weights, device), offsets=beside(bags.offsets, device),
            places=beside(bags.ids, device), gather=True,
        )  # fmt: skip
    fill(out, made.codes)
    fill(scale, made.scale)
    return made.codes, made.scale
