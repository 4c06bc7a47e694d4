"""OpenAI embeddings: a response's vectors as an array, and the shortening that ``dimensions=`` does, done afterwards.

    from fastembed_core.integrations.openai import shorten; vectors = shorten(response, dimensions=256)

text-embedding-3-large has 3,072 dimensions, -small 1,536; a shortened vector is its first elements, renormalized.
"""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

import fastembed_core as fc

from ._lists import array_of


def vectors(response: Any) -> np.ndarray:
    """(N, D) float32 of a response of ``client.embeddings.create`` (an object or its JSON; floats or ``encoding_format="base64"``),
    in the order of their ``index``."""
    data = response.get("data") if isinstance(response, dict) else getattr(response, "data", None)
    if data is None:
        raise TypeError(f"response: got {type(response).__name__} without data, expected what client.embeddings.create returns")
    items = [item if isinstance(item, dict) else vars(item) for item in data]
    rows = [item["embedding"] for item in sorted(items, key=lambda item: item["index"])]
    if not rows:
        raise ValueError("response: got no embeddings, expected at least one")
    if isinstance(rows[0], str):
        rows = [np.frombuffer(base64.b64decode(row), "<f4") for row in rows]
    return np.array(rows, np.float32)


def shorten(embeddings: Any, dimensions: int | None = None, precision: str = "float32", ranges: Any = None) -> Any:
    """The first `dimensions` elements, divided by their L2 norm: what the service returns for ``dimensions=``.

    Parameters
    ----------
    embeddings : a response, or (N, D) floats, as they lie, or lists of them
    dimensions : elements kept, at most D; None keeps all
    precision, ranges : float32, or the codes `fastembed_core.quantize` makes of the result

    Returns
    -------
    (N, dimensions) of the floats' type, or Codes
    """
    x = array_of(embeddings)
    x = x if hasattr(x, "ndim") else vectors(x)
    unit = fc.normalize(x, truncate_dim=dimensions)
    return unit if precision == "float32" else fc.quantize(unit, precision, ranges=ranges)
