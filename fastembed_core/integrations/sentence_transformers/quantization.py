"""`quantize_embeddings` and the searches over its codes, with the host's signatures and results."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from sentence_transformers.util import quantization as host

import fastembed_core as fc

from ._embeddings import host as on_host
from ._embeddings import matrix
from .retrieval import hits

RANGED = ("int8", "uint8")
FEW = 100  # rows below which the host warns of the ranges they give


def quantize_embeddings(embeddings: Any, precision: str, ranges: Any = None, calibration_embeddings: Any = None) -> Any:
    """``sentence_transformers.util.quantize_embeddings``, bit for bit: numpy codes in int8, uint8, binary or ubinary.

    Faster for float32, float16 and bfloat16 vectors in host memory or on a GPU; all else is the host's, so are its warnings about ranges
    of few rows and its errors. One difference: NaN in int8 is -128 here, and there what the machine's conversion happens to give.
    """
    x = None if getattr(embeddings, "ndim", 2) != 2 or _ragged(embeddings) or precision == "float32" else matrix(embeddings)
    if x is not None and precision in RANGED:
        ranges = _ranges(x, ranges, calibration_embeddings)
        x = x if isinstance(ranges, np.ndarray) and ranges.shape == (2, x.shape[1]) else None
    if x is None or precision not in (*RANGED, "binary", "ubinary"):
        return host.quantize_embeddings(embeddings, precision, ranges, calibration_embeddings)
    return on_host(fc.quantize(x, precision, ranges=ranges if precision in RANGED else None).data)


def _ragged(embeddings: Any) -> bool:
    """Whether it is a list of matrices, one for each multi-vector document."""
    return isinstance(embeddings, list) and getattr(embeddings[0] if embeddings else None, "ndim", 1) != 1


def _ranges(x: Any, ranges: Any, calibration: Any) -> Any:
    """(2, D) float32 as the host takes them, or what it was given where that is its business."""
    if ranges is not None:
        return np.asarray(ranges, np.float32) if isinstance(ranges, np.ndarray) else ranges
    source = x if calibration is None else matrix(calibration)
    if source is None or (len(x) < FEW and calibration is None):
        return None
    return on_host(fc.calibrate(source))


def _like(engine: str, metric: str, precisions: tuple[str, ...], scores: str) -> Callable[..., tuple[Any, ...]]:
    """The host's ``semantic_search_<engine>`` over the codes it has there; `metric` is the one it gives float32."""
    name = f"semantic_search_{engine}"

    def function(
        query_embeddings: Any,
        corpus_embeddings: Any = None,
        corpus_index: Any = None,
        corpus_precision: str = "float32",
        top_k: int = 10,
        ranges: Any = None,
        calibration_embeddings: Any = None,
        rescore: bool = True,
        rescore_multiplier: int = 2,
        exact: bool = True,
        output_index: bool = False,
    ) -> tuple[Any, ...]:
        how = (corpus_precision, top_k, ranges, calibration_embeddings, rescore, rescore_multiplier)
        ours = corpus_index is None and exact and not output_index and corpus_precision in precisions
        found = _search(query_embeddings, corpus_embeddings, metric, *how) if ours else None
        if found is not None:
            return found
        result: tuple[Any, ...] = getattr(host, name)(query_embeddings, corpus_embeddings, corpus_index, *how, exact, output_index)
        return result

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"""``sentence_transformers.util.quantization.{name}``: (results, seconds), without {engine} and without an index.

    Scores are the host's: {scores}, and after rescoring inner products with the dequantized vectors (bits as 0 and 1). With an index
    of your own, or asked for one, it is the host's search.
    """
    return function


semantic_search_faiss = _like(
    "faiss", "ip", ("float32", "uint8", "ubinary"), "inner products, Hamming distances for ubinary without rescoring"
)
semantic_search_usearch = _like(
    "usearch",
    "cosine",
    ("float32", "int8", "binary", "ubinary"),
    "1 - cosine for float32, 1 - inner product for int8, Hamming distances for bits",
)


def _search(
    queries: Any, corpus: Any, metric: str, precision: str, top_k: int, ranges: Any, calibration: Any, rescore: bool, multiplier: int
) -> tuple[list[list[dict[str, int | float]]], float] | None:
    """The host's exact search over an index of its making; `metric` is the one it gives float32. None: operands it must see itself."""
    if not isinstance(queries, np.ndarray) or not isinstance(corpus, np.ndarray) or queries.ndim != 2 or corpus.ndim != 2:
        return None
    bits = precision in ("binary", "ubinary")
    floats = matrix(queries)
    stored = {"float32": np.float32, "int8": np.int8, "uint8": np.uint8, "binary": np.int8, "ubinary": np.uint8}[precision]
    if corpus.dtype != stored or (floats is None and queries.dtype != stored) or not corpus.size or not queries.size:
        return None
    if floats is not None and precision in RANGED:
        ranges = _ranges(floats, ranges, calibration)
        if not isinstance(ranges, np.ndarray):
            return None
    coded = queries if floats is None else quantize_embeddings(floats, precision, ranges)
    if coded.shape[1] != corpus.shape[1]:
        return None
    again = rescore and floats is not None and precision != "float32"
    ranked_by = metric if precision == "float32" else "hamming" if bits else "ip"
    start = time.time()
    scores, rows = fc.topk(coded, corpus, top_k * multiplier if again else top_k, metric=ranked_by)
    if again:
        codes = fc.Codes(corpus, precision, floats.shape[1], ranges=None if bits else ranges)
        scores, rows = fc.rescore(floats, codes, rows, top_k, metric="ip")
        if bits:  # ours takes a clear bit for -1, the host for 0
            scores = (scores + floats.sum(axis=1, dtype=np.float64, keepdims=True)) / 2
    elif metric == "cosine" and not bits:
        scores = 1 - scores
    seconds = time.time() - start
    return hits(np.asarray(scores, np.float64), rows), seconds
