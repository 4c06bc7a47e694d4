"""fastembed_core: the layer under embedding systems. Kernels for pooling, normalization, quantization and exact search.

Names are loaded on first use: importing the package loads numpy and nothing heavier.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "pool": "ops.pool",
    "normalize": "ops.normalize",
    "quantize": "ops.quantize",
    "dequantize": "ops.quantize",
    "calibrate": "ops.quantize",
    "similarity": "ops.similarity",
    "similarity_paired": "ops.similarity",
    "topk": "ops.topk",
    "rescore": "ops.rescore",
    "maxsim": "ops.maxsim",
    "embedding_bag": "ops.embedding_bag",
    "range_search": "ops.range_search",
    "merge_topk": "ops.merge_topk",
    "assign": "ops.assign",
    "Corpus": "corpus",
    "Codes": "codes",
    "explain": "dispatch",
    "use_backend": "dispatch",
    "Unsupported": "dispatch",
    "num_threads": "threads",
    "set_num_threads": "threads",
}

__all__ = [*_HOMES, "__version__"]

if TYPE_CHECKING:
    from .codes import Codes as Codes
    from .corpus import Corpus as Corpus
    from .dispatch import Unsupported as Unsupported
    from .dispatch import explain as explain
    from .dispatch import use_backend as use_backend
    from .ops.assign import assign as assign
    from .ops.embedding_bag import embedding_bag as embedding_bag
    from .ops.maxsim import maxsim as maxsim
    from .ops.merge_topk import merge_topk as merge_topk
    from .ops.normalize import normalize as normalize
    from .ops.pool import pool as pool
    from .ops.quantize import calibrate as calibrate
    from .ops.quantize import dequantize as dequantize
    from .ops.quantize import quantize as quantize
    from .ops.range_search import range_search as range_search
    from .ops.rescore import rescore as rescore
    from .ops.similarity import similarity as similarity
    from .ops.similarity import similarity_paired as similarity_paired
    from .ops.topk import topk as topk
    from .threads import num_threads as num_threads
    from .threads import set_num_threads as set_num_threads


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
