"""`maxsim` and its relatives with the host's signatures and results: lists of token matrices or padded tensors, masks, means."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from sentence_transformers import util

import fastembed_core as fc

from ...arrays import from_host
from ._embeddings import plain

EMPTY_DOCUMENT = -1e9  # the host's score of a document without tokens


class Sets(NamedTuple):
    """Token matrices one after the other, or padded with a mask."""

    tokens: Any  # (total, D) with ends, or (n, T, D)
    ends: np.ndarray | None
    mask: np.ndarray | None  # bool (n, T)

    @property
    def counts(self) -> np.ndarray:
        if self.ends is not None:
            return np.diff(self.ends)
        return np.full(len(self.tokens), self.tokens.shape[1]) if self.mask is None else self.mask.sum(axis=1)

    def one(self, i: int) -> Any:
        """(T, D) valid tokens of one set."""
        if self.ends is not None:
            return self.tokens[self.ends[i] : self.ends[i + 1]]
        return self.tokens[i] if self.mask is None else self.tokens[i][self.mask[i]]


def _sets(x: Any, mask: Any) -> Sets | None:
    """One side of a call as our kernels take it; None where the host must see it itself."""
    if isinstance(x, list):
        parts = [_tensor(part) for part in x]
        if mask is not None or not parts or any(part is None or part.ndim != 2 or not _ok(part) for part in parts):
            return None
        ends = np.concatenate([[0], np.cumsum([len(part) for part in parts])])
        dtypes = {part.dtype for part in parts}
        return Sets(_floats(torch.cat(parts)), ends, None) if len(dtypes) == 1 else None
    if not isinstance(x, np.ndarray | torch.Tensor) or not isinstance(mask, np.ndarray | torch.Tensor | None):
        return None
    tokens = _tensor(x)
    tokens = tokens[None] if tokens is not None and tokens.ndim == 2 else tokens
    if tokens is None or tokens.ndim != 3 or not all(tokens.shape) or not _ok(tokens):
        return None
    if mask is None:  # the host takes rows of zeros for padding
        valid = tokens.any(dim=-1).numpy()
        return Sets(_floats(tokens), None, None if valid.all() else valid)
    side = np.asarray(mask.detach().float().cpu() if isinstance(mask, torch.Tensor) else mask)
    side = side[None] if side.ndim == 1 else side
    if side.shape != tokens.shape[:2] or not ((side == 0) | (side == 1)).all():
        return None
    return Sets(_floats(tokens), None, side != 0)


def _tensor(x: Any) -> Any:
    """An array as a tensor over the same memory; None for what is no array, or one of a type torch does not have."""
    if isinstance(x, np.ndarray):
        return from_host(x) if x.dtype in (np.float32, np.float16, np.int8, np.uint8) else None
    return x if isinstance(x, torch.Tensor) else None


def _ok(x: Any) -> bool:
    """On a GPU the host's product in the tokens' own type is faster than canonical scores."""
    integers = x.dtype in (torch.int8, torch.uint8) and x.layout == torch.strided
    return x.device.type == "cpu" and (integers or plain(x))


def _floats(x: Any) -> Any:
    """Contiguous floats; the host scores integers as such."""
    return (x if x.is_floating_point() else x.float()).detach().contiguous()


def _pair(a: Any, b: Any, a_mask: Any, b_mask: Any, device: Any) -> tuple[Sets, Sets] | None:
    if device is not None and torch.device(device).type != "cpu":
        return None
    left, right = _sets(a, a_mask), _sets(b, b_mask)
    return None if left is None or right is None or left.tokens.shape[-1] != right.tokens.shape[-1] else (left, right)


Score = Callable[[Sets, Sets, bool], Any]


def _matrix(q: Sets, x: Sets, length_normalize: bool) -> Any:
    scores = torch.as_tensor(
        fc.maxsim(q.tokens, x.tokens, query_offsets=q.ends, document_offsets=x.ends, query_mask=q.mask, document_mask=x.mask)
    )
    return _finished(scores, x.counts == 0, q.counts[:, None] if length_normalize else None)


def _pairs(q: Sets, x: Sets, length_normalize: bool) -> Any:
    counts = x.counts
    scores = torch.empty(len(counts))
    for i, count in enumerate(counts):
        if count:
            scores[i] = fc.maxsim(q.one(i), x.one(i), document_offsets=np.array([0, count]))[0, 0]
    return _finished(scores, counts == 0, q.counts if length_normalize else None)


def _finished(scores: Any, empty: np.ndarray, counts: np.ndarray | None) -> Any:
    if empty.any():
        scores[..., torch.from_numpy(empty)] = EMPTY_DOCUMENT
    return scores if counts is None else scores / torch.from_numpy(np.maximum(counts, 1).astype(np.float32))


def _like(name: str, score: Score, mean: bool, what: str) -> Callable[..., Any]:
    """The host's ``util.<name>``, by `score` wherever our kernels take both sides."""

    def function(
        a: Any,
        b: Any,
        a_mask: Any = None,
        b_mask: Any = None,
        chunk_elements: int | None = None,
        length_normalize: bool = mean,
        device: Any = None,
    ) -> Any:
        pair = _pair(a, b, a_mask, b_mask, device) if score is _matrix or len(a) == len(b) else None
        if pair is None:
            return getattr(util, name)(a, b, a_mask, b_mask, chunk_elements, length_normalize, device)
        return score(*pair, length_normalize)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"""``sentence_transformers.util.{name}``: {what}

    Lists of matrices are not padded, and no matrix of token scores is kept, so that `chunk_elements` has nothing to bound. Half
    types are multiplied in float32. Masks that weigh tokens, gradients and other devices are the host's.
    """
    return function


maxsim = _like("maxsim", _matrix, False, "(queries, documents) float32, sum_i max_j a_i . b_j; -1e9 for a document without tokens.")
maxsim_pairwise = _like("maxsim_pairwise", _pairs, False, "(n,) float32, query i with document i, as `maxsim` scores them.")
mean_maxsim = _like("mean_maxsim", _matrix, True, "`maxsim` divided by each query's number of tokens.")
mean_maxsim_pairwise = _like("mean_maxsim_pairwise", _pairs, True, "`maxsim_pairwise` divided by each query's number of tokens.")
