"""What this GPU can do, measured: the denominators of every fraction."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch


def seconds(call: Callable[[], Any], runs: int = 20, most: float = 3.0) -> float:
    """The median time of a call, by the device's own events; fewer runs where they would take longer than `most` seconds."""
    call()
    if not torch.cuda.is_available():
        return _on_host(call)
    times: list[float] = []
    started = time.perf_counter()
    call()  # the first compiled, this one is warm
    torch.cuda.synchronize()
    while len(times) < runs and (len(times) < 3 or time.perf_counter() - started < most):
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        first.record()
        call()
        last.record()
        last.synchronize()
        times.append(first.elapsed_time(last) / 1000)
    return statistics.median(times)


def _on_host(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def measured(device: str, scale: float) -> dict[str, float]:
    """Bytes read and copied from pinned memory a second, and multiply-adds counted twice a second in bfloat16 and int8. Random data: zeros
    are faster."""
    size = max(1 << 10, int((1 << 30) * scale))
    data = torch.randn(size, device=device)
    side = max(64, int(16384 * scale) // 64 * 64)
    a, b = (torch.randn(side, side, device=device).bfloat16() for _ in range(2))
    c, d = (torch.randint(-127, 128, (side, side), device=device, dtype=torch.int8) for _ in range(2))
    host = torch.empty(size, pin_memory=device != "cpu")
    return {
        "copy": 4 * size / seconds(lambda: data.copy_(host, non_blocking=True)),
        "read": 4 * size / seconds(lambda: data.sum()),
        "bf16": 2 * side**3 / seconds(lambda: a @ b.T),
        "int8": 2 * side**3 / seconds(lambda: torch._int_mm(c, d.T)),
    }
