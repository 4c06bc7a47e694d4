"""Measuring: calls timed side by side, and what this machine can do at most.

A speed means little without the machine's own limit beside it. `limits` finds that limit by running every recipe the
compiled extension holds for each resource and keeping the best; a kernel is judged by the fraction of it that it reaches.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np

# What is measured of each resource, and its unit. A copied byte is read once and written once.
RESOURCES = {
    "fma": ("float32 multiply-add", "FLOP/s"),
    "int8": ("8-bit multiply-add", "MAC/s"),
    "int4": ("4-bit x 8-bit multiply-add", "MAC/s"),
    "popcount": ("bits compared", "bit/s"),
    "read": ("memory read", "B/s"),
    "copy": ("memory copied", "B/s"),
}
_WALKS = ("read", "copy")

# Calls shorter than this are repeated inside a round, so that the clock's own cost and grain do not matter.
SHORTEST_ROUND = 0.005

# Last-level caches a working set must fill before its traffic is memory's.
CACHES = 3


def clock(call: Callable[[], object], repeats: int = 1) -> float:
    """Seconds of one call, the mean over `repeats` in a row."""
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) / repeats


def interleaved(
    calls: Sequence[Callable[[], object]], first: Sequence[float], rounds: int = 5, budget: float = float("inf")
) -> list[list[float]]:
    """Seconds of every call in every round: A B C, then B C A, ..., so that a change of the machine meets them all.

    first : seconds of one earlier run of each call, which served to warm it up
    budget : seconds a single call may take over all rounds; a slower one takes part in fewer, at least one
    """
    repeats = [max(1, round(SHORTEST_ROUND / max(seconds, 1e-9))) for seconds in first]
    takes_part = [max(1, int(min(rounds, budget / max(seconds, SHORTEST_ROUND)))) for seconds in first]
    seconds: list[list[float]] = [[] for _ in calls]
    for r in range(rounds):
        for i in range(len(calls)):
            i = (i + r) % len(calls)
            if r < takes_part[i]:
                seconds[i].append(clock(calls[i], repeats[i]))
    return seconds


@cache
def last_level_cache() -> int:
    """Bytes of the largest cache the operating system tells of, 32 MiB where it does not."""
    sizes = [32 << 20]
    for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        text = path.read_text().strip()
        if text.endswith("K"):
            sizes.append(int(text[:-1]) << 10)
    return max(sizes)


@dataclass(frozen=True)
class Limit:
    """The most of one resource this machine gives: the best recipe's rate in units per second."""

    resource: str
    rate: float
    recipe: str
    run: Callable[[], object]  # the recipe again, so that it can be timed beside a kernel
    work: float  # units done by one run

    def __str__(self) -> str:
        what, unit = RESOURCES[self.resource]
        return f"{what}: {quantity(self.rate, unit)} ({self.recipe})"


def limits(threads: int = 1, *, rounds: int = 3, nbytes: int | None = None) -> dict[str, Limit]:
    """The best rate of every resource on `threads` threads; empty where the compiled extension is missing.

    nbytes : of each of the two buffers walked for bandwidth; None is 512 MiB, or four times the last-level cache
    """
    try:
        from . import _core
    except ImportError:
        return {}
    nbytes = max(512 << 20, 4 * last_level_cache()) if nbytes is None else nbytes
    source, target = _aligned(nbytes), _aligned(nbytes)
    best: dict[str, Limit] = {}
    for index, (isa, resource, name) in enumerate(_core.recipes()):
        recipe = partial(_core.run_recipe, index, source, target, threads=threads)
        run = partial(recipe, nbytes if resource in _WALKS else _steps(recipe))
        work = run()
        rate = work / min(clock(run) for _ in range(rounds))
        if resource not in best or rate > best[resource].rate:
            best[resource] = Limit(resource, rate, name if isa == "any" else f"{isa} {name}", run, work)
    return {resource: best[resource] for resource in RESOURCES if resource in best}


def _aligned(nbytes: int) -> np.ndarray:
    """Touched memory on a page boundary; numpy asks for huge pages in blocks of this size, as it does for operands."""
    block = np.ones(nbytes + 4096, np.uint8)
    start = -block.ctypes.data % 4096
    return block[start : start + nbytes]


def _steps(run: Callable[[int], object]) -> int:
    """How many steps of a compute recipe take about 10 ms."""
    n = 1000
    while (taken := clock(partial(run, n))) < 0.001:
        n *= 4
    return int(n * 0.01 / taken)


def quantity(value: float, unit: str) -> str:
    """A value in three digits with its unit: 39.4 GB/s, 12.3 ms."""
    sizes = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"))
    size, prefix = next((pair for pair in sizes if value >= pair[0] * 0.9995), sizes[-1])
    scaled = value / size
    return f"{scaled:.{0 if scaled >= 99.95 else 1 if scaled >= 9.995 else 2}f} {prefix}{unit}"


def fraction(work: dict[str, float], rates: dict[str, float], seconds: float) -> tuple[float, str] | None:
    """(share of the limit reached, the resource that is the limit) for work done in `seconds`; None without a limit.

    Work that needs several resources is bound by the slowest: its least time is the largest of amount / rate.
    """
    least = [(amount / rates[resource], resource) for resource, amount in work.items() if resource in rates]
    if not least:
        return None
    bound, resource = max(least)
    return bound / seconds, resource


def beyond_cache(work: dict[str, float], nbytes: float) -> dict[str, float]:
    """The work without the memory traffic that, at `nbytes` in all, may come out of a cache: memory is not its limit."""
    return {resource: amount for resource, amount in work.items() if resource not in _WALKS or nbytes >= CACHES * last_level_cache()}
