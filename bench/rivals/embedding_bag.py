"""Rivals of embedding_bag: on float32 rows, those that codes stand for too."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from .registry import rival, tensor


@rival("torch", "embedding_bag/float32", needs="torch")
@rival("torch, float32 rows", "embedding_bag/int8_row", needs="torch")
def torch_bag(o: SimpleNamespace, threads: int) -> Callable[[], Any]:
    import torch

    table, ids, offsets = tensor(o.floats), tensor(o.ids), tensor(o.offsets)
    return lambda: torch.nn.functional.embedding_bag(ids, table, offsets, mode="mean", include_last_offset=True).numpy()


@rival("torch quantized", "embedding_bag/int8_row", needs="torch", result=lambda answer: answer[0].numpy() / answer[1])
def torch_quantized_bag(o: SimpleNamespace, threads: int) -> Callable[[], Any]:
    import torch

    # Its rows end in a float32 scale and bias: written as they are, codes from -127 stand for the very values ours do. It has sums
    # alone, which are divided after the timing.
    data, scale = np.asarray(o.table.data), np.asarray(o.table.scale, np.float32)[:, None]
    row = np.concatenate([data.view(np.uint8) ^ np.uint8(0x80), np.hstack([scale, -128 * scale]).view(np.uint8)], axis=1)
    packed, ids, offsets = tensor(row), tensor(o.ids), tensor(o.offsets)
    counts = np.diff(o.offsets)[:, None]
    bag = torch.ops.quantized.embedding_bag_byte_rowwise_offsets
    return lambda: (bag(packed, ids, offsets, False, 0, False, None, None, True), counts)
