"""The limits under pytest-benchmark: the best recipe of each resource."""

from __future__ import annotations

from typing import Any

import pytest

from fastembed_core.measure import RESOURCES, Limit


@pytest.mark.parametrize("resource", RESOURCES)
def bench_limits(benchmark: Any, machine_limits: dict[str, Limit], resource: str) -> None:
    if resource not in machine_limits:
        pytest.skip("not measured: benchmarks are disabled, or the compiled extension is not installed")
    limit = machine_limits[resource]
    benchmark.group = resource
    benchmark.pedantic(limit.run, rounds=5, warmup_rounds=1)
    benchmark.extra_info.update(recipe=limit.recipe, rate=limit.work / benchmark.stats.stats.median, unit=RESOURCES[resource][1])
