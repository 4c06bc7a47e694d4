"""Cohere's compressed embedding types, made of float embeddings of any origin.

    from fastembed_core.integrations.cohere import compress; types = compress(embeddings, ["int8", "ubinary"])

``binary`` and ``ubinary`` pack the signs of eight elements into a byte, the first in its highest bit; ``binary`` is that less 128, as
int8. ``int8`` and ``uint8`` are 256 equal steps between each dimension's smallest and largest value. The service calibrates those
on data of its own: give `ranges` (`fastembed_core.calibrate` of a sample), and one corpus and its queries share theirs.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import fastembed_core as fc

from ._lists import array_of

TYPES = ("float", "int8", "uint8", "binary", "ubinary")


def compress(embeddings: Any, embedding_types: Iterable[str], ranges: Any = None) -> dict[str, Any]:
    """Each asked-for type of (N, D) float embeddings (a list of lists too), as the response's ``embeddings`` names them.

    ``float`` is the array itself; the others are `Codes`, which every search takes, their arrays in ``.data``.

    Raises
    ------
    ValueError
        for a type there is not, and as `fastembed_core.quantize`.
    """
    x = array_of(embeddings)
    asked = list(embedding_types)
    for name in asked:
        if name not in TYPES:
            raise ValueError(f"embedding_types: got {name!r}, expected some of {', '.join(TYPES)}")
    if ranges is None and {"int8", "uint8"} & set(asked):
        ranges = fc.calibrate(x)
    return {name: x if name == "float" else fc.quantize(x, name, ranges=ranges if name in ("int8", "uint8") else None) for name in asked}
