"""The file a Corpus is saved to: docs/FORMAT.md in code. No pickle, nothing executed, nothing believed before it is checked."""

from __future__ import annotations

import json
import os
import struct
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from . import __version__
from .codes import DIM_PRECISIONS, PRECISIONS, ROW_PRECISIONS, STORAGE, code_width
from .files import replacing
from .metrics import METRICS
from .scan_codes import SCAN_PRECISIONS
from .snapshot import FLOAT_PRECISIONS, Layout, Snapshot

MAGIC, VERSION = b"FECORPUS", 1
ALIGNMENT = 64
HEADER = struct.Struct("<8sIIQQQ20xI")  # magic, version, checksum of the description, its offset and length, the file's; own checksum
_MOST = 1 << 24  # bytes of a description
_BLOCK = 1 << 24  # bytes checked, and rows gathered, at once

Spec = tuple[str, str, tuple[int, ...]]  # a section's name, its elements' type, its shape


def is_corpus(path: Path) -> bool:
    """Whether a file begins as a saved corpus does."""
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def _sections(layout: Layout, n: int, explicit: bool, removed: bool) -> list[Spec]:
    """The sections a file of such a corpus has, in order: all else in the description is checked against them."""
    storage = {"float32": "<f4", "float16": "<f2", "bfloat16": "<u2"}.get(layout.precision)
    width = layout.dim if layout.is_float else code_width(layout.precision, layout.dim)
    specs: list[Spec] = [("data", storage or _byte(STORAGE[layout.precision]), (n, width))]
    if layout.precision in ROW_PRECISIONS:
        specs.append(("scale", "<f4", (n,)))
    if layout.ranges is not None:
        specs.append(("ranges", "<f4", (2, layout.dim)))
    if explicit:
        specs.append(("ids", "<i8", (n,)))
    if removed:
        specs.append(("alive", "|u1", (n,)))
    parts = ("scale", "error", "norm", *(("bias",) if layout.metric in ("l2", "sqeuclidean") else ()))
    for name, _ in layout.centers:
        codes = ("|u1", (n, (layout.dim + 1) // 2)) if name == "int4" else ("|i1", (n, layout.dim))
        specs += [(f"{name}.center", "<f4", (layout.dim,)), (f"{name}.codes", *codes)]
        specs += [(f"{name}.{part}", "<f4", (n,)) for part in parts]
    return specs


def _byte(dtype: str) -> str:
    return "|i1" if dtype == "int8" else "|u1"


def write(path: Path, snapshot: Snapshot) -> None:
    """Write a snapshot to `path`, whole or not at all."""
    layout, n = snapshot.layout, snapshot.n
    arrays = {name: column[:n] for name, column in snapshot.columns.items()}
    arrays |= {f"{name}.center": center for name, center in layout.centers}
    if layout.ranges is not None:
        arrays["ranges"] = layout.ranges
    if snapshot.alive is not None:
        arrays["alive"] = snapshot.alive.view(np.uint8)
    if not layout.dim:
        arrays["ids"] = arrays.get("ids", np.arange(n))  # else no section would tell how many rows there are
    description: dict[str, Any] = {
        "writer": f"fastembed_core {__version__}",
        "rows": n,
        "dim": layout.dim,
        "precision": layout.precision,
        "metric": layout.metric,
        "next_id": snapshot.next_id,
        "scan": [name for name, _ in layout.centers],
        "sections": [],
    }
    with replacing(path) as file:
        file.write(bytes(ALIGNMENT))
        for name, dtype, _ in _sections(layout, n, "ids" in arrays, "alive" in arrays):
            offset = _aligned(file)
            checksum = _write_array(file, arrays[name], np.dtype(dtype))
            entry = {"name": name, "dtype": dtype, "shape": list(arrays[name].shape), "offset": offset}
            description["sections"].append({**entry, "length": file.tell() - offset, "crc32": checksum})
        offset = _aligned(file)
        text = json.dumps(description, separators=(",", ":")).encode()
        file.write(text)
        end = file.tell()
        head = HEADER.pack(MAGIC, VERSION, zlib.crc32(text), offset, len(text), end, 0)
        file.seek(0)
        file.write(head[:-4] + struct.pack("<I", zlib.crc32(head[:-4])))


def _aligned(file: BinaryIO) -> int:
    """Zeros up to the next multiple of the alignment, and where that is."""
    file.write(bytes(-file.tell() % ALIGNMENT))
    return file.tell()


def _write_array(file: BinaryIO, array: np.ndarray, dtype: np.dtype) -> int:
    """The array's elements in order, some rows at a time; returns their checksum."""
    checksum = 0
    step = max(1, _BLOCK // max(1, array[:1].nbytes))
    for lo in range(0, len(array), step):
        data = np.ascontiguousarray(array[lo : lo + step], dtype).reshape(-1).view(np.uint8).data
        checksum = zlib.crc32(data, checksum)
        file.write(data)
    return checksum


class _Damaged(Exception):
    """What is wrong with a file."""


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise _Damaged(what)


def read(path: Path, mmap: bool, verify: bool) -> Snapshot:
    """The snapshot that `write` wrote, mapped or read, its arrays' checksums compared where `verify`."""
    with path.open("rb") as file:
        try:
            return _read(file, path, mmap, verify)
        except _Damaged as error:
            raise ValueError(f"{path}: no corpus that can be read, {error}") from None


def _read(file: BinaryIO, path: Path, mmap: bool, verify: bool) -> Snapshot:
    size = os.fstat(file.fileno()).st_size
    description, limit = _described(file, size)
    layout, n, next_id = _layout(description)
    entries = description["sections"]
    _require(isinstance(entries, list) and all(isinstance(entry, dict) for entry in entries), "its sections are no list")
    names = [entry.get("name") for entry in entries]
    _require(layout.dim > 0 or "ids" in names, "its rows have neither elements nor ids")
    layout = Layout(layout.precision, layout.dim, layout.metric, _ANY if "ranges" in names else None, layout.centers)
    specs = _sections(layout, n, "ids" in names, "alive" in names)
    _require(names == [name for name, _, _ in specs], f"it has the sections {names}")
    whole = np.memmap(path, np.uint8, "r") if mmap else None
    arrays, end = {}, ALIGNMENT
    for spec, entry in zip(specs, entries, strict=True):
        arrays[spec[0]], end = _section(file, whole, spec, entry, end, limit, verify)
    return _snapshot(layout, n, next_id, arrays)


_ANY = np.empty((2, 0), np.float32)  # stands for ranges that are yet to be read


def _described(file: BinaryIO, size: int) -> tuple[dict[str, Any], int]:
    """The description, and where it begins: sections end there."""
    head = file.read(HEADER.size)
    _require(head[:8] == MAGIC, "it does not begin as one")
    _require(len(head) == HEADER.size, f"it ends after {size} bytes")
    _, version, checksum, offset, length, end, own = HEADER.unpack(head)
    _require(version == VERSION, f"it is of version {version} and this is for version {VERSION}")
    _require(own == zlib.crc32(head[:-4]), "its header is damaged")
    _require(end == size, f"it has {size} bytes of {end}")
    _require(HEADER.size <= offset <= size and length == size - offset and length <= _MOST, "its description lies outside")
    file.seek(offset)
    text = file.read(length)
    _require(len(text) == length and zlib.crc32(text) == checksum, "its description is damaged")
    try:
        description = json.loads(text)
    except (ValueError, RecursionError):
        description = None
    _require(isinstance(description, dict), "its description is no JSON object")
    needed = {"rows", "dim", "precision", "metric", "next_id", "scan", "sections"}
    _require(needed <= description.keys(), f"its description lacks {', '.join(sorted(needed - description.keys()))}")
    return description, offset


def _layout(description: dict[str, Any]) -> tuple[Layout, int, int]:
    numbers = [description[name] for name in ("rows", "dim", "next_id")]
    _require(all(type(number) is int and 0 <= number <= 2**63 for number in numbers), f"its rows, dim and next id are {numbers}")
    n, dim, next_id = numbers
    precision, metric, scan = description["precision"], description["metric"], description["scan"]
    _require(precision in (*FLOAT_PRECISIONS, *PRECISIONS), f"its precision is {precision!r}")
    _require(metric in METRICS, f"its metric is {metric!r}")
    known = isinstance(scan, list) and all(name in SCAN_PRECISIONS for name in scan) and len(set(scan)) == len(scan)
    _require(known and (not scan or precision in FLOAT_PRECISIONS), f"its scans are {scan!r}")
    return Layout(precision, dim, metric, None, tuple((name, _ANY) for name in scan)), n, next_id


def _section(
    file: BinaryIO, whole: np.ndarray | None, spec: Spec, entry: dict[str, Any], start: int, limit: int, verify: bool
) -> tuple[np.ndarray, int]:
    """One section's array, and where it ends. It must be what `spec` says and lie behind `start` and before `limit`."""
    name, dtype, shape = spec
    _require(entry.get("dtype") == dtype and entry.get("shape") == list(shape), f"its {name} is {entry.get('dtype')} {entry.get('shape')}")
    numbers: list[Any] = [entry.get(key) for key in ("offset", "length", "crc32")]
    _require(all(type(number) is int for number in numbers), f"its {name} lies nowhere")
    offset, length, checksum = numbers
    expected = int(np.dtype(dtype).itemsize)
    for extent in shape:
        expected *= extent  # of any size, as Python's integers are
    _require(length == expected, f"its {name} has {length} bytes of {expected}")
    _require(offset % ALIGNMENT == 0 and start <= offset and offset + length <= limit, f"its {name} lies outside")
    if whole is not None:
        raw = whole[offset : offset + length]
    else:
        file.seek(offset)
        raw = np.fromfile(file, np.uint8, length)
        _require(len(raw) == length, f"its {name} has {len(raw)} bytes of {length}")
    if verify:
        found = 0
        for lo in range(0, length, _BLOCK):
            found = zlib.crc32(raw[lo : lo + _BLOCK].data, found)
        _require(found == checksum, f"its {name} is damaged")
    return np.asarray(raw).view(dtype).reshape(shape), offset + length


def _snapshot(layout: Layout, n: int, next_id: int, arrays: dict[str, np.ndarray]) -> Snapshot:
    ranges = arrays.pop("ranges", None)
    _require((ranges is not None) <= (layout.precision in DIM_PRECISIONS), f"it has ranges for {layout.precision}")
    centers = tuple((name, np.array(arrays.pop(f"{name}.center"))) for name, _ in layout.centers)
    alive = arrays.pop("alive", None)
    full = Layout(layout.precision, layout.dim, layout.metric, ranges, centers)
    return Snapshot(full, arrays, n, None if alive is None else alive != 0, next_id)
