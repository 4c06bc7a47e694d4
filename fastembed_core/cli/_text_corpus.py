"""A folder of embedded texts, as ``fastembed-core embed`` writes it and ``fastembed-core search`` asks it.

It holds ``vectors.fec`` (`Corpus.save`, ids are line numbers from 1), ``texts.txt`` (the lines) and ``model.json`` (what embedded them).
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from ..corpus import Corpus
from . import _files

VECTORS, TEXTS, MODEL = "vectors.fec", "texts.txt", "model.json"
FORMAT = 1


def is_text_corpus(path: Path) -> bool:
    """Whether a folder is one."""
    return (path / MODEL).is_file() and (path / VECTORS).is_file()


def write(path: Path, lines: list[str], numbers: np.ndarray, vectors: np.ndarray, precision: str, model: str | None) -> None:
    """Write the folder aside and rename it; a folder of embedded texts that was there is replaced, anything else is refused."""
    if path.exists() and not is_text_corpus(path):
        raise ValueError(f"--output: {path} is there and is no folder of embedded texts, expected a name for a new one")
    aside, old = (path.with_name(f".{path.name}.{os.getpid()}.{what}") for what in ("part", "old"))
    try:
        aside.mkdir(parents=True)
        Corpus(vectors, precision, metric="cosine", ids=numbers).save(aside / VECTORS)
        with _files.replacing(aside / TEXTS) as file:
            file.write("".join(f"{line}\n" for line in lines).encode())
        with _files.replacing(aside / MODEL) as file:
            file.write(json.dumps({"format": FORMAT, "model": model}).encode())
        if path.exists():
            path.rename(old)
        aside.rename(path)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def read(path: Path) -> tuple[Corpus, list[str], str | None]:
    """(vectors, lines, model) of a folder."""
    about: Any = json.loads((path / MODEL).read_text())
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise ValueError(f"{path}: got a folder of embedded texts of another format, expected {FORMAT}; embed the texts anew")
    return Corpus.load(path / VECTORS), (path / TEXTS).read_text("utf-8").split("\n")[:-1], about["model"]
