"""The certificate of a scan: which queries, or groups, its bounds leave in doubt."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from ...ops.scores import Score
from ._canonical import EMPTY, NAN
from ._launch import blocks, launch
from ._queries import Queries
from ._scan import HIGH, LOW


@triton.jit(do_not_specialize=["count", "groups"])
def _certify_kernel(keys, worst, bound, factor, square, shift, before, flags, count, groups, METRIC: tl.constexpr, BLOCK: tl.constexpr):
    """flags[i, g] is 0 where no row of a group of that key can score as well as worst[i], rounded to float32 as it will be, or where
    there was no doubt before."""
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = place < count
    i = place // groups
    left_out, last = tl.load(keys + place, mask=inside, other=0), tl.load(worst + i, mask=inside, other=0)
    squared = tl.load(square + i, mask=inside, other=0)
    norm = tl.sqrt(squared)
    unit = 1.0 / tl.load(factor + i, mask=inside, other=1).to(tl.float64)
    similar: tl.constexpr = METRIC == "ip" or METRIC == "cosine"
    merit = _float_of(~left_out).to(tl.float64) * unit
    if shift is not None:
        merit += tl.load(shift + i, mask=inside, other=0)
    score = _float_of(~last if similar else last).to(tl.float64)
    huge = tl.full(score.shape, 3.4028234e38, tl.float64)
    score = tl.minimum(tl.maximum(score, -huge), huge)
    tiny = tl.full(score.shape, 2.0**-148, tl.float64)
    slack = tl.abs(score) * 2.0**-22 + tiny
    if METRIC == "ip":
        floor = score - slack
    elif METRIC == "cosine":
        floor = (score - slack) * norm
        if shift is None:
            merit += tl.load(bound + i, mask=inside, other=0).to(tl.float64) * unit
    else:
        far = score + slack
        if METRIC == "l2":
            far = far * far
        floor = (squared * (1 - 2.0**-40) - far) * 0.5
    bounded = (squared >= LOW) & (squared <= HIGH) & (last < NAN)
    certain = (left_out == EMPTY) | (bounded & ((merit < floor) | (left_out == NAN)))
    if before is not None:
        certain = certain | (tl.load(before + place, mask=inside, other=0) == 0)
    tl.store(flags + place, 1 - certain.to(tl.int32), mask=inside)


@triton.jit
def _float_of(bits):
    """The inverse of `ordered`."""
    return (bits ^ ((bits >> 31) & 0x7FFFFFFF)).to(tl.float32, bitcast=True)


def flags_of(keys: torch.Tensor, worst: torch.Tensor, queries: Queries, score: Score, before: torch.Tensor | None = None) -> torch.Tensor:
    """(t, groups) int32 from the groups' keys: 1 where bounds do not prove that all rows score worse than worst (t,), itself a key, and
    flags of an earlier scan, where given, said the same."""
    flags = torch.empty(keys.shape, dtype=torch.int32, device=keys.device)
    count, groups = keys.numel(), keys.shape[1]
    launch(
        _certify_kernel, blocks(count, 128), keys, worst, *queries[1:4], queries.shift, before, flags, count, groups,
        METRIC=score.metric, BLOCK=128,
    )  # fmt: skip
    return flags
