"""The boundary: numpy, torch and DLPack arrays in, the caller's own kind and device out.

`intake` turns any array into the plain thing the cells work on (a numpy view of host memory, or a torch tensor
where the data lies on a device or a gradient flows), never copying what lies right already.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import numpy as np

from .codes import dtype_name

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
            array = bfloat16_tensor(array)
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


def bfloat16_tensor(bits: np.ndarray) -> Any:
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
