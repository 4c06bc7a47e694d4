"""Which backend a call takes and why; arrays of any kind in, the caller's own kind out."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

import fastembed_core as fc
from fastembed_core import dispatch

Q = np.arange(16, dtype=np.float32).reshape(2, 8)
X = np.arange(40, dtype=np.float32).reshape(5, 8)


class Calls:
    """A backend that records what it was asked, and declines or fails as told."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error, self.count = error, 0

    def topk(self, q: Any, x: Any, k: int, *rest: Any) -> Any:
        self.count += 1
        if self.error:
            raise self.error
        return np.zeros((q.n, k), np.float32), np.full((q.n, k), 7, np.int64)


def registered(monkeypatch: pytest.MonkeyPatch, name: str, cell: Calls) -> None:
    record = dispatch.Backend(name, frozenset({"topk"}), lambda: None, lambda: "made up", package=name)
    monkeypatch.setattr(dispatch, "_third_party", lambda: {name: record})
    monkeypatch.setitem(sys.modules, name, type(sys)(name))
    module = type(sys)(f"{name}.topk")
    module.topk = cell.topk  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, f"{name}.topk", module)
    dispatch._cell.cache_clear()
    monkeypatch.setattr(dispatch, "_built_in", lambda wanted: record if wanted == name else original(wanted))


original = dispatch._built_in


def test_a_third_party_backend_is_found_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = Calls()
    registered(monkeypatch, "elsewhere", cell)
    assert fc.topk(Q, X, 2, backend="elsewhere")[1].tolist() == [[7, 7], [7, 7]]
    with fc.use_backend("elsewhere"):
        assert fc.topk(Q, X, 2)[1][0, 0] == 7
        assert "elsewhere (made up), asked for by name" in fc.explain("topk")
    assert cell.count == 2
    assert fc.topk(Q, X, 2)[1][0, 0] != 7
    with pytest.raises(ValueError, match=r"^backend: elsewhere has no pool"):
        fc.explain("pool", backend="elsewhere")


@pytest.mark.parametrize(("error", "moves_on"), [(fc.Unsupported("too odd"), True), (RuntimeError("broken"), False)])
def test_only_a_declining_cell_is_passed_over(monkeypatch: pytest.MonkeyPatch, error: Exception, moves_on: bool) -> None:
    cell = Calls(error)
    registered(monkeypatch, "first", cell)
    second = original("numpy")
    monkeypatch.setattr(dispatch, "_automatic", lambda *_: ((dispatch._built_in("first"), second), ()))
    if moves_on:
        expected = fc.topk(Q, X, 2, backend="reference")
        got = fc.topk(Q, X, 2)
        assert got[1].tolist() == expected[1].tolist()
    else:
        with pytest.raises(RuntimeError, match="broken"):
            fc.topk(Q, X, 2)
    with pytest.raises(type(error)):
        fc.topk(Q, X, 2, backend="first")
    assert cell.count == 2


def test_nobody_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    registered(monkeypatch, "first", Calls(fc.Unsupported("too odd")))
    monkeypatch.setattr(dispatch, "_automatic", lambda *_: ((dispatch._built_in("first"),), ("cpu: not installed",)))
    with pytest.raises(TypeError, match=r"topk: no backend takes these operands .*cpu: not installed; first: too odd"):
        fc.topk(Q, X, 2)


def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTEMBED_CORE_BACKEND", "reference")
    assert fc.explain("topk").startswith("topk: reference")
    with fc.use_backend("numpy"):
        assert fc.explain("topk").startswith("topk: numpy")
        with fc.use_backend("auto"):
            assert "the first of" in fc.explain("topk")
    assert fc.explain("topk", backend="numpy").startswith("topk: numpy")


def test_explain_says_what_was_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    record = dispatch.Backend("cpu", frozenset({"topk"}), lambda: "it is not there", lambda: "")
    monkeypatch.setattr(dispatch, "_built_in", lambda name: record if name == "cpu" else original(name))
    dispatch._automatic.cache_clear()
    try:
        assert "passed over cpu: it is not there" in fc.explain("topk")
    finally:
        dispatch._automatic.cache_clear()
    with pytest.raises(ImportError, match=r"^backend: cpu cannot run here, it is not there"):
        fc.topk(Q, X, 2, backend="cpu")


class Foreign:
    """An array of some other library: DLPack and nothing else."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __dlpack__(self, **arguments: Any) -> Any:
        return self.array.__dlpack__(**arguments)

    def __dlpack_device__(self) -> Any:
        return self.array.__dlpack_device__()


class ForeignNamespace:
    @staticmethod
    def from_dlpack(array: Any) -> Namespaced:
        return Namespaced(np.from_dlpack(array))


class Namespaced(Foreign):
    """An array whose library can take results back."""

    def __array_namespace__(self, **_: Any) -> type[ForeignNamespace]:
        return ForeignNamespace


def test_foreign_arrays() -> None:
    scores, rows = fc.topk(Q, X, 3)
    got = fc.topk(Foreign(Q), Foreign(X), 3)
    assert isinstance(got[0], np.ndarray)
    assert np.array_equal(got[0], scores)
    assert np.array_equal(got[1], rows)
    named = fc.topk(Namespaced(Q), X, 3)
    assert isinstance(named[0], Namespaced)
    assert np.array_equal(named[1].array, rows)


def test_torch_comes_out_where_torch_went_in() -> None:
    torch = pytest.importorskip("torch")
    scores, rows = fc.topk(Q, X, 3)
    for corpus in (torch.from_numpy(X), X):
        got = fc.topk(torch.from_numpy(Q), corpus, 3)
        assert isinstance(got[0], torch.Tensor)
        assert torch.equal(got[1], torch.from_numpy(rows))
    assert isinstance(fc.topk(Q, torch.from_numpy(X), 3)[0], np.ndarray)
    out = (torch.empty((2, 3)), torch.empty((2, 3), dtype=torch.int64))
    assert fc.topk(Q, X, 3, out=out)[0] is out[0]
    assert torch.equal(out[0], torch.from_numpy(scores))
    half = torch.from_numpy(X).bfloat16()
    assert np.array_equal(fc.topk(half, half, 3)[1].numpy(), fc.topk(half.float().numpy(), half.float().numpy(), 3)[1])


def test_gradients_are_never_lost_silently() -> None:
    torch = pytest.importorskip("torch")
    queries = torch.from_numpy(Q).requires_grad_()
    assert fc.topk(queries, X, 3)[0].requires_grad
    with pytest.raises(TypeError, match="keeps no gradients"):
        fc.topk(queries, X, 3, backend="numpy")
    with torch.no_grad():
        assert not fc.topk(queries, X, 3)[0].requires_grad
