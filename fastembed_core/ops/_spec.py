"""What an operation returns: the spec in its contract allocates results, checks `out=`, and is all that torch traces of a cell."""

from __future__ import annotations

from typing import Any, NamedTuple


class Spec(NamedTuple):
    """One array. A size of None is known once the operation has run."""

    shape: tuple[Any, ...]
    dtype: str
