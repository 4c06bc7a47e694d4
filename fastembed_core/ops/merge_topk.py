"""merge_topk: the k best of several searches' results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import dispatch
from ..arrays import Origin, from_host, intake
from ..checks import count_of
from ..metrics import canonical_name, is_similarity
from ._search import deliver, places_spec
from ._spec import Spec
from ._traced import traced
from .scores import Score


@traced
def merge_topk(
    parts: Sequence[tuple[Any, Any]],
    k: int,
    *,
    metric: str | None = None,
    larger: bool | None = None,
    offsets: Sequence[int] | None = None,
    backend: str | None = None,
) -> tuple[Any, Any]:
    """The k best results a query of several searches over parts of one corpus: shards, or what each of several machines holds.

    Equal, to the bit, to one search over the whole, where each part holds the k best (or all) of its own rows and the parts
    share no row: numbers come first, best first, then NaN, then unfilled places, inside each by the lowest index.

    Parameters
    ----------
    parts : pairs (scores, indices) of one shape (Q, K) each, as `topk` returns them; K may differ from part to part.
        Scores are float32 or int32, the same in all; indices are int64, -1 where no row fills a place.
    k : at least 0; results have min(k, the sum of all K) places
    metric : the metric of the searches, which says whether a larger score is better; or else
    larger : True where a larger score is better (``cosine``, ``ip``), False for distances
    offsets : for each part the number of its first row in the whole, added to its indices; None adds nothing.
        A row that two parts return is returned twice.
    backend : a backend's name; None chooses

    Returns
    -------
    scores, indices : (Q, min(k, sum of K)), typed and padded as by `topk`; a tensor that requires grad keeps its gradient

    Raises
    ------
    TypeError, ValueError
        for parts that do not fit together, in one sentence that names the argument.
    """
    k = count_of(k, "k")
    if not isinstance(parts, Sequence) or not parts or not all(isinstance(part, tuple | list) and len(part) == 2 for part in parts):
        raise TypeError(f"parts: got {type(parts).__name__}, expected a list of pairs (scores, indices), at least one")
    if (metric is None) == (larger is None):
        raise ValueError(f"metric: got {metric!r} and larger={larger!r}, expected one of the two said and the other None")
    similarity = bool(larger) if metric is None else is_similarity(canonical_name(metric))
    first = [0] * len(parts) if offsets is None else [count_of(offset, "offsets") for offset in offsets]
    if len(first) != len(parts):
        raise ValueError(f"offsets: got {len(first)}, expected {len(parts)}, one a part")
    sides = [intake(side, name) for part in parts for side, name in zip(part, ("parts", "parts"), strict=True)]
    scores, rows = sides[0::2], sides[1::2]
    origin, dtype = scores[0][2], scores[0][1]
    if dtype not in ("float32", "int32"):
        raise TypeError(f"parts: got {dtype} scores, expected float32 or int32")
    for (values, values_dtype, values_origin), (ids, ids_dtype, _) in zip(scores, rows, strict=True):
        if values_dtype != dtype or ids_dtype != "int64":
            raise TypeError(f"parts: got {values_dtype} scores with {ids_dtype} indices, expected {dtype} and int64 as in the first")
        if values.ndim != 2 or values.shape != ids.shape or values.shape[0] != scores[0][0].shape[0]:
            shapes = f"{tuple(values.shape)} and {tuple(ids.shape)}"
            raise ValueError(f"parts: got scores and indices of shapes {shapes}, expected one shape ({scores[0][0].shape[0]}, K)")
        if values_origin.device != origin.device:
            raise ValueError(f"parts: got an array on {values_origin.device}, expected {origin.device} as the first")
    grad = any(not isinstance(values, np.ndarray) and values.requires_grad for values, _, _ in scores)
    joined = _joined([s[0] for s in scores], origin), _joined([r[0] for r in rows], origin, first)
    score = Score("ip" if similarity else "l2", "int" if dtype == "int32" else "float", np.dtype(dtype))
    result = dispatch.run("merge_topk", *joined, min(k, joined[0].shape[1]), score, device=origin.device, grad=grad, backend=backend)
    return deliver(result[0], None, origin), deliver(result[1], None, origin)


def merge_topk_spec(scores: Any, rows: Any, k: int, score: Score) -> tuple[Spec, Spec]:
    return places_spec(scores.shape[0], k, score)


def _joined(sides: list[Any], origin: Origin, first: list[int] | None = None) -> Any:
    """All parts side by side, (Q, sum of K); `first` is added where a place is filled. -0 becomes +0."""
    if all(isinstance(side, np.ndarray) for side in sides):
        if first is not None:
            return np.concatenate([np.where(side < 0, -1, side + offset) for side, offset in zip(sides, first, strict=True)], axis=1)
        return np.concatenate(sides, axis=1) + sides[0].dtype.type(0)
    import torch

    tensors = [from_host(side) if isinstance(side, np.ndarray) else side for side in sides]
    tensors = [tensor.to(origin.device) for tensor in tensors]
    if first is not None:
        return torch.cat([torch.where(t < 0, -1, t + offset) for t, offset in zip(tensors, first, strict=True)], 1)
    return torch.cat(tensors, 1) + 0
