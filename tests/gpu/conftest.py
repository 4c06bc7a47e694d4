"""Tests of the Triton kernels: on a CUDA device, or interpreted on the host, where tests/test_triton.py runs them."""

from __future__ import annotations

import pytest

try:
    from fastembed_core.backends.triton import BACKEND, interpreted

    MISSING = BACKEND.missing()
except ImportError as error:
    MISSING = str(error)

collect_ignore_glob = ["test_[!c]*.py", "test_c[!u]*.py"] if MISSING else []  # test_cuda.py says itself what it misses


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
