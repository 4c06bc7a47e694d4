"""transformers: what a model of any kind puts out, pooled; CLIP's scores, and search from texts to images and back.

    from fastembed_core.integrations.transformers import pool; vectors = pool(model(**inputs), inputs, normalize=True)
    from fastembed_core.integrations.transformers import clip_topk; logits, found = clip_topk(model, texts, images, k=5)

`inputs` is what the tokenizer made (or its attention mask): BERT and DistilBERT pad on the right, GPT-2 often on the left, and
either is read as it lies. A vision model has no padding: ``pool(model(pixel_values=...), mode="cls")``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import fastembed_core as fc


def pool(outputs: Any, inputs: Any = None, *, mode: str = "mean", **how: Any) -> Any:
    """One embedding for each sequence from a model's ``last_hidden_state``: `fastembed_core.pool` of it.

    Parameters
    ----------
    outputs : what the model returned (a ModelOutput, its tuple), or the (B, T, D) states themselves
    inputs : what the tokenizer returned, or its ``attention_mask``; None where nothing is padded
    mode, how : as in `fastembed_core.pool`: normalize, truncate_dim, precision, query ...

    Raises
    ------
    TypeError, ValueError
        for outputs without token states, in one sentence, and as `fastembed_core.pool`.
    """
    if not hasattr(outputs, "ndim"):
        states = getattr(outputs, "last_hidden_state", None)
        states = outputs[0] if states is None and isinstance(outputs, tuple) else states
        if states is None:
            raise TypeError(
                f"outputs: got {type(outputs).__name__} without last_hidden_state, expected a base model's outputs, or the states"
            )
        outputs = states
    mask = inputs.get("attention_mask") if isinstance(inputs, Mapping) or hasattr(inputs, "get") else inputs
    return fc.pool(outputs, mask, mode=mode, **how)


def clip_logits(model: Any, images: Any, texts: Any) -> Any:
    """CLIP's ``logits_per_image``, (images, texts): cosine times the model's own exp(logit_scale); their softmax over texts is the
    zero-shot probability of each (Radford et al. 2021). `model` is a transformers CLIPModel, or the number exp(logit_scale)."""
    return fc.similarity(images, texts, "cosine") * _scale(model)


def clip_topk(model: Any, queries: Any, corpus: Any, k: int, **how: Any) -> tuple[Any, Any]:
    """The k best images for texts, or texts for images: (logits, indices) of `fastembed_core.topk`, logits as by `clip_logits`."""
    scores, indices = fc.topk(queries, corpus, k, metric="cosine", **how)
    return scores * _scale(model), indices


def _scale(model: Any) -> float:
    parameter = getattr(model, "logit_scale", None)
    return float(model) if parameter is None else float(parameter.detach().exp())
