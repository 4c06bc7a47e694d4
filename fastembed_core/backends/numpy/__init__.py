"""Always works: blocked BLAS scans, then the canonical score of what survives."""

import numpy as np

from ...dispatch import Backend

BACKEND = Backend(
    name="numpy",
    ops=frozenset(
        [
            "pool",
            "normalize",
            "quantize",
            "dequantize",
            "calibrate",
            "similarity",
            "similarity_paired",
            "topk",
            "rescore",
            "range_search",
            "merge_topk",
            "maxsim",
            "embedding_bag",
        ]
    ),
    missing=lambda: None,
    describe=lambda: f"numpy {np.__version__}",
)
