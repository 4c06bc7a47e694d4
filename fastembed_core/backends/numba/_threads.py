"""Shards over threads: one pool for the process, made when first needed and again in a forked child."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait

import numpy as np

from ...fp_state import ieee
from ...threads import num_threads

_lock = threading.Lock()
_pool: ThreadPoolExecutor | None = None
_size = 0


def _forget() -> None:
    global _pool, _size, _lock
    _lock, _pool, _size = threading.Lock(), None, 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def _executor(threads: int) -> ThreadPoolExecutor:
    global _pool, _size
    with _lock:
        if _pool is None or _size < threads:
            _pool, _size = ThreadPoolExecutor(threads, thread_name_prefix="fastembed_core"), threads
        return _pool


def shards(n: int) -> list[tuple[int, int]]:
    """[lo, hi) pieces of n, one for each thread that may run."""
    count = max(1, min(num_threads(), n))
    edges = [n * i // count for i in range(count + 1)]
    return list(itertools.pairwise(edges))


def run(tasks: Sequence[Callable[[Callable[[], bool]], None]]) -> None:
    """Call every task, each on a thread of its own if there are several; the first error, or Ctrl-C, stops all.

    A task is handed a function that tells whether to go on, and asks it between blocks.
    """
    if len(tasks) == 1:
        tasks[0](lambda: True)
        return
    stop = threading.Event()

    def call(task: Callable[[Callable[[], bool]], None]) -> None:
        with ieee(), np.errstate(all="ignore"):  # neither passes from the calling thread to this one
            task(lambda: not stop.is_set())

    pool = _executor(len(tasks))
    futures = [pool.submit(call, task) for task in tasks]
    try:
        for future in futures:
            future.result()
    except BaseException:
        stop.set()
        wait(futures)
        raise
