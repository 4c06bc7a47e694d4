"""What a Corpus holds at one moment: columns of one entry a row, never changed once a search may read them.

A change makes a new `Snapshot`. It shares memory with the one before: appended rows go into room behind the rows that older
snapshots see, removed rows are struck out in a mask of the new snapshot alone.
"""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

from .arrays import FLOAT_KINDS, KIND_OF_DTYPE, float32_of, intake, is_torch, round_to, to_host
from .codes import PRECISIONS, ROW_PRECISIONS, STORAGE, Codes, code_width
from .metrics import BIT_METRICS, METRICS, canonical_name
from .operands import Rows, check_matrix, kind_of, rows_of
from .ops.quantize import calibrate, quantize
from .ops.scores import score_of
from .scan_codes import SCAN_PRECISIONS, ScanCodes, available, encode

FLOAT_PRECISIONS = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}
_BLOCK = 1 << 18  # elements converted at once
_SAMPLE = 1 << 10  # rows whose mean is a center
_LAST_ID = 2**63 - 1

Columns = dict[str, np.ndarray]


@dataclass(frozen=True)
class Layout:
    """What the rows of a corpus are: how they are stored, what they are scored by, and which codes stand beside them."""

    precision: str
    dim: int
    metric: str
    ranges: np.ndarray | None = None  # (2, dim) minimum and maximum, for int8 and uint8
    centers: tuple[tuple[str, np.ndarray], ...] = ()  # (precision, center) of the codes that scans read in place of float rows

    @property
    def is_float(self) -> bool:
        return self.precision in FLOAT_PRECISIONS

    def vectors(self, columns: Columns, n: int) -> np.ndarray | Codes:
        """The first n rows as an array (bfloat16 as its bits) or Codes."""
        data = columns["data"][:n]
        if self.is_float:
            return data
        return Codes(data, self.precision, self.dim, columns["scale"][:n] if "scale" in columns else None, self.ranges)

    def rows(self, columns: Columns, n: int) -> Rows:
        """The first n rows as an operand of a search."""
        if not self.is_float:
            return rows_of(self.vectors(columns, n), "x", self.metric)[0]
        scan = tuple(
            ScanCodes(name, center, {c.partition(".")[2]: columns[c][:n] for c in columns if c.startswith(f"{name}.")})
            for name, center in self.centers
        )
        return Rows(columns["data"][:n], FLOAT_PRECISIONS[self.precision], self.dim, scan=scan)

    def columns(self, x: Any, copy: bool) -> Columns:
        """New rows as columns of this layout; with copy=False the array itself where it is stored as it is."""
        if self.is_float:
            columns = {"data": _floats(x, self.precision, copy)}
            rows = Rows(columns["data"], FLOAT_PRECISIONS[self.precision], self.dim)
            for name, center in self.centers:
                scan = encode(rows, self.metric, name, center)
                columns |= {f"{name}.{part}": array for part, array in scan.arrays.items()}
            return columns
        borrowed = not _is_float(x)
        codes = _codes(x, self.metric) if borrowed else quantize(x, self.precision, ranges=self.ranges)
        parts = {"data": np.asarray(codes.data)} | ({} if codes.scale is None else {"scale": np.asarray(codes.scale)})
        return {name: array.copy() for name, array in parts.items()} if borrowed and copy else parts

    def check_like(self, x: Any) -> None:
        """Raise unless x can be further rows of this layout."""
        codes = None if _is_float(x) else _codes(x, self.metric)
        dim = int(x.shape[1]) if codes is None else codes.dim
        if dim != self.dim:
            raise ValueError(f"x: got dimension {dim}, expected {self.dim} as in the corpus")
        if codes is not None and codes.precision != self.precision:
            raise TypeError(f"x: got {codes.precision} codes, expected {'' if self.is_float else f'{self.precision} codes or '}float rows")


def layout_of(x: Any, precision: str | None, metric: str | None, scan: str | None) -> Layout:
    """The layout a corpus of x has, checked."""
    if scan not in ("auto", None, *SCAN_PRECISIONS):
        raise ValueError(f"scan: got {scan!r}, expected 'auto', 'int8', 'int4' or None")
    if precision not in (None, *FLOAT_PRECISIONS, *PRECISIONS):
        raise ValueError(f"precision: got {precision!r}, expected {', '.join([*FLOAT_PRECISIONS, *PRECISIONS])}, or None")
    name = None if metric is None else canonical_name(metric)
    if isinstance(x, Codes) or not _is_float(x):
        codes = _codes(x, name)
        if precision not in (None, codes.precision):
            raise ValueError(f"precision: got {precision} for {codes.precision} codes, expected float rows to make it from")
        layout = Layout(codes.precision, int(codes.dim), "", codes.ranges)
    else:
        dtype = intake(x, "x")[1]
        stored = precision or ("float32" if dtype == "float64" else dtype)
        ranges = calibrate(x) if stored in ("int8", "uint8") and len(x) else None
        layout = Layout(stored, int(x.shape[1]), "", np.asarray(ranges) if ranges is not None else None)
    empty = rows_of(_empty(layout), "x", name)[0]
    layout = dataclasses.replace(layout, metric=_metric_of(empty, name, layout))
    return dataclasses.replace(layout, centers=_centers(x, layout, scan))


def _empty(layout: Layout) -> Any:
    if layout.is_float:
        return np.empty((0, layout.dim), np.float32)
    return Codes(**_no_codes(layout.precision, layout.dim), ranges=layout.ranges)


def _no_codes(precision: str, dim: int) -> dict[str, Any]:
    scale = np.empty(0, np.float32) if precision in ROW_PRECISIONS else None
    return {"data": np.empty((0, code_width(precision, dim)), STORAGE[precision]), "precision": precision, "dim": dim, "scale": scale}


def _metric_of(rows: Rows, name: str | None, layout: Layout) -> str:
    """The metric of a corpus of such rows: one that some query has with them."""
    if name is None and not layout.is_float:
        none = {"l2", "sqeuclidean"} if rows.kind == "bits" else BIT_METRICS if layout.precision in ROW_PRECISIONS else ()
        some = ", ".join(metric for metric in METRICS if metric not in none)
        raise TypeError(f"metric: got None for {layout.precision} vectors, which have no default, expected one of {some}")
    query = rows if name in BIT_METRICS else Rows(np.empty((0, layout.dim), np.float32), "f32", layout.dim)
    return score_of(query, rows, name, ("x", "x")).metric


def _centers(x: Any, layout: Layout, scan: str | None) -> tuple[tuple[str, np.ndarray], ...]:
    """The codes to keep beside float rows, and the center each takes; it is a sample's mean, and stays what it is."""
    if scan is None or (scan == "auto" and not (layout.is_float and available())):
        return ()
    if not layout.is_float:
        raise ValueError(f"scan: got {scan!r} for {layout.precision} codes, expected None or float rows for the codes to stand beside")
    if not available():
        raise ImportError(f"scan: got {scan!r}, expected None or 'auto', for the compiled extension that makes codes is not installed")
    if not len(x) or not layout.dim:
        return ()
    data, dtype, _ = intake(x, "x")
    some = np.unique(np.linspace(0, len(data) - 1, _SAMPLE).astype(np.int64))
    sample = Rows(np.array(data[some], data.dtype.newbyteorder("="), order="C"), KIND_OF_DTYPE[dtype], layout.dim)
    return tuple((name, encode(sample, layout.metric, name).center) for name in SCAN_PRECISIONS if scan in ("auto", name))


def _is_float(x: Any) -> bool:
    return not isinstance(x, Codes) and KIND_OF_DTYPE.get(intake(x, "x")[1], "f32") in FLOAT_KINDS


def _codes(x: Any, metric: str | None) -> Codes:
    """Codes, or a bare integer array as the Codes that it stands for, in host memory."""
    if not isinstance(x, Codes):
        data, dtype, _ = intake(x, "x")
        bits = metric in BIT_METRICS
        precision = {"int8": "binary", "uint8": "ubinary"}[dtype] if bits else dtype
        return Codes(data, precision, int(data.shape[1]) * (8 if bits else 1))
    parts = [None if part is None else intake(part, "x")[0] for part in (x.data, x.scale, x.ranges)]
    return x if isinstance(x.data, np.ndarray) else Codes(parts[0], x.precision, x.dim, parts[1], parts[2])


def _floats(x: Any, precision: str, copy: bool) -> np.ndarray:
    """Float rows in a precision, block by block where they have another."""
    data, dtype, _ = intake(x, "x")
    wanted = np.dtype(np.uint16 if precision == "bfloat16" else precision)
    if dtype == precision:
        plain = (data.shape[1] <= 1 or data.strides[1] == data.itemsize) and data.dtype.isnative
        return data if plain and not copy else np.array(data, wanted, order="C")
    out = np.empty(data.shape, wanted)
    step = max(1, _BLOCK // max(1, data.shape[1]))
    for lo in range(0, len(data), step):
        block = slice(lo, lo + step)
        out[block] = round_to(float32_of(data[block], KIND_OF_DTYPE[dtype]), FLOAT_PRECISIONS[precision])
    return out


def checked_input(x: Any) -> Any:
    """x in host memory where it can be the rows of a corpus, else one sentence."""
    data, dtype, origin = intake(x.data if isinstance(x, Codes) else x, "x")
    kind_of(dtype, "x")
    check_matrix(data, "x")
    if is_torch(data) and data.requires_grad:
        raise TypeError("x: got a tensor that requires grad, expected a plain one, for a corpus keeps no gradients")
    if origin.device == "cpu":
        return x
    if isinstance(x, Codes):
        return Codes(data.cpu(), x.precision, x.dim, *(None if part is None else to_host(part, "x") for part in (x.scale, x.ranges)))
    return data.cpu()


def device_of(x: Any) -> str:
    """Where the rows of a new corpus are."""
    return intake(x.data if isinstance(x, Codes) else x, "x")[2].device


@dataclass(frozen=True, eq=False)
class Snapshot:
    """n rows, of which `alive` (None: all) are there, and the next id that is free."""

    layout: Layout
    columns: Columns  # each with room for at least n rows; "ids" only where ids are not the row numbers
    n: int
    alive: np.ndarray | None
    next_id: int
    on_device: Any = None  # the same rows where searches run, `corpus_device.OnDevice`; None: here

    @functools.cached_property
    def rows(self) -> Rows:
        return self.layout.rows(self.columns, self.n)

    @functools.cached_property
    def plain(self) -> np.ndarray | None:
        """All rows, as topk takes them, where they are floats that numpy has and all there, on the host; else None."""
        kept = self.layout.is_float and self.layout.precision != "bfloat16" and self.alive is None and self.on_device is None
        return np.asarray(self.columns["data"][: self.n]) if kept else None

    @functools.cached_property
    def live(self) -> np.ndarray | None:
        """Numbers of the rows that are there; None where all are."""
        return None if self.alive is None else np.flatnonzero(self.alive)

    @property
    def count(self) -> int:
        return self.n if self.live is None else len(self.live)

    @functools.cached_property
    def ids(self) -> np.ndarray:
        """(count,) the ids of the rows that are there, in their order."""
        ids = self.columns["ids"][: self.n] if "ids" in self.columns else np.arange(self.n)
        return ids if self.live is None else ids[self.live]

    @functools.cached_property
    def _by_id(self) -> tuple[np.ndarray, np.ndarray]:
        """The ids sorted, and the row of each."""
        order = np.argsort(self.ids, kind="stable")
        return self.ids[order], order if self.live is None else self.live[order]

    def rows_of(self, ids: np.ndarray) -> np.ndarray:
        """The row of each id, -1 where there is none."""
        known, rows = self._by_id
        if not len(known):
            return np.full(ids.shape, -1, np.int64)
        place = np.minimum(np.searchsorted(known, ids), len(known) - 1)
        return np.where(known[place] == ids, rows[place], -1)

    def ids_at(self, rows: np.ndarray) -> np.ndarray:
        """The id of each row, -1 where there is none."""
        if "ids" not in self.columns:
            return rows
        ids = self.columns["ids"][: self.n]
        return np.where(rows < 0, -1, ids[rows]) if self.n else rows

    def with_rows(self, columns: Columns, ids: np.ndarray | None) -> Snapshot:
        """This and new rows behind it."""
        m = len(columns["data"])
        if not m:
            return self
        if ids is None and self.next_id + m > _LAST_ID:
            raise ValueError(f"ids: got None with {self.next_id} the next free id, expected ids for {m} rows")
        mine = dict(self.columns)
        if "ids" not in mine and (ids is not None or self.next_id != self.n):
            mine["ids"] = np.arange(self.n)
        if "ids" in mine:
            columns = columns | {"ids": np.arange(self.next_id, self.next_id + m) if ids is None else ids}
        alive = None if self.alive is None else np.concatenate([self.alive, np.ones(m, bool)])
        following = self.next_id + m if ids is None else max(self.next_id, int(ids.max(initial=-1)) + 1)
        return Snapshot(self.layout, _extended(mine, self.n, columns), self.n + m, alive, following)

    def without(self, rows: np.ndarray) -> Snapshot:
        """This less some rows, which stay in memory."""
        alive = np.ones(self.n, bool) if self.alive is None else self.alive.copy()
        alive[rows] = False
        return Snapshot(self.layout, self.columns, self.n, alive, self.next_id)

    def without_codes(self) -> Snapshot:
        """The rows alone, without what scans read in their place."""
        columns = {name: column for name, column in self.columns.items() if "." not in name}
        return dataclasses.replace(self, layout=dataclasses.replace(self.layout, centers=()), columns=columns)

    def compacted(self) -> Snapshot:
        """The rows that are there and nothing else, in memory of their own."""
        if self.live is None:
            return self
        columns = {name: column[self.live] for name, column in self.columns.items()} | {"ids": self.ids}
        return Snapshot(self.layout, columns, self.count, None, self.next_id)


def _extended(columns: Columns, n: int, more: Columns) -> Columns:
    """Columns with `more` behind row n, in place where there is room: no snapshot but the newest sees what lies there."""
    m = len(more["data"])
    out = {}
    for name, column in columns.items():
        if len(column) < n + m:
            grown = np.empty((n + max(m, n // 2), *column.shape[1:]), column.dtype)
            grown[:n] = column[:n]
            column = grown
        column[n : n + m] = more[name]
        out[name] = column
    return out


def integers(x: Any, name: str) -> np.ndarray:
    """Ids of any integer type, an array or a list, as int64 in an array of their own."""
    values = to_host(x, name) if hasattr(x, "__dlpack__") else np.asarray(x)
    if values.dtype.kind not in "iu" and values.shape != (0,):
        raise TypeError(f"{name}: got {'strings' if values.dtype.kind == 'U' else values.dtype.name}, expected int64 ids")
    return values.astype(np.int64)


def checked_ids(ids: Any, n: int) -> np.ndarray:
    """(n,) int64 ids, each at least 0 and all different, in an array of their own."""
    given = integers(ids, "ids")
    if given.shape != (n,):
        raise ValueError(f"ids: got shape {given.shape}, expected ({n},), one a row")
    if n and given.min() < 0:
        raise ValueError(f"ids: got {given.min()}, expected ids of at least 0")
    ordered = np.sort(given)
    twice = np.flatnonzero(ordered[1:] == ordered[:-1])
    if len(twice):
        raise ValueError(f"ids: got {ordered[twice[0]]} twice, expected ids that differ")
    return given
