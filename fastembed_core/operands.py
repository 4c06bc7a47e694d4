"""The operands of a search, checked: `Rows`, vectors of any storage kind with what is needed to read them; masks; row numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .arrays import FLOAT_KINDS, KIND_OF_DTYPE, NUMPY, Origin, beside, bfloat16_tensor, from_host, intake, integers_of, to_device, unread
from .codes import BIT_PRECISIONS, Codes
from .fp_state import ieee
from .metrics import BIT_METRICS
from .scan_codes import ScanCodes


@dataclass(eq=False, slots=True)  # never changed; frozen would cost a small call a microsecond more
class Rows:
    """An operand of a search: n vectors of dim elements in some storage kind.

    kind: f32 f16 bf16 (uint16 bits on the host) f64 (rounded to float32 on use) i8 u8 i4 bits.
    scale: (n,) float32, the row's value is scale * code. ranges: (2, dim) float32 minimum and *step*, the value is
    float32(step * u + minimum), computed in float64, with u the unsigned code (i8 = u - 128).
    flip: 0x80 where each stored byte of bits is xor'ed with it (`binary`), else 0.
    scan: codes beside float rows that a search may scan in their place.
    """

    data: Any
    kind: str
    dim: int
    scale: Any = None
    ranges: Any = None
    flip: int = 0
    scan: tuple[ScanCodes, ...] = ()

    @property
    def n(self) -> int:
        return self.data.shape[0]  # no int() of what may be a symbol while torch traces

    @property
    def is_float(self) -> bool:
        return self.kind in FLOAT_KINDS

    @property
    def is_torch(self) -> bool:
        return not isinstance(self.data, np.ndarray)

    def to_torch(self, device: str) -> Rows:
        """The same operand as torch tensors on `device`; bfloat16 becomes torch's own."""
        if self.is_torch:
            return self
        data = bfloat16_tensor(self.data) if self.kind == "bf16" else from_host(self.data)
        return Rows(data.to(device), self.kind, self.dim, to_device(self.scale, device), to_device(self.ranges, device), self.flip)

    def __getitem__(self, rows: slice) -> Rows:
        return Rows(self.data[rows], self.kind, self.dim, None if self.scale is None else self.scale[rows], self.ranges, self.flip)


def steps_of(ranges: Any) -> Any:
    """(2, dim) float32 minimum and step from minimum and maximum: step = (max - min) / 255 in float32, 0 -> 1."""
    if ranges is None:
        return None
    if not isinstance(ranges, np.ndarray):
        step = (ranges[1] - ranges[0]) / ranges.new_full((1,), 255)  # of a Python number CUDA multiplies by the reciprocal
        import torch

        return torch.stack([ranges[0], step.masked_fill(step == 0, 1)])
    with ieee(), np.errstate(over="ignore", invalid="ignore"):
        step = (ranges[1] - ranges[0]) / np.float32(255)
        return np.stack([ranges[0], np.where(step == 0, np.float32(1), step)])


_PLAIN = {np.dtype(t): KIND_OF_DTYPE[t] for t in ("float32", "float16", "float64")}


def rows_of(x: Any, name: str, metric: str | None = None, *, copy_inner: bool = False) -> tuple[Rows, Origin]:
    """The operand `x` (an array or Codes) of a search under `metric`, and where it came from.

    Row-strided, memory-mapped, unaligned and read-only arrays stay in place. Elements of a row must lie side by side
    in the machine's byte order: with copy_inner (queries) anything else is copied, without it (a corpus) refused.
    """
    if type(x) is np.ndarray and x.ndim == 2 and x.dtype in _PLAIN and x.strides[1] == x.itemsize:  # by far the most common
        return Rows(x, _PLAIN[x.dtype], x.shape[1]), NUMPY
    codes = x if isinstance(x, Codes) else None
    data, dtype, origin = intake(x if codes is None else codes.data, name)
    kind = kind_of(dtype, name)
    check_matrix(data, name)
    data = plain_rows(data, name, copy_inner)
    dim, scale, ranges, flip = data.shape[1], None, None, 0
    if codes is not None:
        dim = codes.dim
        if codes.precision in BIT_PRECISIONS:
            kind, flip = "bits", 0x80 if codes.precision == "binary" else 0
        elif codes.precision == "int4_row":
            kind = "i4"
        scale, ranges = beside(codes.scale, "scale", data), steps_of(beside(codes.ranges, "ranges", data))
    elif kind in ("i8", "u8") and metric in BIT_METRICS:
        kind, dim, flip = "bits", dim * 8, 0x80 if kind == "i8" else 0
    return Rows(data, kind, dim, scale, ranges, flip), origin


def kind_of(dtype: str, name: str) -> str:
    """The storage kind of an operand of a search."""
    kind = KIND_OF_DTYPE.get(dtype)
    if kind is None:
        way = "; numpy.stack makes one array of many" if dtype == "object" else ""
        raise TypeError(f"{name}: got {dtype}, expected float32, float16, bfloat16, float64, int8, uint8 or Codes{way}")
    return kind


def check_matrix(data: Any, name: str) -> None:
    if data.ndim != 2:
        way = f"; {name}[None] is a row" if data.ndim == 1 else ""
        raise ValueError(f"{name}: got shape {tuple(data.shape)}, expected 2 dimensions, (rows, elements){way}")


def plain_rows(data: Any, name: str, copy_inner: bool) -> Any:
    """`data` with each row's elements side by side in native byte order."""
    if isinstance(data, np.ndarray):
        if (data.strides[-1] == data.itemsize or data.shape[-1] <= 1) and data.dtype.isnative:
            return data
        if copy_inner or data.size == 0:
            return np.ascontiguousarray(data, dtype=data.dtype.newbyteorder("="))
        what = f"a stride of {data.strides[-1]} bytes between elements" if data.dtype.isnative else "a foreign byte order"
        raise ValueError(f"{name}: got {what}, expected rows contiguous in native byte order; numpy.ascontiguousarray makes such a copy")
    if data.stride(-1) == 1 or data.shape[-1] <= 1:
        return data
    if copy_inner:
        return data.contiguous()
    raise ValueError(
        f"{name}: got a stride of {data.stride(-1)} elements inside a row, expected contiguous rows; .contiguous() makes such a copy"
    )


@dataclass(frozen=True)
class Mask:
    """Which rows may be returned: True / bit set = may. shape (n,) shared by all queries, or (q, n)."""

    data: Any  # bool (n,) or (q, n); packed: uint8 (ceil(n / 8),) or (q, ceil(n / 8)), little-endian bits
    packed: bool
    n: int

    @property
    def shared(self) -> bool:
        return self.data.ndim == 1

    def block(self, q: slice, lo: int, hi: int) -> np.ndarray:
        """bool (q or 1, hi - lo): a host mask of queries q over rows lo to hi."""
        data = self.data[None] if self.shared else self.data[q]
        if not self.packed:
            return data[:, lo:hi]
        first = lo // 8
        bits = np.unpackbits(data[:, first : (hi + 7) // 8], axis=1, bitorder="little")
        return bits[:, lo - first * 8 : hi - first * 8].view(bool)


def mask_of(mask: Any, q: int, n: int, device: str) -> Mask | None:
    """The checked mask: bool (N,) or (Q, N), or uint8 bits packed little-endian along the last axis; on the host or on `device`."""
    if mask is None:
        return None
    data, dtype, origin = intake(mask, "mask")
    if origin.device not in ("cpu", device):
        raise ValueError(f"mask: got an array on {origin.device}, expected {device} as the queries")
    width = {"bool": n, "uint8": (n + 7) // 8}.get(dtype)
    if width is None:
        raise TypeError(f"mask: got {dtype}, expected bool, True = may be returned, or uint8 with packed little-endian bits")
    if tuple(data.shape) not in ((width,), (q, width)):
        raise ValueError(f"mask: got {dtype} of shape {tuple(data.shape)}, expected ({width},) or ({q}, {width}) for {n} rows")
    return Mask(plain_rows(data, "mask", copy_inner=True), dtype == "uint8", n)


def multiples(n: int, step: int, like: Any) -> Any:
    """int64 0, step, ..., n * step, on the host, or beside an unread tensor."""
    if not unread(like):
        return np.arange(n + 1) * step
    import torch

    return torch.arange(n + 1, device=like.device) * step


def in_front(valid: Any, ends: Any) -> tuple[Any, Any]:
    """Of a bool tensor: the places of what is valid, in order, and behind them the others; and `ends` counted in what is valid."""
    before = ends.new_zeros(valid.shape[0] + 1)
    before[1:] = valid.cumsum(0)
    return (~valid).char().argsort(stable=True), before[ends.clamp(0, valid.shape[0])]


def ids_of(x: Any, name: str, n: int, device: str) -> Any:
    """Row ids as dense int64, each in [-1, n), -1 means none. Of a tensor on the operands' device what lies outside becomes -1."""
    ids = integers_of(x, name, device, "int64 row numbers, -1 for none")
    if unread(ids):
        return ids.where((ids >= 0) & (ids < n), -1)
    if ids.size and (ids.min() < -1 or ids.max() >= n):
        bad = ids[(ids < -1) | (ids >= n)][0]
        raise ValueError(f"{name}: got row {bad}, expected -1 to {n - 1}")
    return ids


def exclude_of(exclude: Any, q: int, n: int, device: str = "cpu") -> Any:
    """(Q, E) int64 rows each query must not return: "self" (query i is row i), (Q,) or (Q, E), -1 = none."""
    if exclude is None:
        return None
    if isinstance(exclude, str):
        if exclude != "self":
            raise ValueError(f"exclude: got {exclude!r}, expected 'self' or row numbers")
        if device == "cpu":
            own = np.arange(q, dtype=np.int64)
            return np.where(own < n, own, -1)[:, None]
        import torch

        rows = torch.arange(q, device=device)
        return rows.where(rows < n, -1)[:, None]
    ids = ids_of(exclude, "exclude", n, device)
    if ids.ndim not in (1, 2) or ids.shape[0] != q:
        raise ValueError(f"exclude: got shape {tuple(ids.shape)}, expected ({q},) or ({q}, E)")
    return ids[:, None] if ids.ndim == 1 else ids
