"""The `backend` fixture: every column of the table that runs here, the compiled one at each of its instruction sets."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from fastembed_core import dispatch

# torch's threads otherwise spin while they wait, for milliseconds a call where cores are shared. Read when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.pop("FASTEMBED_CORE_BACKEND", None)
os.environ.pop("FASTEMBED_CORE_NUM_THREADS", None)

try:  # tests/gpu does without it
    from hypothesis import HealthCheck, settings
except ImportError:
    pass
else:  # the same examples in every run
    settings.register_profile("seeded", derandomize=True, deadline=None, max_examples=25, suppress_health_check=list(HealthCheck))
    settings.load_profile("seeded")


@dataclass(frozen=True)
class Column:
    """A backend, at one instruction set if it has several."""

    name: str
    isa: str | None = None

    def __str__(self) -> str:
        return self.name if self.isa is None else f"{self.name}-{self.isa}"

    def lacks(self, op: str) -> str | None:
        """Why this column cannot run `op`, None if it can."""
        record = dispatch.get_backend(self.name)
        if op not in record.ops:
            return f"{self.name} has no {op}"
        try:
            missing = record.missing()
            if missing is None:
                record.cell(op)
        except ImportError as error:
            missing = str(error)
        return missing


def isas() -> list[str]:
    """The instruction sets the extension has and this machine runs."""
    try:
        from fastembed_core import _core
    except ImportError:
        return []
    return list(_core.isas())


def columns(reference: bool = False) -> list[Column]:
    found: list[Column] = []
    for name in dispatch.backends():
        if name == "cpu" and isas():
            found += [Column(name, isa) for isa in isas()]
        elif name not in ("triton", "cuda") and (name != "reference" or reference):  # whose tests are tests/gpu
            found.append(Column(name))
    return found


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "op(*names, reference=False): the operations a test of `backend` calls; reference=True adds the oracle"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first: where workers take whole files, one that came last would keep a single worker busy."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "backend" not in metafunc.fixturenames:
        return
    marker = metafunc.definition.get_closest_marker("op")
    ops = marker.args if marker else ()
    reference = bool(marker and marker.kwargs.get("reference"))
    params = []
    for column in columns(reference):
        reason = next((r for r in map(column.lacks, ops) if r), None)
        params.append(pytest.param(column, id=str(column), marks=[pytest.mark.skip(reason=reason)] if reason else []))
    metafunc.parametrize("backend", params, indirect=True)


@pytest.fixture
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of a backend, its instruction set selected."""
    column: Column = request.param
    if column.isa is None:
        yield column.name
        return
    from fastembed_core import _core

    before = _core.isa()
    _core.select_isa(column.isa)
    yield column.name
    _core.select_isa(before)
