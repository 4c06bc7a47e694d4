"""The floating-point state of the calling thread.

A caller, or any library built with -ffast-math, may have told the processor to flush subnormal numbers to zero
(torch.set_flush_denormal does). Results must not depend on it, so the backends written in Python run inside `ieee`;
the compiled one sets the state itself, on every thread it uses.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_SIZE = 64  # fenv_t takes 8 to 32 bytes on the platforms there are


def _find() -> tuple[Callable[..., Any], Callable[..., Any], Any] | None:
    """fegetenv, fesetenv and the address of C's FE_DFL_ENV; None where Python finds no such library."""
    try:
        library = ctypes.PyDLL(None)  # PyDLL keeps the GIL: two instructions are not worth handing it over
        if sys.platform == "darwin":
            return library.fegetenv, library.fesetenv, ctypes.byref(ctypes.c_char.in_dll(library, "_FE_DFL_ENV"))
        return library.fegetenv, library.fesetenv, ctypes.c_void_p(-1)  # the macro's value in glibc and in musl
    except (AttributeError, OSError, TypeError, ValueError):
        return None


_found = _find()


@contextmanager
def ieee() -> Iterator[None]:
    """Round to nearest with subnormal numbers kept, in this thread, inside the block."""
    if _found is None:
        yield
        return
    get, put, default = _found
    saved = ctypes.create_string_buffer(_SIZE)
    get(saved)
    put(default)
    try:
        yield
    finally:
        put(saved)
