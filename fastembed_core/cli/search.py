"""``fastembed-core search``: the k best rows of a corpus file for each row of a query file, or of embedded texts for a question."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from .. import metrics, threads
from ..codes import BIT_PRECISIONS, PRECISIONS, Codes
from ..corpus import Corpus
from ..corpus_file import is_corpus
from ..dispatch import BUILT_IN, use_backend
from ..ops.quantize import quantize
from ..ops.rescore import rescore
from ..ops.topk import topk
from . import _files, _text_corpus
from ._progress import progress

QUERIES_PER_CALL = 1024  # answers appear, and an interrupt is heard, at least this often

EPILOG = """\
examples:
  fastembed-core search queries.npy corpus.npy --k 10 > answers.jsonl
  fastembed-core search corpus.npy corpus.npy --exclude-self --metric ip -o neighbours.npz
  fastembed-core quantize corpus.npy --precision ubinary -o bits.npz
  fastembed-core search queries.npy bits.npz --metric hamming --rescore corpus.npy --candidates 100
  fastembed-core embed texts.txt -o corpus && fastembed-core search corpus "a question"

Answers are exact for the vectors as stored: ranked by the canonical score, ties by the lowest row number.
JSON lines hold {"query": row, "indices": [...], "scores": [...]}; places no row fills are left out, and a score that is
no finite number is null. An .npz holds `scores` and `indices`, both (queries, k), -1 where no row fills a place.
A file that `Corpus.save` wrote has its own precision and metric, and its ids stand for rows in every answer.
Of a folder that `embed` wrote, a question's answers are lines of score, line number and text, with tabs between.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "search",
        help="the k best rows of a corpus for each query",
        description="The k best rows of a corpus for each query, exactly. Files are memory-mapped, not read whole.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("queries", type=Path, help="(Q, D) array in a .npy file, or codes in a .npz file; or a folder of embedded texts")
    parser.add_argument("corpus", help="(N, D) array in a .npy file, codes in a .npz file, or a saved Corpus; or a question")
    parser.add_argument("--k", "-k", type=int, default=10, help="answers per query (default 10)")
    parser.add_argument("--metric", help=f"one of {', '.join(metrics.METRICS)} (default cosine; for codes it must be said)")
    parser.add_argument(
        "--precision",
        choices=("float32", *PRECISIONS),
        help="quantize the corpus to these codes before searching (default: as it is stored)",
    )
    parser.add_argument("--mask", type=Path, help="bool (N,) or (Q, N) in a .npy file, True = may be returned; or packed uint8")
    parser.add_argument("--exclude-self", action="store_true", help="query i does not return row i")
    parser.add_argument("--rescore", type=Path, metavar="ROWS", help="re-rank the candidates by these float rows (.npy) of the corpus")
    parser.add_argument("--candidates", type=int, help="candidates per query to re-rank (default 10 k); needs --rescore")
    parser.add_argument("--output", "-o", type=Path, help=".npz or .jsonl file (default: JSON lines on standard output)")
    parser.add_argument("--threads", type=int, help="threads to use (default: all this process may use)")
    parser.add_argument("--backend", default="auto", help=f"auto, {', '.join(BUILT_IN)}")
    parser.set_defaults(func=run)


def run(arguments: argparse.Namespace) -> None:
    if arguments.output is not None and arguments.output.suffix not in (".npz", ".jsonl"):
        raise ValueError(f"--output: got {arguments.output}, expected a name ending in .npz or .jsonl")
    with ExitStack() as stack:
        if arguments.threads is not None:
            stack.enter_context(threads.limit(arguments.threads))
        stack.enter_context(use_backend(arguments.backend))
        if _text_corpus.is_text_corpus(arguments.queries):
            ask(arguments.queries, arguments.corpus, arguments)
            return
        task = prepare(arguments)
        if arguments.output is None:
            write_lines(answers(task), sys.stdout)
        elif arguments.output.suffix == ".jsonl":
            with _files.replacing(arguments.output) as file:
                write_lines(answers(task), file)
        else:
            blocks = [(scores, indices) for _, scores, indices in answers(task)]
            scores, indices = (np.concatenate(part) for part in zip(*blocks, strict=True))
            _files.save_arrays(arguments.output, scores=scores, indices=indices)


def ask(folder: Path, question: str, arguments: argparse.Namespace) -> None:
    """Print the lines of a folder of embedded texts that are nearest to a question."""
    for name in ("metric", "precision", "mask", "exclude_self", "rescore", "candidates", "output"):
        if getattr(arguments, name) not in (None, False):
            raise ValueError(f"--{name.replace('_', '-')}: got it for a question, expected queries.npy and a corpus of vectors")
    corpus, lines, model = _text_corpus.read(folder)
    from ._encoder import Encoder

    query = Encoder(model).embed([question], prompt="query")
    if query.shape[1] != corpus.dim:
        raise ValueError(f"{folder}: got vectors of {corpus.dim} dimensions, expected {query.shape[1]} as its model makes; embed them anew")
    scores, numbers = corpus.search(query, arguments.k)
    for score, number in zip(scores[0], numbers[0], strict=True):
        print(f"{score:.3f}\t{number}\t{lines[number - 1]}")


class Task(NamedTuple):
    """What to search, loaded and brought to one precision."""

    queries: np.ndarray | Codes
    coded_queries: np.ndarray | Codes
    corpus: np.ndarray | Codes | Corpus
    metric: str | None
    k: int
    mask: np.ndarray | None
    exclude_self: bool
    rows: np.ndarray | None
    candidates: int


def prepare(arguments: argparse.Namespace) -> Task:
    """The files of a command line, checked and coded as `--precision` says."""
    queries = _files.load_vectors(arguments.queries, "queries")
    metric = None if arguments.metric is None else metrics.canonical_name(arguments.metric)
    corpus: np.ndarray | Codes | Corpus
    path = Path(arguments.corpus)
    if is_corpus(path):
        corpus = _saved_corpus(arguments, metric)
        metric = corpus.metric
    else:
        corpus = _coded_corpus(_files.load_vectors(path, "corpus"), arguments.precision)
    coded_queries = queries
    if isinstance(corpus, Codes) and corpus.precision in BIT_PRECISIONS and metric in metrics.BIT_METRICS and _is_float(queries):
        coded_queries = quantize(queries, corpus.precision)
    mask = None if arguments.mask is None else _files.load_array(arguments.mask, "mask")
    rows = None if arguments.rescore is None else _files.load_array(arguments.rescore, "--rescore")
    if rows is not None and not isinstance(corpus, Corpus) and rows.shape != corpus.shape:
        raise ValueError(f"--rescore: got rows of shape {rows.shape}, expected {corpus.shape} as the corpus")
    if rows is None and arguments.candidates is not None:
        raise ValueError("--candidates: got a number without --rescore, expected the float rows to re-rank them by")
    candidates = 10 * arguments.k if arguments.candidates is None else arguments.candidates
    if rows is not None and candidates < arguments.k:
        raise ValueError(f"--candidates: got {candidates}, expected at least k = {arguments.k}")
    return Task(queries, coded_queries, corpus, metric, arguments.k, mask, arguments.exclude_self, rows, candidates)


def _saved_corpus(arguments: argparse.Namespace, metric: str | None) -> Corpus:
    """A corpus that `Corpus.save` wrote; its precision and metric are what they are."""
    for name in ("precision", "rescore"):
        if getattr(arguments, name) is not None:
            raise ValueError(f"--{name}: got {getattr(arguments, name)} for a saved corpus, expected none")
    corpus = Corpus.load(arguments.corpus)
    if metric not in (None, corpus.metric):
        raise ValueError(f"--metric: got {metric} for a corpus of {corpus.metric}, expected that or none")
    return corpus


def _is_float(vectors: np.ndarray | Codes) -> bool:
    return isinstance(vectors, np.ndarray) and vectors.dtype.kind == "f"


def _coded_corpus(corpus: np.ndarray | Codes, precision: str | None) -> np.ndarray | Codes:
    stored = corpus.precision if isinstance(corpus, Codes) else "float32" if _is_float(corpus) else corpus.dtype.name
    if precision in (None, stored):
        return corpus
    if stored != "float32" or precision == "float32":
        raise ValueError(f"--precision: got {precision} for a corpus of {stored}, expected float rows to quantize")
    return quantize(corpus, precision)


def answers(task: Task) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """(first query, scores, indices) of each block of queries."""
    total = len(task.queries)
    n = len(task.corpus)
    exact = task.metric if task.metric not in metrics.BIT_METRICS else "cosine"
    with progress(total, "searching", "queries") as done:
        for lo in range(0, max(total, 1), QUERIES_PER_CALL):
            hi = min(lo + QUERIES_PER_CALL, total)
            own = np.arange(lo, hi)
            k = task.k if task.rows is None else task.candidates
            mask = task.mask[lo:hi] if task.mask is not None and task.mask.ndim == 2 else task.mask
            exclude = np.where(own < n, own, -1) if task.exclude_self else None
            if isinstance(task.corpus, Corpus):
                if exclude is not None and n:
                    exclude = np.where(exclude < 0, -1, task.corpus.ids[exclude])
                scores, indices = task.corpus.search(task.queries[lo:hi], k, mask=mask, exclude=exclude)
            else:
                scores, indices = topk(task.coded_queries[lo:hi], task.corpus, k, metric=task.metric, mask=mask, exclude=exclude)
            if task.rows is not None:
                scores, indices = rescore(task.queries[lo:hi], task.rows, indices, task.k, metric=exact)
            yield lo, scores, indices
            done(hi - lo)


def write_lines(blocks: Iterator[tuple[int, np.ndarray, np.ndarray]], file: IO[Any]) -> None:
    """One JSON object a query."""
    for first, scores, indices in blocks:
        lines = "".join(_line(first + i, scores[i], indices[i]) for i in range(len(scores)))
        file.write(lines if file is sys.stdout else lines.encode())


def _line(query: int, scores: np.ndarray, indices: np.ndarray) -> str:
    filled = indices >= 0
    # Nine digits name a float32 uniquely; the float64 it widens to would print seventeen.
    values = [None if not np.isfinite(s) else int(s) if s.dtype.kind == "i" else float(f"{s:.9g}") for s in scores[filled]]
    return json.dumps({"query": query, "indices": indices[filled].tolist(), "scores": values}) + "\n"
