"""`accelerate` and `restore`: a model's own modules and methods, with ours in the instance where they do the same."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any

import torch
from sentence_transformers import MultiVectorEncoder, SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, StaticEmbedding
from sentence_transformers.util import SimilarityFunction

import fastembed_core as fc

from ...arrays import unread
from . import late_interaction
from ._embeddings import matrix, plain, together, view
from .quantization import quantize_embeddings

logger = logging.getLogger(__name__)

PRECISION = {torch.float32: "float32", torch.float16: "float16", torch.bfloat16: "float32"}
SUMS = frozenset({"mean", "weightedmean", "mean_sqrt_len_tokens"})
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
    INFO says what was replaced, and which modules, being someone's own, were left.

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
                own = type(module).forward is not host.forward
                (left if own else replaced).append(type(module).__name__)
                if not own:
                    module.forward = functools.partial(ours, module)
    late = not isinstance(model, SentenceTransformer)
    for name, method in (LATE_METHODS if late else METHODS).items():
        setattr(model, name, functools.partial(method, model))
        replaced.append(name)
    logger.info("accelerate: replaced %s%s", ", ".join(replaced), f"; left {', '.join(left)}" if left else "")
    return model


def restore(model: Any) -> Any:
    """Undo `accelerate`: every module and method is the host's own again. Returns the model; one never accelerated stays as it is."""
    for module in model.modules():
        for name in ("forward", *METHODS):
            ours = module.__dict__.get(name)
            if isinstance(ours, functools.partial) and ours.func.__module__ == __name__:
                delattr(module, name)
    return model


def _pooling(module: Any, features: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
    modes = (module.pooling_mode,) if isinstance(module.pooling_mode, str) else module.pooling_mode
    tokens = features["token_embeddings"]
    lay = _layout(module, features, modes) if plain(tokens) else None
    if lay is None:
        result: dict[str, Any] = Pooling.forward(module, features, **kwargs)
        return result
    x = view(tokens.squeeze(0) if "cu_seqlens" in lay else tokens)
    precision = PRECISION[tokens.dtype]
    parts = [torch.as_tensor(fc.pool(x, mode=mode, precision=precision, **lay)).to(tokens.dtype) for mode in modes]
    features["sentence_embedding"] = parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)
    return features


def _layout(module: Any, features: dict[str, Any], modes: tuple[str, ...]) -> dict[str, Any] | None:
    """Which tokens count, as `pool` takes it; None where the host gives a meaning of its own to it."""
    tokens = features["token_embeddings"]
    weighted = "token_weights_sum" in features and not SUMS.isdisjoint(modes)
    if weighted or tokens.ndim != 3 or ("cls_token_embeddings" in features and "cls" in modes):
        return None
    prompt = 0 if module.include_prompt else features.get("prompt_length", 0)
    prompt = int(prompt.flatten()[0]) if isinstance(prompt, torch.Tensor) else int(prompt)
    ends = features.get("cu_seq_lens_q")
    if ends is not None:
        empty = bool((ends[1:] == ends[:-1]).any())
        return None if prompt or empty or tokens.shape[0] != 1 else {"cu_seqlens": ends}
    mask = features.get("attention_mask")
    if mask is None or mask.size(-1) != tokens.shape[1]:
        return {} if not prompt else None
    if mask.ndim != 2 or mask.is_floating_point() or mask.device != tokens.device:
        return None
    if prompt:
        if "weightedmean" in modes:
            return None  # the tokens left keep the weights of their old places
        mask = module._exclude_prompt_from_mask(mask, prompt)
    # Of a sequence without tokens the host's max is -inf and its cls the first padding.
    return None if not SUMS.issuperset(modes) and not bool((mask != 0).any(dim=1).all()) else {"mask": _side(mask)}


def _side(mask: Any) -> Any:
    return mask.detach() if unread(mask) else mask.detach().numpy()


def _normalize(module: Any, features: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
    x = features.get(module.module_input_name)
    if x is None or not plain(x):
        result: dict[str, Any] = Normalize.forward(module, features, **kwargs)
        return result
    features[module.module_output_name] = torch.as_tensor(fc.normalize(view(x)))
    return features


def _static(module: Any, features: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
    bag = module.embedding
    odd = bag.mode != "mean" or bag.max_norm is not None or bag.padding_idx is not None or bag.include_last_offset
    if odd or not plain(bag.weight) or not len(features["input_ids"]):
        result: dict[str, Any] = StaticEmbedding.forward(module, features, **kwargs)
        return result
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
    if precision not in ("int8", "uint8", "binary", "ubinary") or not asked:
        return host(*(() if inputs is None else (inputs,)), *args, **kwargs)
    tensor, array = kwargs.pop("convert_to_tensor", False), kwargs.pop("convert_to_numpy", True)
    vectors = host(inputs, *args, **{**kwargs, "precision": "float32"}, convert_to_tensor=True)
    one = vectors.ndim == 1 and len(vectors) > 0
    codes = quantize_embeddings(vectors[None] if one else vectors, precision) if len(vectors) else vectors.cpu().numpy()
    result = torch.from_numpy(codes) if tensor else codes if array else list(torch.from_numpy(codes))
    return result[0] if one else result


def _scores(model: Any, name: str, a: Any, b: Any, score: Callable[..., Any]) -> Any:
    """Scores of two operands by our kernels, or by the host's `name` where it has a metric or takes operands we do not."""
    metric = METRICS.get(model.similarity_fn_name)
    left, right = (matrix(a), matrix(b)) if metric else (None, None)
    # On a GPU the host's product in the embeddings' own type is faster than canonical scores.
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
