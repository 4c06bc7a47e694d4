"""Qdrant's fastembed: its pooling and normalization, for every model it runs.

    from fastembed_core.integrations.qdrant_fastembed import patch; patch()

`unpatch` undoes it. (That package and this one share no more than part of a name.)
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import Any

import fastembed  # noqa: F401  its modules, which take the functions by name
import numpy as np
from fastembed.common import utils

import fastembed_core as fc

logger = logging.getLogger(__name__)

HOST: dict[str, Callable[..., Any]] = {name: getattr(utils, name) for name in ("normalize", "mean_pooling", "last_token_pooling")}


def normalize(input_array: Any, p: int = 2, dim: int = 1, eps: float = 1e-12) -> Any:
    """``fastembed.common.utils.normalize`` by our kernel for p = 2 over the last axis; float64 comes back as such, accurate to float32."""
    if p != 2 or dim not in (-1, input_array.ndim - 1) or input_array.dtype not in (np.float16, np.float32, np.float64):
        return HOST["normalize"](input_array, p, dim, eps)
    return fc.normalize(input_array, eps=eps).astype(input_array.dtype, copy=False)


def mean_pooling(input_array: Any, attention_mask: Any) -> Any:
    """``fastembed.common.utils.mean_pooling``: (B, D) float64 as the host gives it, accurate to float32."""
    if not _ours(input_array, attention_mask):
        return HOST["mean_pooling"](input_array, attention_mask)
    return fc.pool(input_array, attention_mask, mode="mean").astype(np.float64)


def last_token_pooling(input_array: Any, attention_mask: Any) -> Any:
    """``fastembed.common.utils.last_token_pooling``, bit for bit, for rows padded on either side."""
    if not _ours(input_array, attention_mask) or not np.any(attention_mask, axis=1).all():
        return HOST["last_token_pooling"](input_array, attention_mask)
    return fc.pool(input_array, attention_mask, mode="lasttoken", precision=input_array.dtype.name)


def _ours(x: Any, mask: Any) -> bool:
    plain = x.ndim == 3 and x.dtype in (np.float16, np.float32) and tuple(mask.shape) == tuple(x.shape[:2])
    return plain and mask.dtype.kind in "biu" and bool((mask.astype(bool) == mask).all())


OURS: dict[str, Callable[..., Any]] = {"normalize": normalize, "mean_pooling": mean_pooling, "last_token_pooling": last_token_pooling}


def patch() -> None:
    """Put our functions in the place of the host's in every module of fastembed that uses them; its models are then ours too."""
    _exchange(HOST, OURS)
    logger.info("patch: replaced %s", ", ".join(OURS))


def unpatch() -> None:
    """Undo `patch`."""
    _exchange(OURS, HOST)


def _exchange(old: dict[str, Callable[..., Any]], new: dict[str, Callable[..., Any]]) -> None:
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "fastembed":
            for function, there in old.items():
                if vars(module).get(function) is there:
                    setattr(module, function, new[function])
