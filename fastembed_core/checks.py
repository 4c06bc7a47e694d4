"""Checks that arguments of many calls share."""

from __future__ import annotations

import operator
from typing import Any


def integer_of(x: Any, name: str, expected: str = "an int") -> int:
    """Anything that is an integer, numpy's and torch's too, as an int; True is none."""
    if type(x).__name__ not in ("bool", "bool_"):
        try:
            return operator.index(x)
        except TypeError:
            pass
    raise TypeError(f"{name}: got {type(x).__name__}, expected {expected}")


def count_of(x: Any, name: str, least: int = 0, most: int | None = None) -> int:
    """An integer of at least `least` and, where there is one, at most `most`."""
    expected = f"an int of at least {least}" if most is None else f"an int of {least} to {most}"
    count = integer_of(x, name, expected)
    if count < least or (most is not None and count > most):
        raise ValueError(f"{name}: got {count}, expected {expected}")
    return count
