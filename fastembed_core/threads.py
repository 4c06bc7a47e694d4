"""How many threads the kernels may use.

The default is what this process may run on: the affinity mask, cut by a cgroup's CPU quota. The environment
variable ``FASTEMBED_CORE_NUM_THREADS`` replaces it; `set_num_threads` and `limit` replace both.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from .checks import count_of

_MOST = 4096  # each keeps scratch of its own

_limit: ContextVar[int | None] = ContextVar("fastembed_core_threads", default=None)
_num_threads: int | None = None


def _cgroup_quota() -> float | None:
    """CPUs this process's cgroup may use (v2 then v1), None where nothing limits it."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        pass
    try:
        base = Path("/sys/fs/cgroup/cpu")
        limit = int((base / "cpu.cfs_quota_us").read_text())
        return None if limit <= 0 else limit / int((base / "cpu.cfs_period_us").read_text())
    except (OSError, ValueError):
        return None


def _default() -> tuple[int, str]:
    """CPUs this process may use, and where the number comes from."""
    asked = os.environ.get("FASTEMBED_CORE_NUM_THREADS")
    if asked:
        try:
            return count_of(int(asked), "threads", 1, _MOST), "FASTEMBED_CORE_NUM_THREADS"
        except ValueError:
            raise ValueError(f"FASTEMBED_CORE_NUM_THREADS: got {asked!r}, expected an integer of 1 to {_MOST}") from None
    affinity = getattr(os, "sched_getaffinity", None)
    cpus = len(affinity(0)) if affinity else (os.cpu_count() or 1)
    why = f"{cpus} CPUs in the affinity mask" if affinity else f"{cpus} CPUs"
    quota = _cgroup_quota()
    if quota:
        return max(1, min(cpus, int(quota + 0.5))), f"{why}, a cgroup quota of {quota:g}"
    return max(1, cpus), f"{why}, no cgroup quota"


def default_num_threads() -> int:
    """CPUs this process may use: the environment variable, else the affinity mask cut by the cgroup quota."""
    return _default()[0]


def explain_num_threads() -> str:
    """How many threads the next call may use and why, in one phrase."""
    default, why = _default()
    return f"{num_threads()} ({why})" if num_threads() == default else f"{num_threads()} (set by the program)"


def num_threads() -> int:
    """Threads the next call may use."""
    global _num_threads
    limited = _limit.get()
    if limited is not None:
        return limited
    if _num_threads is None:
        _num_threads = default_num_threads()
    return _num_threads


def set_num_threads(n: int) -> None:
    """Use at most `n` threads from now on, in every thread of this process."""
    global _num_threads
    _num_threads = count_of(n, "threads", 1, _MOST)


@contextmanager
def limit(n: int) -> Iterator[None]:
    """Use at most `n` threads inside the block, in this thread (or task) only."""
    token = _limit.set(count_of(n, "threads", 1, _MOST))
    try:
        yield
    finally:
        _limit.reset(token)
