"""The valid tokens of each sequence, listed, so that no later kernel sees padding: the same bits wherever it stands."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from ._launch import launch

BLOCK = tl.constexpr(1024)


@triton.jit(do_not_specialize=["length"])
def _list_kernel(mask, stride, offsets, places, counts, length):
    """places[start + r] is the position in sequence b of its r-th valid token; counts[b] is how many there are."""
    b = tl.program_id(0).to(tl.int64)
    at = b * stride
    start = b * length
    if offsets is not None:
        start = tl.minimum(tl.maximum(tl.load(offsets + b), 0), length)
        at = start
        length = (tl.minimum(tl.maximum(tl.load(offsets + b + 1), start), length) - start).to(tl.int32)
    found = 0
    for first in range(0, length, BLOCK):
        position = first + tl.arange(0, BLOCK)
        valid = (tl.load(mask + (at + position), mask=position < length, other=0) != 0).to(tl.int32)
        rank = found + tl.cumsum(valid, axis=0) - valid
        tl.store(places + (start + rank), position, mask=valid != 0)
        found += tl.sum(valid, axis=0)
    tl.store(counts + b, found)


def listed(mask: torch.Tensor, offsets: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
    """(places, counts) of a bool mask (B, T), or (total,) with offsets (B + 1,)."""
    n = mask.shape[0] if offsets is None else len(offsets) - 1
    places = torch.empty(mask.shape, dtype=torch.int32, device=mask.device)
    counts = torch.empty(n, dtype=torch.int32, device=mask.device)
    mask = mask.contiguous()
    launch(_list_kernel, n, mask.view(torch.uint8), mask.stride(0), offsets, places, counts, mask.shape[-1])
    return places, counts
