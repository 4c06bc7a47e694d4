"""The operands of tests/cases.py on a device, and what the reference says of them."""

from __future__ import annotations

from typing import Any

import cases
import numpy as np

import fastembed_core as fc
from fastembed_core.arrays import Origin


def moved(x: Any, device: str) -> Any:
    """An array or Codes as torch tensors on `device`; None stays None."""
    if x is None:
        return None
    if isinstance(x, fc.Codes):
        return fc.Codes(moved(x.data, device), x.precision, x.dim, moved(x.scale, device), moved(x.ranges, device))
    x = x.view(np.uint16) if x.dtype.name == "bfloat16" else x
    return Origin("torch").give(x).to(device)


def agree(op: Any, device: str, queries: Any, corpus: Any, *args: Any, what: str = "", **kwargs: Any) -> None:
    """A search on `device` returns the reference's bits."""
    expected = op(queries, corpus, *args, **kwargs, backend="reference")
    actual = op(moved(queries, device), moved(corpus, device), *args, **kwargs, backend="triton")
    cases.assert_same(actual, expected, what)
