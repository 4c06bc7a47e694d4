"""Lists of numbers, which hosts take for vectors."""

from __future__ import annotations

from typing import Any

import numpy as np


def array_of(x: Any) -> Any:
    """A list of vectors as float32; anything else as it is."""
    return np.asarray(x, np.float32) if isinstance(x, list | tuple) else x
