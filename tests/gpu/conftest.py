"""Tests of the Triton kernels: on a CUDA device, or interpreted on the host, where tests/test_triton.py runs them."""

from __future__ import annotations

from typing import Any

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


@pytest.fixture
def doubts(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """Corpora too small to be scanned are. Of each round after the first scan: how many queries it was for."""
    monkeypatch.setattr("fastembed_core.backends.triton.topk.SMALL", 0)
    from fastembed_core.backends.triton._groups import Groups

    found: list[list[int]] = []
    scan, exact = Groups.scan, Groups.exact

    def scanned(groups: Any, which: int, first: int, keys: Any, flags: Any = None) -> Any:
        if flags is not None:
            found[-1].append(int((flags != 0).sum()))
        else:
            found.append([])
        return scan(groups, which, first, keys, flags)

    def exactly(groups: Any, first: int, keys: Any, flags: Any = None) -> None:
        found[-1].append(int((flags != 0).sum()))
        exact(groups, first, keys, flags)

    monkeypatch.setattr(Groups, "scan", scanned)
    monkeypatch.setattr(Groups, "exact", exactly)
    return found


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
