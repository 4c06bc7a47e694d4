"""``fastembed-core quantize``: a file of vectors to a file of codes, block by block, whatever the file's size."""

from __future__ import annotations

import argparse
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from .. import threads
from ..codes import DIM_PRECISIONS, PRECISIONS, ROW_PRECISIONS, STORAGE, Codes, code_width
from ..dispatch import use_backend
from ..ops.quantize import calibrate, quantize
from . import _files
from ._progress import progress

BLOCK_BYTES = 16 << 20

EPILOG = """\
examples:
  fastembed-core quantize corpus.npy -o corpus.int8.npz
  fastembed-core quantize corpus.npy --precision uint8 -o corpus.uint8.npz
  fastembed-core quantize queries.npy --precision uint8 --ranges corpus.uint8.npz -o queries.uint8.npz

A .npz holds everything: `data`, `precision`, `dim` and, where there are any, `scale` or `ranges`; `fastembed-core
search` reads it back. With -o codes.npy the codes lie in codes.npy, and scales or ranges in codes.scale.npy or
codes.ranges.npy beside it.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "quantize",
        help="vectors to int8, int4 or binary codes",
        description="Quantize a file of vectors, block by block. int8 and uint8 take each dimension's range in a first pass.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("vectors", type=Path, help="(N, D) float array in a .npy file")
    parser.add_argument("--output", "-o", type=Path, required=True, help=".npz, or .npy with scales or ranges beside it")
    parser.add_argument("--precision", choices=PRECISIONS, default="int8_row", help="the codes (default int8_row)")
    parser.add_argument(
        "--ranges",
        type=Path,
        help="int8 and uint8: (2, D) minimum and maximum in a .npy file, or a .npz of codes to share theirs (default: of the vectors)",
    )
    parser.add_argument("--threads", type=int, help="threads to use (default: all this process may use)")
    parser.add_argument("--backend", default="auto", help="a backend by name (default auto)")
    parser.set_defaults(func=run)


def run(arguments: argparse.Namespace) -> None:
    output: Path = arguments.output
    if output.suffix not in (".npz", ".npy"):
        raise ValueError(f"--output: got {output}, expected a name ending in .npz or .npy")
    vectors = load_floats(arguments.vectors)
    with ExitStack() as stack:
        if arguments.threads is not None:
            stack.enter_context(threads.limit(arguments.threads))
        stack.enter_context(use_backend(arguments.backend))
        ranges = ranges_for(vectors, arguments.precision, arguments.ranges)
        write = write_npz if output.suffix == ".npz" else write_npy
        write(output, vectors, arguments.precision, ranges)


def load_floats(path: Path) -> np.ndarray:
    """The vectors to quantize, memory-mapped."""
    vectors = _files.load_array(path, "vectors")
    if vectors.ndim != 2 or vectors.dtype.kind != "f":
        raise ValueError(f"vectors: {path} holds {vectors.dtype.name} of shape {vectors.shape}, expected floats of shape (rows, elements)")
    return vectors


def blocks_of(vectors: np.ndarray, what: str) -> Iterator[np.ndarray]:
    """The vectors in blocks of `BLOCK_BYTES`, with progress shown."""
    step = max(1, BLOCK_BYTES // max(1, vectors.shape[1] * vectors.itemsize))
    with progress(len(vectors), what, "rows") as done:
        for lo in range(0, len(vectors), step):
            block = vectors[lo : lo + step]
            yield block
            done(len(block))


def ranges_for(vectors: np.ndarray, precision: str, given: Path | None) -> np.ndarray | None:
    """(2, D) float32 minimum and maximum of each dimension: those in a file, or of all the vectors; None where there are none."""
    if precision not in DIM_PRECISIONS:
        if given is not None:
            raise ValueError(f"--ranges: got a file for {precision}, expected it with {' or '.join(DIM_PRECISIONS)} only")
        return None
    if given is not None:
        return _given_ranges(given, vectors.shape[1])
    if len(vectors) < 2:
        return None  # no row needs any, and for a single one quantize says why it has none
    ranges: np.ndarray = calibrate(blocks_of(vectors, "calibrating"))
    return ranges


def _given_ranges(path: Path, dim: int) -> np.ndarray:
    found = _files.load_codes(path, "--ranges").ranges if path.suffix == ".npz" else _files.load_array(path, "--ranges")
    if found is None or found.shape != (2, dim) or found.dtype.kind != "f":
        what = "no ranges" if found is None else f"{found.dtype.name} of shape {found.shape}"
        raise ValueError(f"--ranges: {path} holds {what}, expected float32 of shape (2, {dim})")
    return np.ascontiguousarray(found, np.float32)


def coded_blocks(vectors: np.ndarray, precision: str, ranges: np.ndarray | None) -> Iterator[Codes]:
    """The codes of each block of vectors."""
    for block in blocks_of(vectors, "quantizing"):
        yield quantize(block, precision, ranges=ranges)


def write_codes(file: Any, vectors: np.ndarray, precision: str, ranges: np.ndarray | None) -> np.ndarray | None:
    """The codes as one ``.npy`` stream into `file`; returns the scales, 4 bytes a row, where there are any."""
    _files.write_header(file, (len(vectors), code_width(precision, vectors.shape[1])), np.dtype(STORAGE[precision]))
    scales = [np.empty(0, np.float32)]
    for codes in coded_blocks(vectors, precision, ranges):
        file.write(np.ascontiguousarray(codes.data).data)
        if codes.scale is not None:
            scales.append(codes.scale)
    return np.concatenate(scales) if precision in ROW_PRECISIONS else None


def write_npz(path: Path, vectors: np.ndarray, precision: str, ranges: np.ndarray | None) -> None:
    """Everything in one uncompressed archive, so that its codes can be memory-mapped."""
    with _files.replacing(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        with archive.open("data.npy", "w", force_zip64=True) as member:
            scale = write_codes(member, vectors, precision, ranges)
        rest = {"precision": precision, "dim": np.int64(vectors.shape[1]), "scale": scale, "ranges": ranges}
        for key, value in rest.items():
            if value is not None:
                with archive.open(f"{key}.npy", "w") as member:
                    np.lib.format.write_array(member, np.asanyarray(value), allow_pickle=False)


def write_npy(path: Path, vectors: np.ndarray, precision: str, ranges: np.ndarray | None) -> None:
    """The codes in one file, scales or ranges in another beside it."""
    with _files.replacing(path) as file:
        scale = write_codes(file, vectors, precision, ranges)
        for key, value in (("scale", scale), ("ranges", ranges)):
            if value is not None:
                with _files.replacing(path.with_suffix(f".{key}.npy")) as beside:
                    np.lib.format.write_array(beside, value, allow_pickle=False)
