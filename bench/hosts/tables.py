"""Tables of vectors: gensim's words, model2vec's tokens, torch's bags."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import operands
from .comparison import Comparison, host, near
from .models import model, texts


@host("gensim: evaluate_word_analogies, 19,544 questions, 5k words of GloVe")
def gensim_analogies(scale: float) -> Comparison:
    from gensim.models import KeyedVectors

    from fastembed_core.integrations.gensim import accelerate, restore

    folder = operands.data_folder() / "raw"
    if not (folder / "questions-words.txt.gz").is_file():
        raise operands.NotHere("no questions-words.txt.gz under the data folder; FASTEMBED_CORE_DATA names it")
    rows = np.load(folder / "glove50d_5k_vectors.npy")
    with gzip.open(folder / "glove50d_5k_words.txt.gz", "rt", encoding="utf-8") as file:
        words = file.read().split("\n")[: len(rows)]
    kv = KeyedVectors(rows.shape[1])
    kv.add_vectors(words, rows)
    questions = str(folder / "questions-words.txt.gz")
    return Comparison(
        lambda: restore(kv).evaluate_word_analogies(questions),
        lambda: accelerate(kv).evaluate_word_analogies(questions),
        lambda a, b: a == b,
    )


@host("gensim: most_similar, two words less one, 400k words of 300 dimensions")
def gensim_most_similar(scale: float) -> Comparison:
    from gensim.models import KeyedVectors

    from fastembed_core.integrations.gensim import accelerate, restore

    n = max(1000, int(400_000 * scale))
    kv = KeyedVectors(300)
    kv.add_vectors([f"w{i}" for i in range(n)], operands.rows(n, 300))
    kv.fill_norms()

    def call(kv: Any) -> Any:
        return kv.most_similar(positive=["w1", "w2"], negative=["w3"])

    return Comparison(
        lambda: call(restore(kv)),
        lambda: call(accelerate(kv)),
        lambda a, b: [word for word, _ in a] == [word for word, _ in b] and near(1e-6)([s for _, s in a], [s for _, s in b]),
    )


@host("model2vec: encode, 10k texts, 256 dimensions")
def model2vec(scale: float) -> Comparison:
    from model2vec import StaticModel
    from tokenizers import Tokenizer

    from fastembed_core.integrations.model2vec import accelerate, restore

    tokenizer = Tokenizer.from_str(model().tokenizer.backend_tokenizer.to_str())
    tokenizer.no_padding()
    static = StaticModel(operands.rows(tokenizer.get_vocab_size(), 256), tokenizer, {}, normalize=True)
    chosen = texts(max(100, int(10_000 * scale)))
    return Comparison(lambda: restore(static).encode(chosen), lambda: accelerate(static).encode(chosen), near(2e-6))


def bags(mode: str, scale: float, ours: Callable[[Any], Any], atol: float) -> Comparison:
    import torch

    n = max(1000, int(200_000 * scale))
    ids = torch.from_numpy(np.random.default_rng(0).integers(0, n, (4096, 50)))
    theirs = torch.nn.EmbeddingBag(n, 128, mode=mode)
    bag = ours(theirs)

    def call(module: Any) -> Any:
        with torch.no_grad():
            return module(ids)

    return Comparison(lambda: call(theirs), lambda: call(bag), near(atol))


@host("torch.nn.EmbeddingBag, max, 4,096 bags of 50, 200k rows of 128")
def embedding_bag(scale: float) -> Comparison:
    from fastembed_core import nn

    return bags("max", scale, lambda bag: nn.EmbeddingBag.from_pretrained(bag.weight.detach(), mode="max"), 0)


@host("torch.nn.EmbeddingBag, mean, 4,096 bags of 50, 200k rows of 128; ours of int8 rows")
def coded_embedding_bag(scale: float) -> Comparison:
    from fastembed_core import nn

    return bags("mean", scale, lambda bag: nn.EmbeddingBag.from_pretrained(bag.weight.detach(), mode="mean").coded(), 0.01)
