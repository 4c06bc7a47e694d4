"""Always works: blocked BLAS scans, then the canonical score of what survives."""

import numpy as np

from ...dispatch import Backend, cells

BACKEND = Backend(
    name="numpy",
    ops=cells(__path__),
    missing=lambda: None,
    describe=lambda: f"numpy {np.__version__}",
)
