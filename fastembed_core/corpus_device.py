"""A corpus on a device: its columns there, or, where they do not fit, passed through it in chunks, each copied while the one before is
searched.

Host memory (or the mapped file) stays a corpus' home: changes happen there and are followed here, `save` writes what is there. Of rows
that stay on the device int8 codes do, too, which an exact search reads in their place.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from . import dispatch
from .arrays import from_host, to_device
from .checks import integer_of
from .operands import Mask, Rows
from .ops.scores import Score
from .scan_codes import ScanCodes
from .snapshot import Snapshot

CHUNK = 1 << 28  # bytes of rows that are copied at once, at most
GRAIN = 8  # rows a chunk is a multiple of, as packed masks are cut

Tensors = dict[str, torch.Tensor]


class Place(NamedTuple):
    """Where searches run, and the bytes of vectors they may keep there; None: all."""

    device: torch.device
    memory: int | None


def place_of(device: Any, memory: Any) -> Place | None:
    """The checked place; None is host memory."""
    try:
        where = torch.device(device)
    except (RuntimeError, TypeError):
        raise ValueError(f"device: got {device!r}, expected 'cpu', 'cuda' or 'cuda:1'") from None
    if memory is not None:
        memory = integer_of(memory, "memory", "bytes as an int, or None")
    if where.type == "cpu":
        if memory is not None:
            raise ValueError(f"memory: got {memory} for host memory, expected None, or a device")
        return None
    if where.type != "cuda":
        raise ValueError(f"device: got {device!r}, expected 'cpu', 'cuda' or 'cuda:1'")
    if not torch.cuda.is_available():
        raise ImportError(f"device: got {device!r}, expected 'cpu', for torch sees no CUDA device")
    where = torch.device("cuda", torch.cuda.current_device()) if where.index is None else where
    return Place(where, memory)


@dataclass(frozen=True, eq=False)
class OnDevice:
    """A snapshot's columns on a device: those of the first `resident` rows, with room for more, and every row's id."""

    place: Place
    snapshot: Snapshot
    columns: Tensors
    resident: int
    chunk: int  # rows of each of the two buffers that the others pass through
    alive: torch.Tensor | None

    @functools.cached_property
    def live(self) -> torch.Tensor | None:
        return to_device(self.snapshot.live, str(self.place.device))

    @functools.cached_property
    def rows(self) -> Rows:
        """The resident rows as an operand."""
        return self._operand({name: column[: self.resident] for name, column in self.columns.items()})

    @functools.cached_property
    def _centers(self) -> Tensors:
        return {name: to_device(center, str(self.place.device)) for name, center in self.snapshot.layout.centers}

    @functools.cached_property
    def _ranges(self) -> torch.Tensor | None:
        return to_device(self.snapshot.rows.ranges, str(self.place.device))

    def _operand(self, columns: Tensors) -> Rows:
        like = self.snapshot.rows
        codes = {name.partition(".")[2]: column for name, column in columns.items() if name.startswith("int8.")}
        scan = (ScanCodes("int8", self._centers["int8"], codes),) if codes else ()
        data = columns["data"].view(torch.bfloat16) if like.kind == "bf16" else columns["data"]
        return Rows(data, like.kind, like.dim, columns.get("scale"), self._ranges, like.flip, scan)

    def used(self) -> None:
        """Tell the allocator that the current stream reads what is there: a change may free it before that stream has come so far."""
        if self.place.device.type != "cuda":
            return
        stream = torch.cuda.current_stream(self.place.device)
        for tensor in (*self.columns.values(), *self._centers.values(), self._ranges, self.alive, self.__dict__.get("live")):
            if tensor is not None:
                tensor.record_stream(stream)

    def mask(self, given: Mask | None) -> Mask | None:
        """A mask over the rows that are there as one over all rows, with the removed ones struck out."""
        if self.alive is None or self.live is None:
            return given
        n = self.snapshot.n
        if given is None:
            return Mask(self.alive, False, n)
        data = to_device(given.data, str(self.place.device)) if isinstance(given.data, np.ndarray) else given.data
        if given.packed:
            bits = (data[..., None] >> torch.arange(8, dtype=torch.uint8, device=data.device)) & 1
            data = bits.flatten(-2)[..., : given.n].bool()
        full = torch.zeros((*data.shape[:-1], n), dtype=torch.bool, device=data.device)
        full[..., self.live] = data
        return Mask(full, False, n)

    def ids_at(self, rows: torch.Tensor) -> torch.Tensor:
        """The id of each row, -1 where there is none."""
        ids = self.columns.get("ids")
        if ids is None or not self.snapshot.n:
            return rows
        return ids[rows.clamp(min=0)].masked_fill_(rows < 0, -1)

    def topk(
        self, q: Rows, k: int, score: Score, mask: Mask | None, exclude: np.ndarray | None, stats: dict[str, Any] | None = None,
        backend: str | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
        """(scores, rows) of the k best of all rows: of the resident ones, then of each chunk."""
        best: tuple[torch.Tensor, torch.Tensor] | None = None
        n = self.snapshot.n
        whole = self.resident == n
        for lo, x in self._parts():
            part = slice(lo, lo + x.n)
            done: dict[str, Any] = {}
            how: tuple[Any, ...] = (min(k, x.n), score, mask if whole else _masked(mask, part), exclude if whole else _among(exclude, part))
            how += () if stats is None else (done,)
            scores, rows = dispatch.run("topk", q, x, *how, device=str(self.place.device), backend=backend)
            if stats is not None:
                stats |= {key: done[key] + stats.get(key, 0) for key in ("scanned", "rescored")} | {"scan": stats.get("scan", done["scan"])}
            if best is None and whole:
                return scores, rows
            rows = torch.where(rows < 0, -1, rows + lo)
            if best is not None:
                scores, rows = torch.cat([best[0], scores], 1), torch.cat([best[1], rows], 1)
                scores, rows = dispatch.run("merge_topk", scores, rows, min(k, rows.shape[1]), score, backend="torch")
            best = scores, rows
        assert best is not None
        return best

    def _parts(self) -> Iterator[tuple[int, Rows]]:
        if self.resident or not self.snapshot.n:
            yield 0, self.rows
        host = {name: column for name, column in self.snapshot.columns.items() if name in ("data", "scale")}
        for lo, columns in streamed(host, self.resident, self.snapshot.n, self.chunk, self.place.device):
            yield lo, self._operand(columns)


def _masked(mask: Mask | None, rows: slice) -> Mask | None:
    if mask is None:
        return None
    n = rows.stop - rows.start
    if mask.packed:
        return Mask(mask.data[..., rows.start // 8 : (rows.stop + 7) // 8], True, n)
    return Mask(mask.data[..., rows], False, n)


def _among(exclude: np.ndarray | None, rows: slice) -> np.ndarray | None:
    """Excluded rows as numbers in a part, -1 outside it."""
    if exclude is None:
        return None
    inside = (exclude >= rows.start) & (exclude < rows.stop)
    return np.where(inside, exclude - rows.start, -1)


def streamed(columns: dict[str, np.ndarray], first: int, last: int, rows: int, device: torch.device) -> Iterator[tuple[int, Tensors]]:
    """Rows first to last on the device, `rows` at a time: each chunk is copied on a stream of its own while the one before is worked on.

    Two buffers there; two in pinned memory, which pageable or mapped rows are gathered in, so that the copy leaves the host at once.
    """
    if first >= last:
        return
    cuda = device.type == "cuda"
    host = {name: _tensor(column) for name, column in columns.items()}
    pinned = cuda and all(tensor.is_pinned() for tensor in host.values())
    buffers = [_buffer(host, rows, device) for _ in range(2)]
    staged = [_buffer(host, rows, None) if cuda and not pinned else {} for _ in range(2)]
    copying = torch.cuda.Stream(device) if cuda else None
    ready, free = ([torch.cuda.Event() for _ in range(2)] if cuda else [] for _ in range(2))

    def copy(slot: int, lo: int) -> None:
        m = min(rows, last - lo)
        source = {name: tensor[lo : lo + m] for name, tensor in host.items()}
        if copying is None:
            for name, tensor in source.items():
                buffers[slot][name][:m].copy_(tensor)
            return
        if not pinned:
            ready[slot].synchronize()  # what was gathered there has left
            source = {name: staged[slot][name][:m].copy_(tensor) for name, tensor in source.items()}
        with torch.cuda.stream(copying):
            copying.wait_event(free[slot])
            for name, tensor in source.items():
                buffers[slot][name].record_stream(copying)
                buffers[slot][name][:m].copy_(tensor, non_blocking=True)
            ready[slot].record(copying)

    if copying is not None:
        copying.wait_stream(torch.cuda.current_stream(device))  # the buffers' memory may have had another use
    copy(0, first)
    for number, lo in enumerate(range(first, last, rows)):
        slot = number % 2
        if cuda:
            torch.cuda.current_stream(device).wait_event(ready[slot])
        yield lo, {name: buffer[: min(rows, last - lo)] for name, buffer in buffers[slot].items()}
        if cuda:
            free[slot].record(torch.cuda.current_stream(device))
        if lo + rows < last:
            copy(1 - slot, lo + rows)


def _tensor(column: np.ndarray) -> torch.Tensor:
    return from_host(column.view(np.int16) if column.dtype == np.uint16 else column)


def _buffer(like: Tensors, rows: int, device: torch.device | None) -> Tensors:
    """Room for some rows, on a device or, None, in pinned memory."""
    return {
        name: torch.empty((rows, *tensor.shape[1:]), dtype=tensor.dtype, device=device or "cpu", pin_memory=device is None)
        for name, tensor in like.items()
    }


def placed(snapshot: Snapshot, place: Place, before: OnDevice | None = None) -> OnDevice:
    """A snapshot on a device. before: of one whose rows are the first of this one's, and are not copied again."""
    sizes = {name: column.nbytes // len(column) if len(column) else 0 for name, column in snapshot.columns.items()}
    plain = sizes["data"] + sizes.get("scale", 0)
    coded = plain + sum(size for name, size in sizes.items() if name.startswith("int8."))
    names = [name for name in snapshot.columns if not name.startswith("int4.")]
    resident, chunk = snapshot.n, 0
    if place.memory is not None and snapshot.n * coded > place.memory:
        names = [name for name in names if "." not in name]
        resident, chunk = _split(snapshot.n, plain, place.memory)
    if before is not None and set(names) != set(before.columns):
        before = None
    columns = {}
    for name in names:
        rows = snapshot.n if name == "ids" else resident
        kept = None if before is None else (before.columns[name], before.snapshot.n if name == "ids" else before.resident)
        columns[name] = _followed(_tensor(snapshot.columns[name]), rows, kept, place)
    alive = to_device(snapshot.alive, str(place.device))
    if place.device.type == "cuda":
        torch.cuda.current_stream(place.device).synchronize()  # searches on other streams read them from now on
    return OnDevice(place, snapshot, columns, resident, chunk, alive)


def _split(n: int, size: int, memory: int) -> tuple[int, int]:
    """(rows that stay, rows of a chunk) where `memory` bytes hold rows of `size` bytes."""
    if n * size <= memory:
        return n, 0
    chunk = min(memory // 4, CHUNK) // size // GRAIN * GRAIN
    if chunk < GRAIN:
        raise ValueError(f"memory: got {memory}, expected at least {4 * GRAIN * size} bytes, for {4 * GRAIN} of these rows")
    return (memory - 2 * chunk * size) // size // GRAIN * GRAIN, chunk


def _followed(host: torch.Tensor, rows: int, kept: tuple[torch.Tensor, int] | None, place: Place) -> torch.Tensor:
    """The first `rows` of a column on the device: the ones it has stay, the others are written behind them, where no older search
    looks."""
    column, known = kept if kept is not None else (None, 0)
    known = min(known, rows)
    exact = place.memory is not None
    if column is None or len(column) < rows or (exact and len(column) > rows):
        room = rows if column is None or exact else rows + rows // 4
        grown = torch.empty((room, *host.shape[1:]), dtype=host.dtype, device=place.device)
        if column is not None:
            grown[:known] = column[:known]
        column = grown
    column[known:rows].copy_(host[known:rows])
    return column
