"""model2vec: static embeddings, each text the mean of its tokens' rows, by `embedding_bag`.

    from fastembed_core.integrations.model2vec import accelerate; accelerate(model)

`restore` undoes it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
from model2vec import StaticModel

import fastembed_core as fc

from ._instance import put, take

logger = logging.getLogger(__name__)

RESULTS = {"float32": "float32", "float16": "float16", "int8": "float32"}


def accelerate(model: Any) -> Any:
    """Let our kernels gather, average and normalize under `encode` of a model2vec StaticModel; returns it.

    Embeddings are the host's up to float rounding, for float32, float16 and int8 tables, with token weights and a mapping or
    without; a float64 table stays the host's. Only an attribute of the instance changes: saving writes what it wrote before.

    Raises
    ------
    TypeError
        for what is no StaticModel.
    """
    if not isinstance(model, StaticModel):
        raise TypeError(f"model: got {type(model).__name__}, expected a model2vec StaticModel")
    left = put(model, {"_encode_batch": _encode_batch})
    logger.info("accelerate: %s the batches of encode", "left" if left else "replaced")
    return model


def restore(model: Any) -> Any:
    """Undo `accelerate`. Returns the model."""
    take(model, ["_encode_batch"])
    return model


def _encode_batch(model: Any, sentences: Sequence[str], normalize: bool) -> np.ndarray:
    table = model.embedding
    if table.dtype.name not in RESULTS or table.strides[1] != table.itemsize:
        host: np.ndarray = type(model)._encode_batch(model, sentences, normalize)
        return host
    tokens = model.tokenize(sentences=sentences)
    lengths = np.array([len(ids) for ids in tokens])
    ids = np.fromiter(chain.from_iterable(tokens), np.int64, int(lengths.sum()))
    ends = np.concatenate([[0], np.cumsum(lengths)])
    weights = None
    if model.weights is not None:  # the host divides by the number of tokens, not by their weight
        weights = (model.weights[ids] / np.repeat(lengths, lengths)).astype(np.float32)
    rows = ids if model.token_mapping is None else model.token_mapping[ids].astype(np.int64)
    mode = "mean" if weights is None else "sum"
    result: np.ndarray = fc.embedding_bag(
        table, rows, ends, mode=mode, weights=weights, normalize=normalize, precision=RESULTS[table.dtype.name]
    )
    return result
