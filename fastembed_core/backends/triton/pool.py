"""Valid tokens are listed where there is a mask; then sequences are reduced in pieces."""

from __future__ import annotations

import numpy as np
import torch

from ...operands import Rows
from ...ops.pool import EPS, Recipe, Tokens
from ._launch import beside, device_of, fill, on
from ._operand import VALUES, side_of
from ._pieces import reduce_pieces
from ._rows import output
from ._tokens import listed


def pool(x: Tokens, how: Recipe, out: np.ndarray | None, scale: np.ndarray | None) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Fills host arrays `out` and `scale` (interpreted), or makes tensors on x's device where they are None."""
    tokens = Rows(x.data, x.kind, x.data.shape[-1])
    device = device_of(tokens)
    with on(device):
        states = side_of(tokens, VALUES, device)
        if states.data.stride(-1) != 1:
            states = states._replace(data=states.data.contiguous())
        mask, offsets = beside(x.mask, device), beside(x.offsets, device)
        places, counts = (None, None) if mask is None else listed(mask, offsets)
        length = states.data.shape[0 if x.data.ndim == 2 else 1]
        made = output(x.n, how.dim, how.precision, beside(how.ranges, device), device)
        reduce_pieces(
            states, made, x.n, length, how.mode, EPS if how.normalize else None, weights=beside(x.weights, device), offsets=offsets,
            places=places, counts=counts, query=beside(how.query, device), scale=float(how.scale),
        )  # fmt: skip
    fill(out, made.codes)
    fill(scale, made.scale)
    return made.codes, made.scale
