"""``fastembed-core demo``: semantic search over the docstrings of Python's own standard library, with a real model."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import numpy as np

from .. import __version__, dispatch, threads
from ..ops.normalize import normalize
from ..ops.topk import topk
from ._docstrings import Docstring, collect

if TYPE_CHECKING:
    from ._encoder import Encoder

QUESTIONS = (
    "How do I run a command and read what it printed?",
    "copy a whole folder with everything in it",
    "find all files that match a wildcard",
    "the middle value of some numbers",
    "make a temporary directory that deletes itself",
    "measure how long a piece of code takes",
)
TABLE_K = 10


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "demo",
        help="search Python's own documentation with a real model",
        description=(
            "Embed the docstrings of Python's standard library with a real model, answer questions by searching them, and"
            " compare float32, int8 and binary codes. The transformer runs in torch; pooling, codes and search are ours."
            " Needs no network; embeddings are kept in the user's cache folder."
        ),
    )
    parser.add_argument("question", nargs="*", help="questions to answer, after a handful of our own")
    parser.add_argument("--all", action="store_true", help="every docstring, private and rarely used ones too (about twice as many)")
    parser.add_argument("--modules", metavar="NAMES", help="only these modules of the standard library, separated by commas")
    parser.add_argument("--model", help="a sentence-transformers model, by folder or hub name (default: the all-MiniLM-L6-v2 installed)")
    parser.add_argument("--k", "-k", type=int, default=3, help="answers per question (default 3)")
    parser.add_argument("--threads", type=int, help="threads to use (default: all this process may use)")
    parser.set_defaults(func=run)


def run(arguments: argparse.Namespace) -> None:
    if arguments.k < 1:
        raise ValueError(f"--k: got {arguments.k}, expected an int of at least 1")
    with ExitStack() as stack:
        if arguments.threads is not None:
            stack.enter_context(threads.limit(arguments.threads))
        docstrings = gather(arguments.all, arguments.modules)
        encoder, vectors = embed(docstrings, arguments.model)
        for question in (*QUESTIONS, *arguments.question):
            answer(question, encoder, docstrings, vectors, arguments.k)
        table(vectors)
        if sys.stdin.isatty() and sys.stdout.isatty():
            converse(encoder, docstrings, vectors, arguments.k)


def gather(everything: bool, modules: str | None) -> list[Docstring]:
    """The docstrings to search, with a line that says which."""
    chosen = None if modules is None else [name.strip() for name in modules.split(",")]
    unknown = [name for name in chosen or () if name not in sys.stdlib_module_names]
    if unknown:
        raise ValueError(f"--modules: got {unknown[0]!r}, expected top-level modules of the standard library, separated by commas")
    docstrings = collect(everything, chosen)
    more = "" if everything or chosen else "; --all takes the rest"
    say(bold(f"fastembed-core {__version__}: search Python's own documentation by meaning"))
    say()
    field(
        "texts",
        f"the names and first paragraphs of {len(docstrings):,} docstrings of Python {platform.python_version()}'s standard library{more}",
    )
    return docstrings


def embed(docstrings: list[Docstring], model: str | None) -> tuple[Encoder, np.ndarray]:
    """The model and every docstring's vector, with lines that say what ran where."""
    from ._encoder import Encoder, cache_folder

    if sys.stdout.isatty():
        print(f"  {dim('loading the model …')}", end="\r", flush=True)  # the next line covers it
    start = time.perf_counter()
    encoder = Encoder(model)
    field("model", f"{encoder.name}, loaded in {time.perf_counter() - start:.0f} s; its transformer runs in torch")
    field("kernels", dispatch.explain("topk").partition(": ")[2])
    start = time.perf_counter()
    vectors, kept = encoder.embed_cached([f"{doc.name}: {doc.summary}" for doc in docstrings])
    seconds = time.perf_counter() - start
    if kept:
        field("embeddings", f"{vectors.shape[1]} dimensions, made by an earlier run and kept in {cache_folder()}")
    else:
        field("embeddings", f"{vectors.shape[1]} dimensions, made in {seconds:.0f} s ({len(docstrings) / seconds:.0f} a second):")
        torch, ours = encoder.transformer_seconds, encoder.pooling_seconds
        field("", f"{torch:.1f} s in the transformer, {ours:.2f} s in our pooling and normalization; kept in {cache_folder()}")
    return encoder, vectors


def answer(question: str, encoder: Encoder, docstrings: list[Docstring], vectors: np.ndarray, k: int) -> None:
    """A question and its k best docstrings."""
    scores, rows = topk(encoder.embed([question], prompt="query"), vectors, k, metric="cosine")
    say()
    say(bold(question))
    width = shutil.get_terminal_size((110, 24)).columns
    column = max(len(docstrings[row].name) for row in rows[0])
    for score, row in zip(scores[0], rows[0], strict=True):
        name = docstrings[row].name
        line = f"  {score:.3f}  {name:<{column}}  {docstrings[row].summary}"
        shown = line if len(line) <= width else line[: width - 1] + "…"
        say(shown.replace(name, bold(name), 1))


def table(vectors: np.ndarray) -> None:
    """The same search in four precisions, beside numpy."""
    from ._comparison import QUERIES, ROUNDS, compare

    k = min(TABLE_K, len(vectors) - 1)
    if k < 1:
        return
    rows = compare(normalize(vectors), k)
    queries = min(QUERIES, len(vectors))
    say()
    say(bold("The same search in four precisions"))
    say(f"  {queries} of the docstrings as queries against all {len(vectors):,}, k = {k}; one query at a time, one thread,")
    say(f"  medians of {queries * ROUNDS} calls each, ours and numpy's in turn")
    say()
    say(dim(f"  {'':<22}{'bytes/vector':>14}{'ours, µs':>12}{'numpy, µs':>12}{'overlap with float32':>23}"))
    for row in rows:
        say(f"  {row.name:<22}{row.size:>14}{row.ours * 1e6:>12,.0f}{row.numpy * 1e6:>12,.0f}{row.overlap:>22.1%}")


def converse(encoder: Encoder, docstrings: list[Docstring], vectors: np.ndarray, k: int) -> None:
    """Questions typed at the terminal, until an empty line."""
    say()
    while True:
        try:
            question = input("Ask something (an empty line ends): ").strip()
        except EOFError:
            say()
            return
        if not question:
            return
        answer(question, encoder, docstrings, vectors, k)
        say()


def say(line: str = "") -> None:
    print(line, flush=True)


def field(name: str, text: str) -> None:
    say(f"  {dim(f'{name:<12}')}{text}")


def bold(text: str) -> str:
    return _styled("1", text)


def dim(text: str) -> str:
    return _styled("2", text)


def _styled(code: str, text: str) -> str:
    plain = not sys.stdout.isatty() or "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb"
    return text if plain else f"\033[{code}m{text}\033[0m"
