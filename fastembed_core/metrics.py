"""Metric names, the ecosystem's aliases for them, and which way each one ranks.

An alias has one meaning everywhere. What a host means by a word of its own (FAISS and Milvus square
their L2, scikit-learn's cosine is a distance) lives in that host's integration and nowhere else.
"""

from __future__ import annotations

import difflib

METRICS = ("cosine", "ip", "l2", "sqeuclidean", "hamming", "jaccard")
SIMILARITIES = frozenset({"cosine", "ip"})
BIT_METRICS = frozenset({"hamming", "jaccard"})
ALIASES = {"dot": "ip", "inner_product": "ip", "euclidean": "l2", "l2sq": "sqeuclidean"}


def canonical_name(metric: str) -> str:
    """The metric's own name for a name or an alias; ValueError for a word that is neither."""
    if metric in METRICS:
        return metric
    if not isinstance(metric, str):
        raise TypeError(f"metric: got {type(metric).__name__}, expected one of {', '.join(METRICS)}")
    name = metric.lower()
    if name in METRICS:
        return name
    if name in ALIASES:
        return ALIASES[name]
    close = difflib.get_close_matches(name, [*METRICS, *ALIASES], n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    raise ValueError(f"metric: got {metric!r}{hint}, expected one of {', '.join([*METRICS, *ALIASES])}")


def is_similarity(metric: str) -> bool:
    """True where a larger score is better (cosine, ip), False for distances."""
    return metric in SIMILARITIES
