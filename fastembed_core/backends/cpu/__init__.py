"""Thin shims over the compiled extension: fused C++ kernels, their instruction set chosen at run time."""

from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ...dispatch import Backend, cells


def _missing() -> str | None:
    if find_spec("fastembed_core._core") is None:
        if (Path(__file__).parents[3] / "CMakeLists.txt").is_file():
            return "make dev has not built the extension in this source folder; what pip installed is found from any other folder"
        return "the compiled extension is not installed; pip found no C++17 compiler that works when it built the package"
    try:
        from ... import _core  # noqa: F401
    except ImportError as error:
        return f"the compiled extension does not load ({error})"
    return None


def _describe() -> str:
    from ... import _core
    from ...threads import num_threads

    return f"{_core.isa()}, {num_threads()} threads"


@cache
def _direct(op: str) -> Callable[..., Any] | None:
    """A cell's file holds it beside the cell."""
    found: Callable[..., Any] | None = getattr(import_module(f"{__name__}.{op}"), "direct", None)
    return found


BACKEND = Backend(
    name="cpu",
    ops=cells(__path__),
    missing=_missing,
    describe=_describe,
    sets_fp_state=True,
    direct=_direct,
)
