"""Cutting an operand into blocks whose temporaries stay in the cache."""

from collections.abc import Iterator

from ...operands import Rows

_ELEMENTS = 1 << 16


def blocks(x: Rows) -> Iterator[slice]:
    """The rows of x, about 64k elements at a time."""
    step = max(1, _ELEMENTS // max(1, x.dim))
    for start in range(0, x.n, step):
        yield slice(start, start + step)
