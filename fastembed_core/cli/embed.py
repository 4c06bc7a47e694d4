"""``fastembed-core embed``: lines of text to a folder that ``fastembed-core search`` answers questions from."""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from .. import threads
from . import _text_corpus

PRECISIONS = ("float32", "float16", "int8_row", "int4_row")

EPILOG = """\
examples:
  fastembed-core embed texts.txt -o corpus
  fastembed-core search corpus "a question"
  grep -rh '^#' docs | fastembed-core embed - -o headings --precision int8_row

Each line is a text; empty ones are passed over. The folder holds the lines, their vectors (a file of `Corpus.save`, ids are line
numbers from 1) and the model's name. It is written aside and renamed; one that is there is replaced.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "embed",
        help="embed the lines of a file, to be searched by meaning",
        description="Embed each line of a text file by a sentence-transformers model and save the vectors beside the lines.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("texts", help="a UTF-8 file with a text on each line, - for standard input")
    parser.add_argument("--output", "-o", type=Path, required=True, help="the folder to write")
    parser.add_argument("--model", help="a sentence-transformers model, by folder or hub name (default: the all-MiniLM-L6-v2 installed)")
    parser.add_argument("--precision", choices=PRECISIONS, default="float32", help="how vectors are kept (default float32)")
    parser.add_argument("--threads", type=int, help="threads to use (default: all this process may use)")
    parser.set_defaults(func=run)


def run(arguments: argparse.Namespace) -> None:
    if arguments.output.exists() and not _text_corpus.is_text_corpus(arguments.output):
        raise ValueError(f"--output: {arguments.output} is there and is no folder of embedded texts, expected a name for a new one")
    lines = _lines_of(arguments.texts)
    numbers = np.array([number for number, line in enumerate(lines, 1) if line.strip()], np.int64)
    if not len(numbers):
        raise ValueError(f"texts: {arguments.texts} holds no text, expected at least one line that is not empty")
    with ExitStack() as stack:
        if arguments.threads is not None:
            stack.enter_context(threads.limit(arguments.threads))
        from ._encoder import Encoder

        encoder = Encoder(arguments.model)
        start = time.perf_counter()
        vectors = encoder.embed([lines[number - 1] for number in numbers])
        seconds = time.perf_counter() - start
        model = None if arguments.model is None else _name_of(arguments.model)
        _text_corpus.write(arguments.output, lines, numbers, vectors, arguments.precision, model)
    done = f"{len(numbers):,} texts by {encoder.name} in {seconds:.1f} s, {vectors.shape[1]} dimensions"
    print(f'{arguments.output}: {done}; fastembed-core search {arguments.output} "a question"')


def _lines_of(name: str) -> list[str]:
    try:
        data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        return [line.removesuffix("\r") for line in data.decode("utf-8-sig").split("\n")]
    except UnicodeDecodeError as error:
        raise ValueError(f"texts: {name} is no UTF-8 text (byte {error.start}), expected a text on each line") from None


def _name_of(model: str) -> str:
    """A model's name as it holds from any folder."""
    return str(Path(model).resolve()) if Path(model).is_dir() else model
