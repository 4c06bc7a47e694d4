"""`accelerate` and `restore`: a model's own modules and methods, with ours in the instance where they do the same."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import torch
from sentence_transformers import MultiVectorEncoder, SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, StaticEmbedding
from sentence_transformers.util import SimilarityFunction

import fastembed_core as fc

from ... import dispatch
from ...arrays import unread
from ...operands import Rows
from ...ops.pool import EPS, SUMS, Recipe, Tokens
from .._instance import put, take
from . import late_interaction
from ._embeddings import KINDS, matrix, memory, plain, tensor, together
from .quantization import quantize_embeddings

logger = logging.getLogger(__name__)

PRECISION = {torch.float32: "float32", torch.float16: "float16", torch.bfloat16: "float32"}
METRICS = {"cosine": "cosine", "dot": "ip", "euclidean": "l2"}


def accelerate(model: Any) -> Any:
    """Let our kernels do what follows the transformer in `model`, a SentenceTransformer or MultiVectorEncoder; returns it.

    In every module: Pooling (all six modes and their combinations, padded on either side or unpadded), Normalize and
    StaticEmbedding. In the model: `encode`'s int8, uint8, binary and ubinary, `similarity` and `similarity_pairwise`. Embeddings
    are the host's up to float rounding (codes: where that rounding does not cross an edge), but that padding is never read, so that
    NaN there does not show, and that a zero vector in float16 normalizes to zeros, not to NaN. Inputs a kernel does not take, and
    every pass that trains, traces or compiles, run the host's code. So do `similarity` and late interaction on a GPU, where all the
    rest is ours: modules, codes, and the searches of this package.

    Only attributes of the instance change: `save` writes, and `restore` leaves, what was there before. A log line of level
    INFO says what was replaced, and which modules and methods, being someone's own, were left.

    Raises
    ------
    TypeError
        for what is neither.
    """
    if not isinstance(model, SentenceTransformer | MultiVectorEncoder):
        raise TypeError(f"model: got {type(model).__name__}, expected a SentenceTransformer or a MultiVectorEncoder")
    replaced: list[str] = []
    left: list[str] = []
    for module in model.modules():
        for host, ours in FORWARDS.items():
            if isinstance(module, host):
                own = type(module).forward is not host.forward or put(module, {"forward": ours})
                (left if own else replaced).append(type(module).__name__)
    methods = METHODS if isinstance(model, SentenceTransformer) else LATE_METHODS
    left += put(model, methods)
    replaced += [name for name in methods if name not in left]
    logger.info("accelerate: replaced %s%s", ", ".join(replaced), f"; left {', '.join(left)}" if left else "")
    return model


def restore(model: Any) -> Any:
    """Undo `accelerate`: every module and method is the host's own again. Returns the model; one never accelerated stays as it is."""
    for module in model.modules():
        take(module, ("forward", *METHODS))
    return model


def _pooling(module: Any, features: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
    modes = (module.pooling_mode,) if isinstance(module.pooling_mode, str) else module.pooling_mode
    tokens = features["token_embeddings"]
    layout = _layout(module, features, modes) if plain(tokens) and tokens.ndim == 3 and tokens.numel() else None
    if layout is None:
        return cast("dict[str, Any]", Pooling.forward(module, features, **kwargs))
    mask, ends = layout
    if unread(tokens):
        x, precision = tokens if ends is None else tokens[0], PRECISION[tokens.dtype]
        parts = [fc.pool(x, mask, mode=mode, cu_seqlens=ends, precision=precision).to(tokens.dtype) for mode in modes]
        features["sentence_embedding"] = parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)
        return features
    x = memory(tokens)
    states = Tokens(x if ends is None else x[0], KINDS[tokens.dtype], mask, None, ends)
    dim, precision = x.shape[-1], "float16" if states.kind == "f16" else "float32"
    vectors = np.empty((states.n, len(modes) * dim), precision)
    for i, mode in enumerate(modes):  # not by fc.pool: to check one short text once more takes as long as to pool it
        dispatch.run("pool", states, Recipe(mode, None, 1.0, dim, False, precision, None), vectors[:, i * dim : (i + 1) * dim], None)
    pooled = torch.from_numpy(vectors)
    features["sentence_embedding"] = pooled.bfloat16() if states.kind == "bf16" else pooled
    return features


def _layout(module: Any, features: dict[str, Any], modes: tuple[str, ...]) -> tuple[Any, Any] | None:
    """Which tokens count: (mask, ends), where the tokens are, either of them None. None where the host gives a meaning of its own to it."""
    tokens = features["token_embeddings"]
    if ("token_weights_sum" in features and not SUMS.isdisjoint(modes)) or ("cls_token_embeddings" in features and "cls" in modes):
        return None
    prompt = 0 if module.include_prompt else features.get("prompt_length", 0)
    prompt = int(prompt.flatten()[0]) if isinstance(prompt, torch.Tensor) else int(prompt)
    if "cu_seq_lens_q" in features:
        given = features["cu_seq_lens_q"]
        ends = given.cpu().numpy().astype(np.int64)
        whole = tokens.shape[0] == 1 and ends[0] == 0 and ends[-1] == tokens.shape[1] and bool((ends[1:] > ends[:-1]).all())
        return (None, given if unread(tokens) else ends) if whole and not prompt else None
    mask = features.get("attention_mask")
    if mask is None or mask.size(-1) != tokens.shape[1]:
        return None if prompt else (None, None)
    if mask.shape != tokens.shape[:2] or mask.is_floating_point() or mask.device != tokens.device:
        return None
    if prompt:
        if "weightedmean" in modes:
            return None  # the tokens left keep the weights of their old places
        mask = module._exclude_prompt_from_mask(mask, prompt)
    given = mask if unread(tokens) else np.ascontiguousarray(mask.numpy())
    valid = given == 1
    if bool(((given != 0) != valid).any()):
        return None  # a mask that weighs
    # Of a sequence without tokens the host's max is -inf and its cls the first padding.
    return (valid, None) if SUMS.issuperset(modes) or bool(valid.any(1).all()) else None


def _normalize(module: Any, features: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
    x = features.get(module.module_input_name)
    if x is None or not plain(x) or not x.numel() or not x.ndim:
        return cast("dict[str, Any]", Normalize.forward(module, features, **kwargs))
    if unread(x):
        features[module.module_output_name] = fc.normalize(x)
        return features
    rows = memory(x)
    unit = np.empty(rows.shape, rows.dtype)
    dim = rows.shape[-1]
    dispatch.run("normalize", Rows(rows.reshape(-1, dim), KINDS[x.dtype], dim), EPS, unit.reshape(-1, dim))
    features[module.module_output_name] = tensor(unit)
    return features


def _static(module: Any, features: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
    bag = module.embedding
    odd = bag.mode != "mean" or bag.max_norm is not None or bag.padding_idx is not None or bag.include_last_offset
    if odd or not plain(bag.weight) or not len(features["input_ids"]):
        return cast("dict[str, Any]", StaticEmbedding.forward(module, features, **kwargs))
    rows = fc.embedding_bag(
        bag.weight, features["input_ids"], features["offsets"], include_last_offset=False, precision=PRECISION[bag.weight.dtype]
    )
    features["sentence_embedding"] = rows.to(bag.weight.dtype)
    return features


FORWARDS: dict[Any, Callable[..., Any]] = {Pooling: _pooling, Normalize: _normalize, StaticEmbedding: _static}


def _encode(model: Any, inputs: Any = None, *args: Any, **kwargs: Any) -> Any:
    """The host's `encode`, which makes float32 vectors, then codes of them by our kernels in the form it was asked for."""
    host = functools.partial(type(model).encode, model)
    precision = kwargs.get("precision")
    asked = "sentences" not in kwargs and len(args) < 5 and kwargs.get("output_value", "sentence_embedding") == "sentence_embedding"
    empty = not isinstance(inputs, str) and hasattr(inputs, "__len__") and len(inputs) == 0
    if precision not in ("int8", "uint8", "binary", "ubinary") or not asked or empty:
        return host(*(() if inputs is None else (inputs,)), *args, **kwargs)
    tensor, array = kwargs.pop("convert_to_tensor", False), kwargs.pop("convert_to_numpy", True)
    vectors = host(inputs, *args, **{**kwargs, "precision": "float32"}, convert_to_tensor=True)
    one = vectors.ndim == 1
    codes = quantize_embeddings(vectors[None] if one else vectors, precision)
    result = torch.from_numpy(codes) if tensor else codes if array else list(torch.from_numpy(codes))
    return result[0] if one else result


def _scores(model: Any, name: str, a: Any, b: Any, score: Callable[..., Any]) -> Any:
    """Scores of two operands by our kernels, or by the host's `name` where it has a metric or takes operands we do not."""
    metric = METRICS.get(model.similarity_fn_name)
    left, right = (matrix(a), matrix(b)) if metric else (None, None)
    # On a GPU the host's product in the embeddings' own type is less work than canonical scores.
    if not together(left, right) or unread(left):
        return getattr(type(model), name)(model, a, b)
    result = torch.as_tensor(score(left, right, metric))
    return -result if metric == "l2" else result


def _similarity(model: Any, embeddings1: Any, embeddings2: Any) -> Any:
    return _scores(model, "similarity", embeddings1, embeddings2, fc.similarity)


def _pairwise(model: Any, embeddings1: Any, embeddings2: Any) -> Any:
    a, b = matrix(embeddings1), matrix(embeddings2)
    if a is None or b is None or len(a) != len(b) or getattr(embeddings1, "ndim", 2) == 1 or getattr(embeddings2, "ndim", 2) == 1:
        return type(model).similarity_pairwise(model, embeddings1, embeddings2)
    return _scores(model, "similarity_pairwise", a, b, fc.similarity_paired)


LATE = {SimilarityFunction.MAXSIM.value: "maxsim", SimilarityFunction.MEAN_MAXSIM.value: "mean_maxsim"}


def _late_similarity(model: Any, embeddings1: Any, embeddings2: Any, **kwargs: Any) -> Any:
    return getattr(late_interaction, LATE[model.similarity_fn_name])(embeddings1, embeddings2, **kwargs)


def _late_pairwise(model: Any, embeddings1: Any, embeddings2: Any, **kwargs: Any) -> Any:
    return getattr(late_interaction, f"{LATE[model.similarity_fn_name]}_pairwise")(embeddings1, embeddings2, **kwargs)


METHODS: dict[str, Callable[..., Any]] = {"encode": _encode, "similarity": _similarity, "similarity_pairwise": _pairwise}
LATE_METHODS: dict[str, Callable[..., Any]] = {"similarity": _late_similarity, "similarity_pairwise": _late_pairwise}
