"""The workloads under pytest-benchmark: one test a (workload, contender), grouped by workload, the answer asserted.

``pytest bench/bench_topk.py --benchmark-autosave`` tracks one operation over time. Rounds of different contenders are not
interleaved here; for figures to quote, ``make bench`` is the authority.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import pytest

from fastembed_core.measure import Limit, beyond_cache, fraction
from fastembed_core.measure import limits as measured_limits

from . import limits, ours, runner
from .operands import NotHere
from .rivals import RIVALS
from .workloads import WORKLOADS, Case, Workload

THREADS = int(os.environ.get("FASTEMBED_CORE_NUM_THREADS", "1"))
SCALE = float(os.environ.get("FASTEMBED_CORE_BENCH_SCALE", "1"))
ROUNDS = 5


def pytest_configure(config: pytest.Config) -> None:
    runner.pin_threads(THREADS)


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    machine_info.pop("node", None)  # the host's name says nothing about its speed
    machine_info.update(limits.machine(THREADS))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every contender of every workload of the module's operation."""
    if "contender" in metafunc.fixturenames:
        pairs = [(w, c) for w in WORKLOADS if w.op == metafunc.module.OP for c in contenders(w)]
        metafunc.parametrize(("workload", "contender"), pairs, ids=[f"{w.name}-{c}" for w, c in pairs])


def contenders(workload: Workload) -> list[str]:
    return [*(f"fastembed_core {name}" for name in ours.BACKENDS), *(rival.name for rival in RIVALS.get(workload.family, []))]


@lru_cache(maxsize=1)
def _case(workload: Workload) -> tuple[Case, ours.Judge]:
    case = workload.make(SCALE)
    return case, ours.Judge(workload, case)


@pytest.fixture(scope="session")
def machine_limits(request: pytest.FixtureRequest) -> dict[str, Limit]:
    return {} if request.config.getoption("benchmark_disable") else measured_limits(THREADS)


@pytest.fixture
def measure(benchmark: Any, machine_limits: dict[str, Limit]) -> Callable[[Workload, str], None]:
    """Measure one contender of one workload: skipped with the reason where it cannot run, failed where its answer is wrong."""

    def measured(workload: Workload, contender: str) -> None:
        backend = contender.removeprefix("fastembed_core ") if contender.startswith("fastembed_core ") else None
        rival = None if backend else next(r for r in RIVALS[workload.family] if r.name == contender)
        reason = rival.missing() if rival else ours.missing(workload, backend or "")
        if reason:
            pytest.skip(reason)
        try:
            case, judge = _case(workload)
        except NotHere as absent:
            pytest.skip(str(absent))
        call = rival.prepare(case.operands, THREADS) if rival else ours.prepare(workload, case, backend or "")
        benchmark.group = workload.name
        answer = benchmark.pedantic(call, rounds=ROUNDS, warmup_rounds=1, iterations=100 if workload.name.startswith("tiny") else 1)
        recall = judge.check(rival.result(answer) if rival else answer, ours=rival is None, exact=rival is None or rival.exact)
        benchmark.extra_info.update(shape=case.shape, bytes=case.bytes, ops=case.ops, recall=recall)
        if benchmark.stats is None:  # --benchmark-disable: the answer alone is checked
            return
        rates = {name: limit.rate for name, limit in machine_limits.items()}
        share = fraction(beyond_cache(case.work, case.bytes), rates, benchmark.stats.stats.median)
        if share:
            benchmark.extra_info.update(fraction=share[0], limit=share[1])

    return measured
