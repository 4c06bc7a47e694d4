"""Differentiable, and the same bits in any batch: valid tokens move to the front, and sums run in a fixed order."""

from typing import Any, NamedTuple

import numpy as np
import torch

from ...arrays import from_host
from ...operands import Rows
from ...ops.pool import EPS, FLOAT_PRECISIONS, Recipe, Tokens
from .normalize import normalize
from .quantize import quantize

_PIECE = 64  # tokens; a sum of n is 64 + n / 64 additions deep


def pool(x: Tokens, how: Recipe, out: np.ndarray | None, scale: np.ndarray | None) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Fills host arrays `out` and `scale`, or makes tensors on x's device where they are None."""
    states = Rows(x.data, x.kind, x.data.shape[-1]).to_torch("cpu").data
    device = states.device
    query = None if how.query is None else _on(device, how.query)
    mask, weights = (None if side is None else _on(device, side) for side in (x.mask, x.weights))
    # Temporaries of a block stay in the host's cache, or fill a device.
    ends = x.offsets.cpu().numpy() if torch.is_tensor(x.offsets) else x.offsets
    blocks = Tokens(states, x.kind, mask, weights, ends).blocks(1 << 18 if device.type == "cpu" else 1 << 24)
    rows = torch.cat([pooled(aligned(block), how, query) for _, block in blocks])
    return finish(rows[:, : how.dim], how, out, scale)  # not before the sums, whose order changes with D


def finish(rows: torch.Tensor, how: Any, out: np.ndarray | None, scale: np.ndarray | None) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Float32 rows normalized and in the precision that `how` says."""
    if how.normalize:
        rows = normalize(Rows(rows, "f32", rows.shape[1]), EPS, None)
    if how.precision not in FLOAT_PRECISIONS:
        ranges = None if how.ranges is None else _on(rows.device, how.ranges)
        return quantize(Rows(rows, "f32", rows.shape[1]), how.precision, ranges, out, scale)
    rows = rows.to(getattr(torch, how.precision))
    if out is not None:
        out[...] = rows.numpy()
    return rows, None


def _on(device: torch.device, x: Any) -> torch.Tensor:
    return (from_host(x) if isinstance(x, np.ndarray) else x).to(device)


class Aligned(NamedTuple):
    """Sequences with their valid tokens in front, in order, and zeros behind."""

    states: torch.Tensor  # (B, T, D) float32
    counts: torch.Tensor  # (B,) of valid tokens
    alive: torch.Tensor  # (B, T): t < count
    places: torch.Tensor  # (B, T) positions counted from the first valid token
    weights: torch.Tensor | None  # (B, T)


def aligned(x: Tokens) -> Aligned:
    states, valid, weights = x.data, x.mask, x.weights
    if x.offsets is not None:
        ends = _on(states.device, x.offsets)
        tokens = ends[:-1, None] + torch.arange(int(np.diff(x.offsets).max(initial=0)), device=states.device)
        inside = tokens < ends[1:, None]
        tokens = torch.where(inside, tokens, 0)
        valid = inside if valid is None else inside & valid[tokens]
        states, weights = states[tokens], None if weights is None else weights[tokens]
    b, t = states.shape[:2]
    positions = torch.arange(t, device=states.device).expand(b, t)
    if valid is None:
        counts = torch.full((b,), t, device=states.device)
        return Aligned(states.float(), counts, positions < t, positions, weights)
    places = torch.argsort((~valid).to(torch.int8), dim=1, stable=True)
    counts = valid.sum(dim=1)
    alive = positions < counts[:, None]
    rows = torch.arange(b, device=states.device)[:, None]
    padded = torch.nn.functional.pad(states, (0, 0, 0, 1))  # a token of zeros to point at: five times as fast as a mask
    states = padded[rows, torch.where(alive, places, t)].float()
    weights = None if weights is None else torch.where(alive, weights.gather(1, places), 0.0)
    return Aligned(states, counts, alive, places - places[:, :1], weights)


def pooled(x: Aligned, how: Recipe, query: torch.Tensor | None) -> torch.Tensor:
    """(B, D) float32, pooled."""
    if x.states.shape[1] == 0:
        return x.states.new_zeros(len(x.states), how.dim)
    if how.mode == "cls":
        return x.states[:, 0]
    if how.mode == "lasttoken":
        return torch.take_along_dim(x.states, (x.counts - 1).clamp_min(0)[:, None, None], 1)[:, 0]
    empty = (x.counts == 0)[:, None]
    if how.mode == "max":
        return torch.where(empty, 0.0, x.states.masked_fill(~x.alive[..., None], -torch.inf).amax(dim=1))
    if query is not None:
        return _attention(x, empty, query, how.scale)
    weights = x.weights
    if how.mode == "weightedmean":
        weights = x.alive * (1.0 + x.places) * (1.0 if weights is None else weights)
    divisor = x.counts[:, None].float() if weights is None else summed(weights[..., None])
    divisor = torch.where(empty, 1.0, divisor)
    total = summed(x.states if weights is None else weights[..., None] * x.states)
    return total / (divisor.sqrt() if how.mode == "mean_sqrt_len_tokens" else divisor)


def summed(x: torch.Tensor) -> torch.Tensor:
    """Over the tokens of (B, T, D): pieces of 64, then their sums in order. Zeros behind the last token change no bit."""
    pieces = -(-x.shape[1] // _PIECE)
    x = torch.nn.functional.pad(x, (0, 0, 0, pieces * _PIECE - x.shape[1]))
    parts = x.reshape(len(x), pieces, _PIECE, x.shape[2]).sum(dim=2)
    total = parts[:, 0]
    for i in range(1, pieces):
        total = total + parts[:, i]
    return total


def _attention(x: Aligned, empty: torch.Tensor, queries: torch.Tensor, scale: float) -> torch.Tensor:
    heads, width = queries.shape
    parts = x.states.split(width, dim=2) if width < x.states.shape[2] else [x.states] * heads
    rows = []
    for query, part in zip(queries, parts, strict=True):
        scores = torch.where(x.alive, (part * query).sum(dim=2) * scale, -torch.inf)
        top = scores.detach().amax(dim=1, keepdim=True)
        p = torch.exp(scores - torch.where(top == -torch.inf, 0.0, top))
        rows.append(summed(p[..., None] * part) / torch.where(empty, 1.0, summed(p[..., None])))
    return torch.cat(rows, dim=1)
