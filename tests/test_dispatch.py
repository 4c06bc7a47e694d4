"""Who answers a call, who may decline it, what is said of it, and in whose kind the answer comes back."""

from __future__ import annotations

import importlib.util
import types
from collections.abc import Callable
from typing import Any

import cases
import numpy as np
import pytest
from programs import run_python

import fastembed_core as fc
from fastembed_core import dispatch

X = cases.rng_of("dispatch").standard_normal((9, 8)).astype(np.float32)
EXPECTED = fc.topk(X[:3], X, 2, backend="reference")


class Fake(dispatch.Backend):
    """A backend whose topk is a function of the test's."""

    cells: dict[str, Callable[..., Any]] = {}  # noqa: RUF012

    def cell(self, op: str) -> Callable[..., Any]:
        return self.cells[self.name]


def fake(name: str, topk: Callable[..., Any], missing: str | None = None) -> Fake:
    Fake.cells[name] = topk
    return Fake(name, frozenset({"topk"}), lambda: missing, lambda: f"as {name}")


@pytest.fixture
def order(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Replace the backends that a call on the host may choose from."""

    def replace(*records: dispatch.Backend) -> None:
        by_name = {record.name: record for record in records}
        monkeypatch.setattr(dispatch, "_built_in", by_name.__getitem__)
        monkeypatch.setattr(dispatch, "BUILT_IN", tuple(by_name))
        monkeypatch.setattr(dispatch, "CPU_ORDER", tuple(by_name))
        dispatch._automatic.cache_clear()

    yield replace
    dispatch._automatic.cache_clear()


def declines(*args: Any) -> Any:
    raise dispatch.Unsupported("not these")


def fails(*args: Any) -> Any:
    raise RuntimeError("broken")


def answers(*args: Any) -> Any:
    return importlib.import_module("fastembed_core.backends.reference.topk").topk(*args)


def test_auto_moves_on_when_a_backend_declines(order: Callable[..., None]) -> None:
    order(fake("first", declines), fake("second", answers))
    cases.assert_same(fc.topk(X[:3], X, 2), EXPECTED)


def test_auto_moves_on_at_nothing_else(order: Callable[..., None]) -> None:
    order(fake("first", fails), fake("second", answers))
    with pytest.raises(RuntimeError, match="broken"):
        fc.topk(X[:3], X, 2)


def test_an_explicit_backend_is_not_replaced(order: Callable[..., None]) -> None:
    order(fake("first", declines), fake("second", answers))
    with pytest.raises(dispatch.Unsupported, match="not these"):
        fc.topk(X[:3], X, 2, backend="first")


def test_none_left(order: Callable[..., None]) -> None:
    order(fake("first", declines), fake("absent", answers, missing="it is not installed"))
    with pytest.raises(TypeError, match=r"topk: no backend takes these operands .*absent: it is not installed; first: not these"):
        fc.topk(X[:3], X, 2)


def test_a_missing_backend(order: Callable[..., None]) -> None:
    order(fake("absent", answers, missing="it is not installed"), fake("second", answers))
    cases.assert_same(fc.topk(X[:3], X, 2), EXPECTED)
    assert (
        fc.explain("topk")
        == "topk: second (as second), the first of second that takes the operands; passed over absent: it is not installed"
    )
    with pytest.raises(ImportError, match="backend: absent cannot run here, it is not installed"):
        fc.topk(X[:3], X, 2, backend="absent")
    with pytest.raises(ImportError, match="absent"):
        fc.explain("topk", backend="absent")


def test_nothing_can_run(order: Callable[..., None]) -> None:
    order(fake("absent", answers, missing="it is not installed"))
    assert fc.explain("topk") == "topk: nothing can run (absent: it is not installed)"


def test_explain_names_the_choice_and_why() -> None:
    said = fc.explain("topk")
    name = said.split()[1]
    assert name in dispatch.CPU_ORDER
    assert said.startswith(f"topk: {name} ({dispatch.get_backend(name).describe()}), the first of {name}")
    assert fc.explain("topk", backend="numpy") == f"topk: numpy (numpy {np.__version__}), asked for by name"
    with fc.use_backend("reference"):
        assert fc.explain("topk").startswith("topk: reference (")
    assert fc.explain("assign") == said.replace("topk", "assign")  # by its engine
    with pytest.raises(ValueError, match=r"op: got 'knn', expected one of assign, calibrate, .*, topk$"):
        fc.explain("knn")


def test_a_cell_s_name_is_its_operation_s() -> None:
    for backend in dispatch.backends().values():
        for op in backend.ops:
            assert importlib.util.find_spec(f"fastembed_core.ops.{op}"), f"{op}.py of {backend.name} is no operation, expected _{op}.py"


def test_use_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    call = dispatch._call
    monkeypatch.setattr(dispatch, "_call", lambda backend, *rest: (asked.append(backend.name), call(backend, *rest))[1])
    with fc.use_backend("reference"):
        fc.topk(X, X, 1)
        with fc.use_backend("numpy"):
            fc.topk(X, X, 1)
            fc.topk(X, X, 1, backend="reference")  # nearest to the call wins
        fc.topk(X, X, 1)
        with fc.use_backend("auto"):
            fc.topk(X, X, 1)
    assert asked[:4] == ["reference", "numpy", "reference", "reference"]
    assert asked[4] in dispatch.CPU_ORDER
    with pytest.raises(ValueError, match="backend: got 'nowhere'"), fc.use_backend("nowhere"):
        pass


def test_the_environment_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        monkeypatch.setenv("FASTEMBED_CORE_BACKEND", "reference")
        dispatch._from_environment.cache_clear()
        assert fc.explain("topk").startswith("topk: reference")
        with fc.use_backend("numpy"):
            assert fc.explain("topk").startswith("topk: numpy")
        monkeypatch.setenv("FASTEMBED_CORE_BACKEND", "nowhere")
        dispatch._from_environment.cache_clear()
        with pytest.raises(ValueError, match="backend: got 'nowhere', expected 'auto' or one of reference"):
            fc.topk(X, X, 1)
    finally:
        dispatch._from_environment.cache_clear()


def test_third_parties_are_asked_for_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry point of the group, as another package would declare it."""
    point = types.SimpleNamespace(name="theirs", load=lambda: fake("theirs", answers))
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [point] if group == "fastembed_core.backends" else [])
    dispatch._third_party.cache_clear()
    try:
        assert "theirs" in dispatch.backends()
        cases.assert_same(fc.topk(X[:3], X, 2, backend="theirs"), EXPECTED)
        assert "theirs" not in fc.explain("topk")
        with pytest.raises(ValueError, match="backend: theirs has no rescore; it has topk"):
            fc.rescore(X, X, np.zeros((9, 1), np.int64), backend="theirs")
    finally:
        dispatch._third_party.cache_clear()


def test_a_package_of_cells_is_found(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record's `package` is where its cells are looked for."""
    folder = tmp_path / "their_cells"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "topk.py").write_text("def topk(q, x, k, *rest):\n    return 'theirs', k\n")
    monkeypatch.syspath_prepend(tmp_path)
    record = dispatch.Backend("theirs", frozenset({"topk"}), lambda: None, lambda: "", package="their_cells")
    assert record.cell("topk")(None, None, 3) == ("theirs", 3)


def test_the_reference_is_never_automatic() -> None:
    orders = (dispatch.CPU_ORDER, dispatch.CUDA_ORDER, dispatch.GRAD_ORDER)
    assert not any("reference" in order for order in orders)


def test_nothing_heavy_is_loaded_to_dispatch() -> None:
    run_python(
        "import sys, numpy as np, fastembed_core as fc\n"
        "x = np.eye(4, dtype=np.float32)\n"
        "fc.topk(x, x, 2); fc.explain('topk'); fc.similarity(x, x)\n"
        "heavy = {'torch', 'numba', 'triton', 'scipy', 'sklearn'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )


# --- kinds in, kinds out -----------------------------------------------------------------------------------------------


class OnlyDLPack:
    """An array of a library that speaks DLPack and nothing else."""

    def __init__(self, x: np.ndarray) -> None:
        self._x = x

    def __dlpack__(self, **how: Any) -> Any:
        return self._x.__dlpack__(**how)

    def __dlpack_device__(self) -> Any:
        return self._x.__dlpack_device__()


class WithNamespace(OnlyDLPack):
    """The same, with a namespace that makes the library's own arrays."""

    def __array_namespace__(self, **how: Any) -> Any:
        return types.SimpleNamespace(from_dlpack=lambda x: WithNamespace(np.from_dlpack(x)))


def test_dlpack_in() -> None:
    for queries, corpus in ((OnlyDLPack(X[:3]), OnlyDLPack(X)), (X[:3], OnlyDLPack(X)), (OnlyDLPack(X[:3]), X)):
        result = fc.topk(queries, corpus, 2)
        assert type(result[0]) is np.ndarray
        cases.assert_same(result, EXPECTED)
    with pytest.raises(TypeError, match="metric: got None for int8 and int8"):
        fc.topk(OnlyDLPack(X.astype(np.int8)), OnlyDLPack(X.astype(np.int8)), 2)


def test_dlpack_with_a_namespace_comes_back_as_it_went_in() -> None:
    scores, indices = fc.topk(WithNamespace(X[:3]), X, 2)
    assert type(scores) is type(indices) is WithNamespace
    cases.assert_same((np.from_dlpack(scores), np.from_dlpack(indices)), EXPECTED)


def test_numpy_in_numpy_out() -> None:
    scores, indices = fc.topk(X[:3], X, 2)
    assert type(scores) is type(indices) is np.ndarray


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
def test_subclasses_of_arrays() -> None:
    cases.assert_same(fc.topk(np.matrix(X[:3]), np.matrix(X), 2), EXPECTED)
    assert type(fc.similarity(np.matrix(X), X)) is np.ndarray


class TestTorch:
    @pytest.fixture(autouse=True)
    def torch(self) -> Any:
        return pytest.importorskip("torch")

    def test_torch_in_torch_out(self, torch: Any) -> None:
        x = torch.from_numpy(X)
        for name in (None, "numpy", "torch"):
            scores, indices = fc.topk(x[:3], x, 2, backend=name)
            assert (scores.dtype, indices.dtype) == (torch.float32, torch.int64)
            cases.assert_same((scores, indices), EXPECTED)
        assert fc.similarity(x, x).dtype == torch.float32
        assert fc.topk(x.to(torch.int8), x.to(torch.int8), 1, metric="ip")[0].dtype == torch.int32

    def test_mixed_follows_the_queries(self, torch: Any) -> None:
        x = torch.from_numpy(X)
        assert isinstance(fc.topk(x[:3], X, 2)[0], torch.Tensor)
        assert isinstance(fc.topk(X[:3], x, 2)[0], np.ndarray)
        cases.assert_same(fc.topk(X[:3], x, 2), EXPECTED)
        cases.assert_same(fc.topk(x[:3], OnlyDLPack(X), 2), EXPECTED)

    def test_side_arrays_of_either_kind(self, torch: Any) -> None:
        mask, exclude, ids = np.arange(9) > 2, np.array([4, -1, 5]), np.array([[1, 3], [0, -1], [8, 8]])
        expected = fc.topk(X[:3], X, 2, mask=mask, exclude=exclude)
        cases.assert_same(fc.topk(X[:3], X, 2, mask=torch.from_numpy(mask), exclude=torch.from_numpy(exclude)), expected)
        cases.assert_same(fc.rescore(X[:3], X, torch.from_numpy(ids)), fc.rescore(X[:3], X, ids))

    def test_outputs_of_either_kind(self, torch: Any) -> None:
        out = torch.zeros(3, 2), torch.zeros(3, 2, dtype=torch.int64)
        result = fc.topk(X[:3], X, 2, out=out)
        assert result[0] is out[0]
        cases.assert_same(out, EXPECTED)
        fc.topk(torch.from_numpy(X[:3]), X, 2, out=tuple(t.numpy() for t in out))
        cases.assert_same(out, EXPECTED)

    def test_bfloat16_both_ways(self, torch: Any) -> None:
        """torch's bfloat16 and ml_dtypes' are one storage kind."""
        t = torch.from_numpy(X).to(torch.bfloat16)
        ours = cases.floats("bf16", X.astype(float))
        expected = fc.topk(ours[:3], ours, 2, backend="reference")
        for name in (None, "numpy", "torch", "reference"):
            cases.assert_same(fc.topk(t[:3], t, 2, backend=name), expected)
            cases.assert_same(fc.topk(ours[:3], t, 2, backend=name), expected)

    def test_codes_of_tensors(self, torch: Any) -> None:
        queries, corpus = cases.operands(cases.Pairing("f32", "int8_row", ("ip",)), 3, 9, 8)
        theirs = fc.Codes(torch.from_numpy(corpus.data.copy()), "int8_row", 8, scale=torch.from_numpy(corpus.scale.copy()))
        expected = fc.topk(queries, corpus, 2, metric="ip")
        cases.assert_same(fc.topk(queries, theirs, 2, metric="ip"), expected)
        cases.assert_same(fc.topk(queries, theirs, 2, metric="ip", backend="torch"), expected)

    def test_read_only_arrays_make_no_noise(self, torch: Any) -> None:
        """torch warns of read-only memory, once a process; warnings are errors here, and the warning is not to be had at all."""
        run_python(
            "import warnings; warnings.simplefilter('error')\n"
            "import numpy as np, fastembed_core as fc\n"
            "x = np.eye(4, dtype=np.float32); x.flags.writeable = False\n"
            "fc.topk(x, x, 2, backend='torch')"
        )
