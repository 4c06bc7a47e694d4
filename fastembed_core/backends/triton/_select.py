"""The k smallest int32 keys of each row, at equal keys the first: a radix selection, one program a row."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from ._launch import launch

BLOCK = tl.constexpr(4096)


@triton.jit(do_not_specialize=["n", "k"])
def _select_kernel(keys, places, worst, flags, n, k):
    """places[i, :] ascending, and worst[i] the largest key among them. k is at most n."""
    i = tl.program_id(0).to(tl.int64)
    if flags is not None:
        if tl.load(flags + i) == 0:
            return
    at = keys + i * n
    digits = tl.arange(0, 256)
    prefix = 0  # the digits found so far, of the key with its sign flipped so that it sorts unsigned
    rest = k  # keys still wanted among those with that prefix
    for step in tl.static_range(4):
        counts = tl.zeros((256,), tl.int32)
        for first in range(0, n, BLOCK):
            place = first + tl.arange(0, BLOCK)
            key = tl.load(at + place, mask=place < n, other=0) ^ -(2**31)
            begun = (key & (0 if step == 0 else -(1 << (32 - 8 * step)))) == prefix
            counts += tl.histogram((key >> (24 - 8 * step)) & 255, 256, mask=(place < n) & begun)
        through = tl.cumsum(counts, axis=0)
        digit = tl.sum((through < rest).to(tl.int32), axis=0)
        rest -= tl.sum(tl.where(digits < digit, counts, 0), axis=0)
        prefix |= digit << (24 - 8 * step)
    limit = prefix ^ -(2**31)
    tl.store(worst + i, limit)
    taken, equal = 0, 0
    for first in range(0, n, BLOCK):
        place = first + tl.arange(0, BLOCK)
        key = tl.load(at + place, mask=place < n, other=0)
        same = ((key == limit) & (place < n)).to(tl.int32)
        take = ((key < limit) & (place < n)) | ((same > 0) & (equal + tl.cumsum(same, axis=0) <= rest))
        rank = taken + tl.cumsum(take.to(tl.int32), axis=0) - 1
        tl.store(places + (i * k + rank), place, mask=take)
        taken += tl.sum(take.to(tl.int32), axis=0)
        equal += tl.sum(same, axis=0)


def select(keys: torch.Tensor, places: torch.Tensor, worst: torch.Tensor, flags: torch.Tensor | None) -> None:
    """Fill places (t, k) int32 and worst (t,) int32 from keys (t, n), of the rows flagged where flags is given."""
    launch(_select_kernel, len(keys), keys, places, worst, flags, keys.shape[1], places.shape[1], warps=8)
