"""What the tests of host systems share: the data folder, and vectors with ties, duplicates and a zero row."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

# No host may look for a newer model, send statistics or pick up a key: what a test needs is installed. scikit-learn's checks of
# other array types run where SCIPY_ARRAY_API is set.
for name, value in {
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HAYSTACK_TELEMETRY_ENABLED": "False",
    "RAY_USAGE_STATS_ENABLED": "0",
    "LANGSMITH_TRACING": "false",
    "DO_NOT_TRACK": "1",
    "SCIPY_ARRAY_API": "1",
}.items():
    os.environ.setdefault(name, value)

DATA = Path(os.environ.get("FASTEMBED_CORE_DATA") or Path(__file__).parents[3] / "shared" / "data")


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real data, or a skip that says where it was looked for."""
    if not (DATA / "ref").is_dir():
        pytest.skip(f"no data folder at {DATA}; FASTEMBED_CORE_DATA names one")
    return DATA


@pytest.fixture(scope="session")
def vectors() -> Callable[[int, int, int], np.ndarray]:
    """(n, dim) float32 rows from a seed; from 4 rows on the second repeats the first and the last is zero."""

    def make(n: int, dim: int, seed: int) -> np.ndarray:
        rows = np.random.default_rng(seed).standard_normal((n, dim), np.float32)
        if n > 3:
            rows[1], rows[-1] = rows[0], 0
        return rows

    return make
