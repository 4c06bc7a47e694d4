"""Arrays and Codes on disk: memory-mapped on the way in, written aside and renamed on the way out.

Codes lie in an uncompressed ``.npz`` with the members ``data``, ``precision``, ``dim`` and, where the precision has
them, ``scale`` or ``ranges``. No member is a pickle.
"""

from __future__ import annotations

import os
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from ..codes import Codes
from ..files import replacing as replacing


def load_array(path: Path, name: str) -> np.ndarray:
    """The array of a ``.npy`` file, memory-mapped read-only."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        why = "it does not begin as one" if "pickle" in str(error) else error  # to load pickles, as numpy advises, would run them
        raise ValueError(f"{name}: {path} is no readable .npy file ({why})") from None
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{name}: {path} holds several arrays, expected a .npy file with one")
    return array


def load_vectors(path: Path, name: str) -> np.ndarray | Codes:
    """Vectors from a ``.npy`` file, or Codes from a ``.npz`` file that `fastembed-core quantize` wrote; either is memory-mapped."""
    vectors = load_codes(path, name) if path.suffix == ".npz" else load_array(path, name)
    if len(vectors.shape) != 2:
        raise ValueError(f"{name}: {path} holds an array of shape {vectors.shape}, expected 2 dimensions, (rows, elements)")
    return vectors


def load_codes(path: Path, name: str) -> Codes:
    """Codes from a ``.npz`` file; their data stays on disk, scales and ranges are read."""
    try:
        with zipfile.ZipFile(path) as archive, np.load(path, allow_pickle=False) as members:
            small = {key: members[key] for key in ("precision", "dim", "scale", "ranges") if key in members.files}
            data = _map_member(path, archive, "data")
        return Codes(data, str(small["precision"]), int(small["dim"]), small.get("scale"), small.get("ranges"))
    except (KeyError, ValueError, TypeError, zipfile.BadZipFile, struct.error) as error:
        raise ValueError(f"{name}: {path} holds no codes as `fastembed-core quantize` writes them ({error})") from None


def _map_member(path: Path, archive: zipfile.ZipFile, key: str) -> np.ndarray:
    """One member of an ``.npz``, memory-mapped where it lies in the archive if it is not compressed."""
    info = archive.getinfo(f"{key}.npy")
    if info.compress_type != zipfile.ZIP_STORED:
        with archive.open(info) as member:
            return np.lib.format.read_array(member, allow_pickle=False)
    with path.open("rb") as file:
        file.seek(info.header_offset + 26)  # the lengths of the name and the extra field end a local file header
        lengths = struct.unpack("<HH", file.read(4))
        file.seek(sum(lengths), os.SEEK_CUR)
        version = np.lib.format.read_magic(file)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read_header(file)
        if dtype.hasobject:
            raise ValueError(f"{key} holds Python objects")
        if np.prod(shape) == 0:
            return np.empty(shape, dtype)
        return np.memmap(path, dtype, "r", file.tell(), shape, "F" if fortran else "C")


def save_arrays(path: Path, **arrays: Any) -> None:
    """Arrays as one ``.npz``, written aside and renamed."""
    with replacing(path) as file:
        np.savez(file, **arrays)


def write_header(file: Any, shape: tuple[int, ...], dtype: np.dtype) -> None:
    """The ``.npy`` header of a C-ordered array whose elements follow."""
    np.lib.format.write_array_header_1_0(file, {"descr": dtype.str, "fortran_order": False, "shape": shape})
