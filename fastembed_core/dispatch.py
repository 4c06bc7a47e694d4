"""The registry of backends, the choice among them, and the account of that choice.

The table's columns are folders of `fastembed_core.backends`; each one's ``__init__`` holds its `Backend` record, and
``<folder>/<op>.py`` holds a function named like the operation: the cell. Third parties add columns through the entry
point group ``fastembed_core.backends``, whose objects are `Backend` records with a ``package`` of their own.
"""

from __future__ import annotations

import functools
import importlib
import os
import pkgutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from .fp_state import ieee

BUILT_IN = ("reference", "numpy", "numba", "torch", "cpu", "triton", "cuda")

# Fastest first. The reference, and a third party's, run where they are asked for by name.
CPU_ORDER = ("cpu", "numpy", "numba")
CUDA_ORDER = ("cuda", "triton", "torch")
GRAD_ORDER = ("torch",)

ENGINES = {"assign": "topk"}  # what has no cells of its own, by another's


class Unsupported(Exception):
    """A cell declines these operands. `auto` moves on at it, and at it alone; an explicit `backend=` raises it."""


@dataclass(frozen=True)
class Backend:
    """A column of the table.

    missing() is None where the backend can run, else the sentence that says what is missing.
    describe() says how it will run (an instruction set, a library's version).
    package is where its cells lie; empty for the built in ones.
    direct(op) is what answers a call of the operation from its own arguments, or returns None and leaves it to the contract; None
    where there is no such thing.
    """

    name: str
    ops: frozenset[str]
    missing: Callable[[], str | None]
    describe: Callable[[], str]
    package: str = ""
    sets_fp_state: bool = False  # its kernels choose the floating-point state themselves
    direct: Callable[[str], Callable[..., Any] | None] = lambda op: None

    def cell(self, op: str) -> Callable[..., Any]:
        return _cell(self.package or f"fastembed_core.backends.{self.name}", op)


def cells(folder: Iterable[str]) -> frozenset[str]:
    """The operations that a backend's folder, its ``__path__``, holds a cell for: its files, but those that begin with an underscore."""
    return frozenset(file.name for file in pkgutil.iter_modules(folder) if not file.name.startswith("_"))


@functools.cache
def _cell(package: str, op: str) -> Callable[..., Any]:
    cell: Callable[..., Any] = getattr(importlib.import_module(f"{package}.{op}"), op)
    return cell


@functools.cache
def _built_in(name: str) -> Backend:
    record: Backend = importlib.import_module(f"fastembed_core.backends.{name}").BACKEND
    return record


@functools.cache
def _third_party() -> dict[str, Backend]:
    from importlib.metadata import entry_points

    return {point.name: point.load() for point in entry_points(group="fastembed_core.backends")}


def backends() -> dict[str, Backend]:
    """Every known backend by name, built in ones first."""
    return {name: _built_in(name) for name in BUILT_IN} | _third_party()


def operations() -> frozenset[str]:
    """Every operation that some backend has, or that runs by another's cells."""
    return frozenset(ENGINES).union(*(backend.ops for backend in backends().values()))


def get_backend(name: str) -> Backend:
    """The backend of that name; ValueError names the ones there are."""
    if name in BUILT_IN:
        return _built_in(name)
    found = _third_party().get(name)
    if found is None:
        raise ValueError(f"backend: got {name!r}, expected 'auto' or one of {', '.join(backends())}")
    return found


_forced: ContextVar[Any] = ContextVar("fastembed_core_backend", default=None)


@contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Use one backend for every call inside the block (``"auto"`` restores the choice)."""
    if name != "auto":
        get_backend(name)
    token = _forced.set(name)
    try:
        yield
    finally:
        _forced.reset(token)


@functools.cache  # looked up once: small calls would pay for it each time
def _from_environment() -> str:
    return os.environ.get("FASTEMBED_CORE_BACKEND") or "auto"


@contextmanager
def answered_by(stand_in: Callable[..., Any]) -> Iterator[None]:
    """Inside the block ``stand_in(op, *args, device=device)`` runs in the place of every cell."""
    token = _forced.set(stand_in)
    try:
        yield
    finally:
        _forced.reset(token)


def _asked(backend: str | None) -> Any:
    return backend or _forced.get() or _from_environment()


@functools.cache
def _automatic(op: str, device: str, grad: bool) -> tuple[tuple[Backend, ...], tuple[str, ...]]:
    """The usable backends for an operation in order, and why each of the others was passed over."""
    order = GRAD_ORDER if grad else CPU_ORDER if device == "cpu" else CUDA_ORDER
    usable, passed = [], []
    for name in order:
        backend = _built_in(name)
        reason = f"has no {op}" if op not in backend.ops else backend.missing()
        if reason is None:
            usable.append(backend)
        else:
            passed.append(f"{name}: {reason}")
    return tuple(usable), tuple(passed)


def direct(op: str) -> Callable[..., Any] | None:
    """What may answer a call of host arrays at once, where nobody asked for a backend: from its arguments as they are, None for those it
    leaves to the contract."""
    if _forced.get() is not None or _from_environment() != "auto":
        return None
    usable = _automatic(op, "cpu", False)[0]
    return usable[0].direct(op) if usable else None


def run(op: str, *args: Any, device: str = "cpu", grad: bool = False, backend: str | None = None, **kwargs: Any) -> Any:
    """Call the operation's cell in the asked-for backend, or in the first automatic one that does not decline."""
    asked = _asked(backend)
    if asked != "auto":
        if not isinstance(asked, str):
            return asked(op, *args, device=device)
        return _call(_explicit(op, asked, device, grad), op, args, kwargs)
    usable, passed = _automatic(op, device, grad)
    declined = list(passed)
    for candidate in usable:
        try:
            return _call(candidate, op, args, kwargs)
        except Unsupported as error:
            declined.append(f"{candidate.name}: {error}")
    where = "gradients" if grad else f"arrays on {device}"
    raise TypeError(f"{op}: no backend takes these operands for {where} ({'; '.join(declined) or 'none is registered'})")


def _call(backend: Backend, op: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    cell = backend.cell(op)
    if backend.sets_fp_state:
        return cell(*args, **kwargs)
    with ieee():
        return cell(*args, **kwargs)


def _explicit(op: str, name: str, device: str, grad: bool) -> Backend:
    backend = get_backend(name)
    if op not in backend.ops:
        raise ValueError(f"backend: {name} has no {op}; it has {', '.join(sorted(backend.ops))}")
    reason = backend.missing()
    if reason is not None:
        raise ImportError(f"backend: {name} cannot run here, {reason}")
    if grad and name not in GRAD_ORDER:
        raise TypeError(f"backend: {name} keeps no gradients and an input requires grad; use torch.no_grad() or backend='torch'")
    if device != "cpu" and name not in CUDA_ORDER:
        raise TypeError(f"backend: {name} works in host memory and an input is on {device}; move it or use backend='torch'")
    return backend


def explain(op: str, *, device: str = "cpu", grad: bool = False, backend: str | None = None) -> str:
    """Which backend a call of `op` takes and why, in one sentence and a list of the ones passed over.

    >>> print(explain("topk"))  # doctest: +SKIP
    topk: cpu (avx2, 8 threads), the first of cpu, numpy, numba that takes the operands
    """
    asked = _asked(backend)
    if op not in operations():
        raise ValueError(f"op: got {op!r}, expected one of {', '.join(sorted(operations()))}")
    engine = ENGINES.get(op, op)
    if asked != "auto":
        chosen = _explicit(engine, asked, device, grad)
        return f"{op}: {chosen.name} ({chosen.describe()}), asked for by name"
    usable, passed = _automatic(engine, device, grad)
    if not usable:
        return f"{op}: nothing can run ({'; '.join(passed)})"
    names = ", ".join(b.name for b in usable)
    over = f"; passed over {'; '.join(passed)}" if passed else ""
    return f"{op}: {usable[0].name} ({usable[0].describe()}), the first of {names} that takes the operands{over}"
