"""Corpus: vectors prepared once, searched many times, changed while they are searched, saved and memory-mapped."""

from __future__ import annotations

import dataclasses
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np

from . import corpus_file, corpus_search, dispatch
from .arrays import float32_of
from .codes import Codes
from .scan_codes import available
from .snapshot import Snapshot, checked_ids, checked_input, device_of, integers, layout_of


class Corpus:
    """Vectors prepared once and searched many times: `topk` with the work on the corpus' side done beforehand.

    Rows are kept as given, or as the codes `precision` names; the metric is fixed. Beside float rows stand int8 and int4 codes
    (`scan`), which an exact search reads in their place: it moves a quarter or an eighth of the bytes, drops only the rows that a
    proven bound rules out, and returns the bits of `topk` over the rows.

    Every row has an id, which stays its own: searches return ids, never row numbers. Searches may run on any number of threads
    while another appends, removes or compacts: each sees the corpus as it was when it began. Changes wait for each other.

    Parameters
    ----------
    x : (N, D) float32, float16, bfloat16, float64 (kept as float32), int8, uint8, or Codes. A memory map is read block by block, and
        never copied as floats where `precision` names codes. A tensor on a device makes a corpus on that device, as `to` does.
    precision : ``float32``, ``float16``, ``bfloat16`` or one of `quantize`'s precisions, made from float rows; None keeps x as it is.
        ``int8`` and ``uint8`` take their ranges from x.
    scan : ``auto`` keeps int8 and int4 codes beside float rows where the compiled extension is there (1.5 bytes an element),
        ``int8`` or ``int4`` one of them, None neither
    metric : a metric's name or alias; None is cosine for floats and must be said for integers and codes
    ids : (N,) different int64 of at least 0; None numbers the rows from 0
    copy : False borrows x where it is stored as it is (a memory map stays one). What then happens to x's memory happens to
        the corpus: changing it leaves codes and answers undefined.

    Raises
    ------
    TypeError, ValueError, ImportError
        for vectors, names and ids that make no corpus, in one sentence that names the argument.
    """

    def __init__(
        self,
        x: Any,
        precision: str | None = None,
        *,
        scan: str | None = "auto",
        metric: str | None = None,
        ids: Any = None,
        copy: bool = True,
    ) -> None:
        device, x = device_of(x), checked_input(x)
        layout = layout_of(x, precision, metric, scan)
        own = None if ids is None else checked_ids(ids, len(x))
        columns = layout.columns(x, copy) | ({} if own is None else {"ids": own})
        following = len(x) if own is None else int(own.max(initial=-1)) + 1
        self._start(Snapshot(layout, columns, len(x), None, following), scan)
        if device != "cpu":
            self.to(device)

    def _start(self, snapshot: Snapshot, scan: str | None) -> None:
        self._snapshot = snapshot
        self._scan = scan
        self._place: Any = None  # `corpus_device.Place`; None is host memory
        self._changes = threading.Lock()

    def to(self, device: Any, *, memory: int | None = None) -> Corpus:
        """Search on `device` from now on: ``cuda``, ``cuda:1``, or ``cpu`` to go back. The answers' bits stay the same.

        Rows, and int8 codes where there are some, are copied there; the corpus itself stays in host memory or its mapped file, where
        `vectors`, `get` and `save` read it, and changes reach both. Queries may lie on the device, and then so do the answers and
        nothing is waited for, or in host memory.

        memory : bytes of the device's memory for vectors; None keeps all there. What does not fit passes through two buffers of a
            quarter of it (256 MiB at most) in every search, each chunk copied while the one before is searched: from pinned memory
            (`copy=False` of a pinned tensor) at once, from pageable memory and mapped files by way of pinned buffers. Workspace, half a
            GiB at most, comes on top.

        Returns this corpus. Raises ValueError, TypeError or ImportError for a device or a size that cannot be, in one sentence.
        """
        from .corpus_device import place_of  # torch is optional

        with self._changes:
            self._move(place_of(device, memory))
        return self

    def _move(self, place: Any) -> None:
        self._snapshot, self._place = _placed(self._snapshot, place, None), place

    def _take(self, snapshot: Snapshot, grown: bool = False) -> None:
        """Make a snapshot the corpus; grown: its first rows are those of the one before."""
        self._snapshot = _placed(snapshot, self._place, self._snapshot.on_device if grown else None)

    @property
    def device(self) -> str:
        """Where searches run: ``cpu``, or as torch names it."""
        return "cpu" if self._place is None else str(self._place.device)

    def __reduce__(self) -> Any:
        raise TypeError("corpus: got a Corpus to pickle or copy, expected save and load, or vectors for a new one")

    def __len__(self) -> int:
        return self._snapshot.count

    @property
    def dim(self) -> int:
        """Elements of a vector."""
        return self._snapshot.layout.dim

    @property
    def metric(self) -> str:
        """The metric's own name."""
        return self._snapshot.layout.metric

    @property
    def precision(self) -> str:
        """How rows are kept: float32, float16, bfloat16 or a precision of codes."""
        return self._snapshot.layout.precision

    @property
    def ids(self) -> np.ndarray:
        """(N,) int64 ids, in the order of the rows; do not write to it."""
        return self._snapshot.ids

    @property
    def vectors(self) -> np.ndarray | Codes:
        """The rows in the order of `ids`, float32, float16 or Codes; do not write to them. bfloat16 comes as float32."""
        snapshot = self._snapshot
        return _vectors(snapshot, slice(0, snapshot.n) if snapshot.live is None else snapshot.live)

    def get(self, ids: Any) -> np.ndarray | Codes:
        """The rows with these ids, in their order, as `vectors` gives them; ValueError for an id that is not there."""
        snapshot = self._snapshot
        return _vectors(snapshot, _rows_with(snapshot, ids))

    def __repr__(self) -> str:
        layout = self._snapshot.layout
        codes = "".join(f", {name} codes" for name, _ in layout.centers)
        return f"Corpus({len(self)} x {layout.dim}, {layout.precision}{codes}, {layout.metric})"

    def statistics(self) -> dict[str, Any]:
        """What the corpus holds: ``rows``, ``removed`` (until `compact`), ``dim``, ``precision``, ``metric``, ``scan`` (the codes
        beside the rows), ``row_bytes``, ``scan_bytes`` and ``id_bytes``, of all rows in memory or in the mapped file."""
        s = self._snapshot
        sizes = {name: s.n * (column.nbytes // max(1, len(column))) for name, column in s.columns.items()}
        return {
            "rows": s.count,
            "removed": s.n - s.count,
            "dim": s.layout.dim,
            "precision": s.layout.precision,
            "metric": s.layout.metric,
            "scan": tuple(name for name, _ in s.layout.centers),
            "row_bytes": sizes["data"] + sizes.get("scale", 0),
            "scan_bytes": sum(size for name, size in sizes.items() if "." in name),
            "id_bytes": sizes.get("ids", 0),
        }

    def search(
        self,
        queries: Any,
        k: int,
        *,
        exact: bool = True,
        rescore: int | None = None,
        mask: Any = None,
        exclude: Any = None,
        stats: bool = False,
        backend: str | None = None,
    ) -> tuple[Any, ...]:
        """The k best rows for each query, best first, ties by the row that came first: `topk` over the rows, to the bit.

        Parameters
        ----------
        queries : (Q, D) as `topk` takes them for such a corpus. Float queries of a corpus of bits under ``hamming`` or
            ``jaccard`` are coded as it is.
        k : at least 0; results have min(k, N) places
        exact : False ranks by the int8 (else int4) codes beside float rows, takes `rescore` * k candidates by them and ranks those
            by the rows: scores are canonical, but a row that the codes rank lower is missed. Without such codes, exact.
        rescore : candidates for each place, at least 1, for exact=False; None is 4
        mask : (N,) or (Q, N) bool, True = may be returned, in the order of `ids`; or packed little-endian bits in uint8
        exclude : ids not to return, (Q,) or (Q, E) int64, -1 = none; or "self", query i does not return ids[i]
        stats : also return what was done, a dict: ``scanned`` and ``rescored`` rows, summed over the queries, and ``scan``, by
            which scan: ``float``, ``int8`` or ``int4``
        backend : a backend's name; None chooses

        Returns
        -------
        scores : (Q, min(k, N)) as by `topk`
        ids : (Q, min(k, N)) int64, -1 where no row fills a place
        """
        snapshot = self._snapshot  # all that follows reads this one, whatever changes meanwhile
        if exact and mask is None and exclude is None and rescore is None and not stats and backend is None:
            direct = None if snapshot.plain is None else dispatch.direct("topk")
            found = None if direct is None else direct(queries, snapshot.plain, k, metric=snapshot.layout.metric)
            if found is not None:
                return found[0], snapshot.ids_at(found[1])
        scores, ids, done = corpus_search.search(snapshot, queries, k, exact, rescore, mask, exclude, stats, backend)
        return (scores, ids, done) if stats else (scores, ids)

    def append(self, x: Any, ids: Any = None) -> np.ndarray:
        """Add rows behind the others; returns their ids, (M,) int64.

        x : (M, D) of any kind the corpus was or could have been built from; coded as its rows are, with the ranges and the center
            of the rows it was built from.
        ids : (M,) different int64 of at least 0 that no row has; None goes on from the largest id there was
        """
        x = checked_input(x)
        with self._changes:
            snapshot = self._snapshot
            layout = snapshot.layout
            layout.check_like(x)
            own = None if ids is None else checked_ids(ids, len(x))
            if own is not None and (snapshot.rows_of(own) >= 0).any():
                raise ValueError(f"ids: got {own[snapshot.rows_of(own) >= 0][0]}, which a row of the corpus has, expected ids of none")
            if not snapshot.n:  # ranges and centers come from the first rows there are
                snapshot = dataclasses.replace(snapshot, layout=layout_of(x, layout.precision, layout.metric, self._scan))
                snapshot = dataclasses.replace(snapshot, columns=snapshot.layout.columns(x[:0], copy=True))
            elif layout.centers and not available():
                snapshot = snapshot.without_codes()  # loaded where nothing makes or reads them
            self._take(snapshot.with_rows(snapshot.layout.columns(x, copy=False), own), grown=True)
            return np.arange(snapshot.next_id, snapshot.next_id + len(x)) if own is None else own

    def remove(self, ids: Any) -> None:
        """Remove the rows with these ids; ValueError, and nothing removed, where one is not there.

        They are left out of every search from now on; `compact` gives their memory back.
        """
        with self._changes:
            self._take(self._snapshot.without(_rows_with(self._snapshot, ids)), grown=True)

    def compact(self) -> None:
        """Give back the memory of removed rows, by copying the others; ids stay."""
        with self._changes:
            self._take(self._snapshot.compacted())

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the corpus to one file, as docs/FORMAT.md describes it.

        It is written aside in the same folder, brought to disk and renamed: a crash leaves the old file or the new one, whole.
        """
        corpus_file.write(Path(path), self._snapshot)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, mmap: bool = True, verify: bool | None = None) -> Corpus:
        """The corpus that `save` wrote.

        Parameters
        ----------
        path : the file
        mmap : map its arrays, which are then read as searches need them; the file must stay as it is. `append` copies them into
            memory first. False reads them now.
        verify : compare the checksum of every array; None does where they are read. Those of the header and the description
            are always compared, and every length with the file's size.

        Raises
        ------
        ValueError
            for a file that is no corpus, is cut off or damaged, in one sentence that names it
        OSError
            for a file that cannot be read
        """
        corpus = cls.__new__(cls)
        snapshot = corpus_file.read(Path(path), mmap, not mmap if verify is None else verify)
        corpus._start(snapshot, "auto")
        return corpus


def _placed(snapshot: Snapshot, place: Any, before: Any) -> Snapshot:
    """The snapshot with its columns at a place, of which `before` has some."""
    on_device = None
    if place is not None:
        from .corpus_device import placed

        on_device = placed(snapshot, place, before)
    return dataclasses.replace(snapshot, on_device=on_device)


def _vectors(snapshot: Snapshot, rows: slice | np.ndarray) -> np.ndarray | Codes:
    vectors = snapshot.layout.vectors(snapshot.columns, snapshot.n)[rows]
    return float32_of(np.asarray(vectors), "bf16") if snapshot.layout.precision == "bfloat16" else vectors


def _rows_with(snapshot: Snapshot, ids: Any) -> np.ndarray:
    """The rows of ids, each of which must be there."""
    wanted = integers(ids, "ids")
    if wanted.ndim != 1:
        raise ValueError(f"ids: got shape {wanted.shape}, expected 1 dimension")
    rows = snapshot.rows_of(wanted)
    if (rows < 0).any():
        raise ValueError(f"ids: got {wanted[rows < 0][0]}, which no row has, expected ids of the corpus")
    return rows
