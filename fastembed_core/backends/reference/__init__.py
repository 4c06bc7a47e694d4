"""The oracle: float64, naive, short enough to be read as the specification. Never chosen automatically."""

from ...dispatch import Backend

BACKEND = Backend(
    name="reference",
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
    describe=lambda: "float64, plain",
)
