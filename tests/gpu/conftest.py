"""Tests of kernels on a CUDA device, or on the host: Triton's interpreted, where tests/test_triton.py runs them, and CUDA C++
compiled for it, where tests/test_cuda.py does."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

try:
    from fastembed_core.backends.triton import BACKEND, interpreted

    MISSING = BACKEND.missing()
except ImportError as error:
    MISSING = str(error)

# test_cuda.py says itself what is missing.
collect_ignore = [path.name for path in Path(__file__).parent.glob("test_*.py") if MISSING and path.name != "test_cuda.py"]
if "FASTEMBED_CORE_CUDA_ON_HOST" in os.environ:
    import fastembed_core

    fastembed_core.__path__.insert(0, os.environ["FASTEMBED_CORE_CUDA_ON_HOST"])


@pytest.fixture(scope="session")
def device() -> str:
    """Where the kernels run."""
    return "cpu" if interpreted() else "cuda"


def mend() -> None:
    """Let the interpreter of Triton 3.6 take a scalar for a loop's bound under numpy 2.4, which refuses int() of an array of one."""
    from triton.runtime import interpreter

    patch = interpreter._patch_lang_tensor

    def patch_tensor(tensor: type, scope: object) -> None:
        patch(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: self.handle.data.item())

    interpreter._patch_lang_tensor = patch_tensor


if not MISSING and interpreted():
    mend()
