"""The boundary: numpy, torch and DLPack arrays in, the caller's own kind and device out.

`intake` turns any array into the plain thing the cells work on (a numpy view of host memory, or a torch tensor
where the data lies on a device or a gradient flows), never copying what lies right already. `Rows` is an operand of
a search: vectors of any storage kind with what is needed to read them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import numpy as np

from .codes import BIT_PRECISIONS, Codes
from .codes import dtype_name as dtype_name
from .fp_state import ieee
from .metrics import BIT_METRICS
from .scan_codes import ScanCodes

KIND_OF_DTYPE = {
    "float32": "f32",
    "float16": "f16",
    "bfloat16": "bf16",
    "float64": "f64",
    "int8": "i8",
    "uint8": "u8",
}
FLOAT_KINDS = frozenset({"f32", "f16", "bf16", "f64"})


def is_torch(x: Any) -> bool:
    """Whether x is a torch tensor, without importing torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(x, torch.Tensor)


_kept: ContextVar[bool] = ContextVar("fastembed_core_tensors_kept", default=False)


@contextmanager
def tensors_kept() -> Iterator[None]:
    """Inside the block tensors in host memory are taken as those on a device are: they stay tensors, whose values nobody looks at."""
    token = _kept.set(True)
    try:
        yield
    finally:
        _kept.reset(token)


@dataclass(frozen=True)
class Origin:
    """Where an operand came from, and so where its results go."""

    namespace: Any = None  # None: numpy. "torch". Otherwise the module whose from_dlpack makes the caller's arrays
    device: str = "cpu"

    def give(self, array: Any, like: Any = None) -> Any:
        """`array` (numpy, or torch on this device) as the caller's own kind; no copy.

        uint16 is the bits of bfloat16: numpy callers get it as the dtype of their own operand `like`.
        """
        if isinstance(array, np.ndarray) and array.dtype == np.uint16:
            if isinstance(like, np.ndarray):
                return array.view(like.dtype)
            array = _bfloat16_tensor(array)
        if self.namespace is None or array is None:
            return array
        if self.namespace == "torch":
            return from_host(array) if isinstance(array, np.ndarray) else array
        return self.namespace.from_dlpack(array)


NUMPY = Origin()


def intake(x: Any, name: str) -> tuple[Any, str, Origin]:
    """(data, dtype name, origin) of an array. bfloat16 host data comes as its uint16 bits.

    Raises TypeError for what is no array, and ValueError for a foreign byte order in data too large to copy silently.
    """
    if isinstance(x, np.ndarray):
        if type(x) is not np.ndarray:
            x = _plain_array(x, name)
        dtype = dtype_name(x.dtype)
        return (x.view(np.uint16) if dtype == "bfloat16" else x), dtype, NUMPY
    if is_torch(x):
        return _from_torch(x, name)
    if hasattr(x, "__dlpack__"):
        return _from_dlpack(x, name)
    raise TypeError(f"{name}: got {type(x).__name__}, expected a numpy, torch or DLPack array{_way_from(x)}")


def _way_from(x: Any) -> str:
    """How to make an array of what is none."""
    if type(x).__module__.partition(".")[0] in ("pyarrow", "datasets"):
        return "; fastembed_core.integrations.arrow reads columns"
    if type(x).__module__ == f"{__package__}.corpus":
        return "; its search() answers queries"
    if isinstance(x, list | tuple):
        return "; numpy.asarray makes one"
    return "; its to_numpy() makes one" if hasattr(x, "to_numpy") else ""


def _plain_array(x: np.ndarray, name: str) -> np.ndarray:
    """A memory map or a matrix as the array it is."""
    if isinstance(x, np.ma.MaskedArray):
        raise TypeError(f"{name}: got a masked array, whose mask would be lost, expected a plain one")
    return np.asarray(x)


def _from_torch(x: Any, name: str) -> tuple[Any, str, Origin]:
    import torch

    dtype = dtype_name(x.dtype)
    origin = Origin("torch", str(x.device))
    if x.layout != torch.strided or x.is_nested:
        raise TypeError(f"{name}: got a {'nested' if x.is_nested else x.layout} tensor, expected a strided one")
    if x.requires_grad and torch.is_grad_enabled():
        return x, dtype, origin
    tangents = torch.autograd.forward_ad
    if tangents._current_level >= 0 and tangents.unpack_dual(x).tangent is not None:
        raise TypeError(f"{name}: got a tensor with a tangent, expected a plain one, for forward-mode derivatives are not kept")
    x = x.detach()
    if x.device.type != "cpu" or _kept.get():
        return x, dtype, origin
    try:
        x = x.resolve_conj().resolve_neg()
        return (x.view(torch.int16).numpy().view(np.uint16) if dtype == "bfloat16" else x.numpy()), dtype, origin
    except (RuntimeError, TypeError):
        raise TypeError(f"{name}: got a {type(x).__name__} of {dtype}, which numpy cannot read, expected a plain tensor") from None


def _from_dlpack(x: Any, name: str) -> tuple[Any, str, Origin]:
    namespace = x.__array_namespace__() if hasattr(x, "__array_namespace__") else None
    origin = Origin(namespace) if hasattr(namespace, "from_dlpack") else NUMPY
    try:
        data = np.from_dlpack(x)
        return data, dtype_name(data.dtype), origin
    except (BufferError, RuntimeError, TypeError, ValueError):  # bfloat16, or not in host memory: torch reads those
        try:
            import torch
        except ImportError:
            raise TypeError(f"{name}: got a {type(x).__name__} numpy cannot read, expected one numpy or an installed torch can") from None
        try:
            tensor = torch.from_dlpack(x)
        except (BufferError, RuntimeError, TypeError, ValueError):
            what = f"{name}: got a {type(x).__name__}, which neither numpy nor torch can read"
            raise TypeError(f"{what}, expected an array of numbers{_way_from(x)}") from None
        data, dtype, torch_origin = _from_torch(tensor, name)
        return data, dtype, Origin(origin.namespace, torch_origin.device)


def unread(x: Any) -> bool:
    """Whether x is a tensor whose values only kernels see: on a device, or kept."""
    return not isinstance(x, np.ndarray) and (x.device.type != "cpu" or _kept.get())


def to_host(x: Any, name: str) -> np.ndarray:
    """A small side array (offsets, ids, a scale) as numpy, whatever it was."""
    data, dtype, _ = intake(x, name)
    if dtype == "bfloat16":
        raise TypeError(f"{name}: got bfloat16, expected a type numpy has")
    return data if isinstance(data, np.ndarray) else data.detach().cpu().numpy()


class _Memory:
    """The memory of an array, offered as writable: torch warns at every read-only one, and warnings are not thread-safe."""

    def __init__(self, x: np.ndarray) -> None:
        self._owner = x
        self.__array_interface__ = x.__array_interface__ | {"data": (x.ctypes.data, False)}


def from_host(x: np.ndarray) -> Any:
    """A torch CPU tensor over the same memory (read-only arrays included: the cells never write to inputs)."""
    import torch

    if not x.dtype.isnative or any(s < 0 or s % x.itemsize for s in x.strides):
        # torch has no such views. Always a copy: of a single row numpy calls any stride contiguous.
        x = np.array(x, dtype=x.dtype.newbyteorder("="), order="C")
    return torch.from_numpy(x if x.flags.writeable else np.asarray(_Memory(x)))


def _bfloat16_tensor(bits: np.ndarray) -> Any:
    import torch

    return from_host(bits.view(np.int16)).view(torch.bfloat16)


def to_device(x: Any, device: str) -> Any:
    """An array as a torch tensor on `device`; None stays None."""
    return None if x is None else (from_host(x) if isinstance(x, np.ndarray) else x).to(device)


def beside(x: Any, name: str, data: Any) -> Any:
    """A side array where `data` is, on the host as numpy or as a tensor on its device, dense, native and without gradient; None stays."""
    if x is None:
        return None
    if isinstance(data, np.ndarray):
        values = to_host(x, name)
        return np.ascontiguousarray(values, values.dtype.newbyteorder("="))
    return to_device(intake(x, name)[0], str(data.device)).detach().contiguous()


def integers_of(x: Any, name: str, device: str, expected: str = "integers") -> Any:
    """Integers as dense int64: a tensor where x is one on the operands' `device` (or kept), whose values only kernels see, else numpy."""
    if isinstance(x, list | tuple) and len(x):
        try:
            x = np.asarray(x)
        except ValueError:
            raise ValueError(f"{name}: got lists of different lengths, expected {expected}") from None
    data, dtype, _ = intake(x, name)
    if not dtype.startswith(("int", "uint")):
        raise TypeError(f"{name}: got {dtype}, expected {expected}")
    if not isinstance(data, np.ndarray) and str(data.device) == device:
        return data.long().contiguous()
    data = data if isinstance(data, np.ndarray) else to_host(data, name)
    if data.dtype == np.uint64 and data.size and data.max() >= 2**63:
        raise ValueError(f"{name}: got {data.max()}, expected {expected}")
    return np.ascontiguousarray(data, np.int64)


def float32_of(data: np.ndarray, kind: str) -> np.ndarray:
    """Host data of any kind as native float32, the very array where it is that already."""
    if kind == "bf16":
        return (data.astype(np.uint32) << 16).view(np.float32)
    with np.errstate(over="ignore", under="ignore"):
        return data.astype(np.float32, copy=False)


def round_to(values: np.ndarray, kind: str) -> np.ndarray:
    """float32 values rounded to nearest even as f16, bf16 (its bits, each NaN 0x7FC0) or, for any other kind, themselves."""
    if kind == "bf16":
        bits = values.view(np.uint32)
        rounded = (bits + (bits >> 16 & 1) + 0x7FFF >> 16).astype(np.uint16)
        rounded[np.isnan(values)] = 0x7FC0
        return rounded
    with np.errstate(over="ignore", under="ignore"):
        return values.astype(np.float16 if kind == "f16" else np.float32, copy=False)


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
        data = _bfloat16_tensor(self.data) if self.kind == "bf16" else from_host(self.data)
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
