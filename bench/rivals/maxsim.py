"""Rivals of late interaction."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from .registry import rival, tensor


def _documents(o: SimpleNamespace) -> list[np.ndarray]:
    return np.split(o.tokens, o.offsets[1:-1])


@rival("maxsim-cpu", "maxsim/float32", needs="maxsim_cpu")
def maxsim_cpu(o: SimpleNamespace, threads: int) -> Callable[[], Any]:
    import maxsim_cpu

    documents = _documents(o)
    return lambda: maxsim_cpu.maxsim_scores_variable(o.query, documents)


@rival("torch", "maxsim/float32", needs="torch")
def torch_maxsim(o: SimpleNamespace, threads: int) -> Callable[[], Any]:
    import torch

    query, tokens, lengths = tensor(o.query), tensor(o.tokens), tensor(np.diff(o.offsets))

    def call() -> np.ndarray:  # one multiplication over all documents, then the maximum of each one's stretch of columns
        return torch.segment_reduce((query @ tokens.T).T.contiguous(), "max", lengths=lengths).sum(1).numpy()

    return call


@rival("torch, padded", "maxsim/float32", needs="torch")
def torch_maxsim_padded(o: SimpleNamespace, threads: int) -> Callable[[], Any]:
    import torch

    query = tensor(o.query)
    padded = torch.nn.utils.rnn.pad_sequence([tensor(d) for d in _documents(o)], batch_first=True)
    valid = torch.arange(padded.shape[1]) < tensor(np.diff(o.offsets))[:, None]
    return lambda: torch.einsum("sh,bth->bst", query, padded).masked_fill_(~valid[:, None], -torch.inf).amax(-1).sum(-1).numpy()


@rival("numkong, approximate", "maxsim/float32", needs="numkong", exact=False)
def numkong_maxsim(o: SimpleNamespace, threads: int) -> Callable[[], Any]:
    import numkong

    query = numkong.maxsim_pack(o.query, dtype="float32")
    documents = [numkong.maxsim_pack(d, dtype="float32") for d in _documents(o)]
    return lambda: np.array([numkong.maxsim_packed(query, d) for d in documents])  # sums of angular distances


@rival("sentence-transformers", "maxsim/float32", needs="sentence_transformers", result=lambda answer: answer.numpy()[0])
def st_maxsim(o: SimpleNamespace, threads: int) -> Callable[[], Any]:
    from sentence_transformers.util import maxsim

    query, documents = [tensor(o.query)], [tensor(d) for d in _documents(o)]
    return lambda: maxsim(query, documents)


@rival("numkong, approximate", "maxsim/int8", needs="numkong", exact=False)
def numkong_maxsim_int8(o: SimpleNamespace, threads: int) -> Callable[[], Any]:
    import numkong

    # It packs no int8: the same tokens as float32, which it scans as int8 all the same.
    query = numkong.maxsim_pack(o.query.astype(np.float32), dtype="float32")
    documents = [numkong.maxsim_pack(d.astype(np.float32), dtype="float32") for d in _documents(o)]
    return lambda: np.array([numkong.maxsim_packed(query, d) for d in documents])
