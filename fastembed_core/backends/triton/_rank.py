"""The k best of a few keys of each query, in order, as scores and rows: one program a query, one launch."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from ...ops.scores import Score
from ._canonical import EMPTY, NAN, scores_of
from ._launch import launch

BLOCKS = (16, 128, 1024, 4096)
MOST = BLOCKS[-1]  # keys that a program sorts in registers
COUNTED = tl.constexpr(128)  # so few are ranked by comparing each with each


@triton.jit(do_not_specialize=["width", "m", "k"])
def _rank_kernel(
    keys, places, ids, scores, rows, width, m, k, worst, SIMILARITY: tl.constexpr, INTEGER: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    """Of query i: the k best of keys[i, places[i, :m]], or of keys[i, :m], at equal keys the first; its rows are ids there, or places."""
    i = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, BLOCK)
    inside = at < m
    place = at if places is None else tl.load(places + (i * m + at), mask=inside, other=0)
    key = tl.load(keys + (i * width + place), mask=inside, other=EMPTY)
    order = (key.to(tl.int64) << 32) | (place if places is None else tl.where(inside, place, 2**31 - 1)).to(tl.int64)
    if BLOCK <= COUNTED:
        rank = tl.sum((order[None, :] < order[:, None]).to(tl.int32), axis=1)
        wanted = inside & (rank < k)
    else:
        order = tl.sort(order)
        key, place, rank = (order >> 32).to(tl.int32), order & 0xFFFFFFFF, at
        wanted = at < k
    filled = wanted & (key != EMPTY)
    row = place if ids is None else tl.load(ids + (i * width + place), mask=filled, other=-1)
    tl.store(rows + (i * k + rank), tl.where(filled, row, -1), mask=wanted)
    code = ~key if SIMILARITY else key
    if INTEGER:
        score = tl.where(key == EMPTY, worst, code)
    else:
        value = (code ^ ((code >> 31) & 0x7FFFFFFF)).to(tl.float32, bitcast=True)
        score = tl.where(key == NAN, float("nan"), tl.where(key == EMPTY, worst, value))
    tl.store(scores + (i * k + rank), score, mask=wanted)


def ranked(
    keys: torch.Tensor, places: torch.Tensor | None, ids: torch.Tensor | None, score: Score, scores: torch.Tensor, rows: torch.Tensor
) -> None:
    """Fill scores and rows (t, k) with the k best of keys (t, width), of which those at places (t, k), where given, are the best.

    ids (t, width) int64 are the keys' rows, ascending; None: they are their places.
    """
    k = rows.shape[1]
    m = keys.shape[1] if places is None else k
    block = next((size for size in BLOCKS if m <= size), None)
    if block is not None:
        launch(
            _rank_kernel, len(keys), keys, places, ids, scores, rows, keys.shape[1], m, k, score.unfilled,
            SIMILARITY=score.similarity, INTEGER=score.dtype.name == "int32", BLOCK=block, warps=max(1, block // 512),
        )  # fmt: skip
        return
    assert places is not None
    best, order = keys.gather(1, places.long()).sort(dim=1, stable=True)
    place = places.gather(1, order).long()
    scores.copy_(scores_of(best, score))
    rows.copy_((place if ids is None else ids.gather(1, place)).masked_fill_(best == EMPTY.value, -1))
