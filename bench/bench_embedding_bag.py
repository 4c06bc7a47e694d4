"""embedding_bag under pytest-benchmark: every workload, by every backend of ours and every rival."""

from __future__ import annotations

from collections.abc import Callable

from .workloads import Workload

OP = "embedding_bag"


def bench_embedding_bag(measure: Callable[[Workload, str], None], workload: Workload, contender: str) -> None:
    measure(workload, contender)
