"""What every cell of a search promises besides its answer: DESIGN's promises, each by its cause and none by a clock."""

from __future__ import annotations

import itertools
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cases
import numpy as np
import oracle
import pytest
from programs import run_python

import fastembed_core as fc
from fastembed_core import threads

pytestmark = pytest.mark.op("topk")

SEARCHES = ("similarity", "similarity_paired", "topk", "rescore")


def call(op: str, queries: Any, corpus: Any, metric: str, backend: str) -> Any:
    """One search operation with ordinary further arguments."""
    if op == "topk":
        return fc.topk(queries, corpus, 4, metric=metric, backend=backend)
    if op == "rescore":
        n = len(corpus)
        ids = cases.rng_of("rescore", n).integers(-1, n, (len(queries), 5))
        return fc.rescore(queries, corpus, ids, metric=metric, backend=backend)
    if op == "similarity":
        return fc.similarity(queries, corpus, metric, backend=backend)
    return fc.similarity_paired(queries, corpus[: len(queries)], metric, backend=backend)


def every(*ops: str) -> pytest.MarkDecorator:
    """The test once for each operation, skipped where a backend lacks it."""
    return pytest.mark.parametrize("op", [pytest.param(op, id=op) for op in ops or SEARCHES])


@pytest.fixture
def search(backend: str, op: str, request: pytest.FixtureRequest) -> str:
    """The operation under test, which the backend has."""
    from conftest import Column

    column: Column = request.node.callspec.params["backend"]
    reason = column.lacks(op)
    if reason:
        pytest.skip(reason)
    return op


@every()
def test_types_and_shapes(backend: str, search: str) -> None:
    for pairing, metric in cases.SCORED:
        queries, corpus = cases.operands(pairing, 3, 9, 16)
        result = call(search, queries, corpus, metric, backend)
        scores = result[0] if isinstance(result, tuple) else result
        integers = pairing.query in ("i8", "u8", "int8", "uint8")
        expected = np.int32 if metric == "hamming" or (integers and metric in ("ip", "sqeuclidean")) else np.float32
        assert type(scores) is np.ndarray
        assert scores.dtype == expected, (pairing, metric)
        assert scores.shape == {"similarity": (3, 9), "similarity_paired": (3,), "topk": (3, 4), "rescore": (3, 5)}[search]
        if isinstance(result, tuple):
            assert (result[1].dtype, result[1].shape) == (np.int64, scores.shape)


@every()
def test_the_same_on_any_number_of_threads(backend: str, search: str) -> None:
    for pairing, metric in cases.FEW_SCORED:
        queries, corpus = cases.operands(pairing, 19, 8000, 48)
        results = []
        for n in (1, 2, 3):
            with threads.limit(n):
                results.append(call(search, queries, corpus, metric, backend))
        for result in results[1:]:
            cases.assert_same(result, results[0], f"{pairing} {metric}")


@every("topk", "rescore")
def test_the_same_however_queries_are_batched(backend: str, search: str) -> None:
    for pairing, metric in cases.FEW_SCORED:
        queries, corpus = cases.operands(pairing, 21, 3000, 24, "duplicates")
        ids = cases.rng_of("batch").integers(-1, 3000, (21, 30))

        def run(part: slice) -> Any:
            if search == "topk":
                return fc.topk(queries[part], corpus, 6, metric=metric, backend=backend)  # noqa: B023
            return fc.rescore(queries[part], corpus, ids[part], 6, metric=metric, backend=backend)  # noqa: B023

        whole = run(slice(0, 21))
        for lo, hi in ((0, 1), (5, 6), (3, 20), (16, 21)):
            cases.assert_same(run(slice(lo, hi)), (whole[0][lo:hi], whole[1][lo:hi]), f"{pairing} {metric} {lo}:{hi}")


@every()
def test_inputs_stay_as_they_were(backend: str, search: str) -> None:
    for pairing, metric in cases.FEW_SCORED:
        read_only = cases.operands(pairing, 5, 40, 19)  # writing to these would raise
        before = call(search, *read_only, metric, backend)
        writable = [cases.laid_out(x, np.copy) for x in read_only]
        cases.assert_same(call(search, *writable, metric, backend), before)
        for was, now in zip(read_only, writable, strict=True):
            data = [x.data if isinstance(x, fc.Codes) else x for x in (was, now)]
            assert data[0].tobytes() == data[1].tobytes()


@every()
@pytest.mark.parametrize(("side", "gap"), [("end", 0), ("end", 3), ("start", 0)])
def test_nothing_is_read_outside_the_rows(backend: str, search: str, side: str, gap: int) -> None:
    """Every array lies against a page that may not be touched; a read past its end, or before its start, ends the process."""
    for pairing in cases.PAIRINGS:
        for d, metric in itertools.product((1, 17, 31, 100), pairing.metrics[:: 2 if len(pairing.metrics) > 2 else 1]):
            queries, corpus = cases.operands(pairing, 4, 23, d)
            keep: list[cases.Guarded] = []
            guarded = [cases.guarded(x, keep, side, gap) for x in (queries, corpus)]
            cases.assert_same(call(search, *guarded, metric, backend), call(search, queries, corpus, metric, backend), f"{pairing} D={d}")


def test_a_guard_page_guards() -> None:
    """The helper itself: one byte past the end of a guarded array is a crash."""
    code = """
import sys; sys.path.insert(0, {tests!r})
import ctypes, cases, numpy as np
guard = cases.Guarded(np.ones((3, 5), np.float32), {side!r})
address = guard.array.ctypes.data + ({offset})
print(ctypes.string_at(guard.array.ctypes.data, 60) == guard.array.tobytes(), flush=True)
ctypes.string_at(address, 1)
print("sur" + "vived")
"""
    from pathlib import Path

    for side, offset in (("end", 60), ("start", -1)):
        with pytest.raises(AssertionError, match="True") as caught:
            run_python(code.format(tests=str(Path(__file__).parent), side=side, offset=offset))
        assert "survived" not in str(caught.value)


def test_many_python_threads_at_once(backend: str) -> None:
    """Concurrent callers neither disturb one another nor wait for ever."""
    jobs = [(pairing, metric) for pairing, metric in cases.FEW_SCORED for _ in range(3)]

    def job(work: tuple[cases.Pairing, str]) -> tuple[Any, Any]:
        pairing, metric = work
        queries, corpus = cases.operands(pairing, 7, 900, 33)
        return fc.topk(queries, corpus, 5, metric=metric, backend=backend), oracle.topk(pairing, 7, 900, 33, "normal", 5, metric)

    with ThreadPoolExecutor(8) as pool:
        for actual, expected in pool.map(job, jobs):
            cases.assert_same(actual, expected)


def test_the_gil_is_released(backend: str) -> None:
    """With a switch interval longer than the test, another thread runs only if the call lets go of the interpreter."""
    x = cases.rng_of("gil").standard_normal((30_000, 64)).astype(np.float32)
    fc.topk(x[:8], x, 5, backend=backend)
    counter = itertools.count()
    done = threading.Event()

    def count() -> None:
        while not done.is_set():
            next(counter)
            time.sleep(0)  # lets go, so that the caller never waits for more than a turn

    before = sys.getswitchinterval()
    thread = threading.Thread(target=count)
    sys.setswitchinterval(60)
    try:
        thread.start()
        start = next(counter)
        fc.topk(x[:64], x, 5, backend=backend)
        turns = next(counter) - start - 1
    finally:
        done.set()
        sys.setswitchinterval(before)
        thread.join()
    assert turns > 0


FLUSHED = """
import numpy as np, torch, fastembed_core as fc
rng = np.random.default_rng(5)
x = (rng.standard_normal((400, 40)) * 1e-40).astype(np.float32)
x[::2] = rng.standard_normal((200, 40)).astype(np.float32)
x[1, :3] = 1e-20
y = x.astype(np.float64) * 1.5
def answers(name):
    for metric in ("ip", "cosine", "l2", "sqeuclidean"):
        for corpus in (x, y):
            yield from fc.topk(x[:30], corpus, 50, metric=metric, backend=name)
            if name != "numba":
                yield from fc.rescore(x[:30], corpus, np.arange(90).reshape(30, 3), metric=metric, backend=name)
plain = {name: [a.tobytes() for a in answers(name)] for name in NAMES}
assert torch.set_flush_denormal(True)
torch.ones(10**6) * torch.ones(10**6)  # torch's threads are born with the flags of this one
for name in NAMES:
    assert [a.tobytes() for a in answers(name)] == plain[name], name
    assert (torch.tensor([1e-40]) * 1).item() == 0, f"{name} left the caller's flags changed"
fresh = {name: [a.tobytes() for a in answers(name)] for name in NAMES}
assert all(answer == plain[NAMES[0]] for name, answer in fresh.items() if name != "numba")
"""


def available(*ops: str) -> list[str]:
    """Backends, whatever their instruction set, that have all of `ops`."""
    from conftest import columns

    return list(dict.fromkeys(c.name for c in columns() if not any(map(c.lacks, ops))))


def test_flushed_subnormals_change_nothing() -> None:
    """torch.set_flush_denormal, as any library built with -ffast-math may do: before, while and after torch's threads start."""
    pytest.importorskip("torch")
    names = ["reference", *available("topk")]
    run_python(f"NAMES = {names!r}\n{FLUSHED}")
    started = "torch.set_flush_denormal(True); torch.ones(10**6).exp(); torch.set_flush_denormal(False)"
    run_python(f"import torch; {started}\nNAMES = {names!r}\n{FLUSHED}")


FORKED = """
import os, signal, numpy as np, fastembed_core as fc
x = np.random.default_rng(0).standard_normal((20000, 64)).astype(np.float32)
def answer():
    with_self = fc.topk(x[:40], x, 5, backend=NAME)
    return with_self[0].tobytes() + with_self[1].tobytes() + fc.similarity(x[:50], x[:50], backend=NAME).tobytes()
before = answer()
for _ in range(3):
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        os._exit(0 if answer() == before else 1)
    assert answer() == before
    status = os.waitpid(child, 0)[1]
    assert status == 0, f"the child ended with status {status}"
"""


@pytest.mark.parametrize("name", available("topk", "similarity"))
def test_fork(name: str) -> None:
    """A child made after the parent's threads started gets the same answer; an alarm ends one that hangs."""
    setup = "import torch; torch.set_num_threads(1)" if name == "torch" else ""  # OpenMP's own threads do not survive a fork
    run_python(f"import warnings; warnings.simplefilter('ignore', DeprecationWarning)\n{setup}\nNAME = {name!r}\n{FORKED}")


INTERRUPTED = """
import signal, sys, threading, numpy as np, fastembed_core as fc
x = np.random.default_rng(0).standard_normal((3000, 64)).astype(np.float32)
first = fc.topk(x[:9], x, 5, backend=NAME)
endless = np.broadcast_to(x[:1], (2**33, 64))  # years of work: nothing but the signal ends the call
called = threading.Event()
def interrupt():
    called.wait()
    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
threading.Thread(target=interrupt, daemon=True).start()
signal.alarm(60)
sys.setswitchinterval(60)  # the other thread wakes once the call has let go of the interpreter, not before
try:
    called.set()
    fc.topk(x, endless, 5, backend=NAME)
    raise SystemExit("the call returned")
except KeyboardInterrupt:
    sys.setswitchinterval(0.005)
again = fc.topk(x[:9], x, 5, backend=NAME)
assert first[0].tobytes() == again[0].tobytes() and first[1].tobytes() == again[1].tobytes()
"""


@pytest.mark.parametrize("name", available("topk"))
def test_ctrl_c(name: str) -> None:
    """A signal in the midst of a search ends it, and the next call works."""
    run_python(f"NAME = {name!r}\n{INTERRUPTED}")


WORKSPACE = """
import os, resource, sys, tempfile, numpy as np, fastembed_core as fc
MIB = 1 << 20
rng = np.random.default_rng(0)
def data_bytes():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith("VmData"))
def bounded(queries, corpus, k, **how):
    small = corpus[:3000]
    fc.topk(queries, small, min(k, 100), backend=NAME, **how)  # threads, library buffers, compiled code
    room = 64 * MIB + (24 + 12) * k * len(queries) + 6 * MIB  # workspace, per query, results; and the allocator's own rounding
    limit = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (data_bytes() + room, limit[1]))
    try:
        return fc.topk(queries, corpus, k, backend=NAME, **how)
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, limit)
def mapped(x):
    file = tempfile.NamedTemporaryFile()
    x.tofile(file.name)
    return np.memmap(file.name, x.dtype, "r", shape=x.shape)
"""

WORKSPACES = {
    "many short rows": """
x = rng.standard_normal((1_000_000, 8)).astype(np.float32)
_, rows = bounded(x[:24], x, 10, metric="l2")
assert (rows[:, 0] == np.arange(24)).all()
""",
    "nothing but duplicates": """
x = np.broadcast_to(rng.standard_normal((1, 64)).astype(np.float32), (300_000, 64)).copy()
_, rows = bounded(x[:10], x, 10)
assert (rows == np.arange(10)).all()
""",
    "float64, mapped": """
x = mapped(rng.standard_normal((300_000, 64)))
_, rows = bounded(np.array(x[:20]), x, 10)
assert (rows[:, 0] == np.arange(20)).all()
""",
    "bfloat16, mapped": """
import ml_dtypes
x = mapped(rng.standard_normal((160_000, 128)).astype(np.float32).view(np.uint16)[:, 1::2].view(ml_dtypes.bfloat16).copy())
bounded(np.ones((2, 128), np.float32), x, 10, metric="l2")
""",
    "bits": """
x = rng.integers(0, 256, (200_000, 64), dtype=np.uint8)
_, rows = bounded(x[:20], x, 10, metric="hamming")
assert (rows[:, 0] == np.arange(20)).all()
""",
    "many queries": """
x = rng.standard_normal((24_000, 16)).astype(np.float32)
_, rows = bounded(x, x[:1500], 5, metric="l2")
assert (rows[:1500, 0] == np.arange(1500)).all()
""",
    "a large k": """
x = rng.standard_normal((1_000_000, 8)).astype(np.float32)
scores, rows = bounded(x[:1], x, 1_000_000, metric="ip")
assert (np.sort(rows[0]) == np.arange(1_000_000)).all() and (np.diff(scores[0]) <= 0).all()
""",
    "long rows": """
x = rng.standard_normal((100, 200_000)).astype(np.float32)
_, rows = bounded(x[:4], x, 3, metric="ip")
assert (rows[:, 0] == np.arange(4)).all()
""",
}


linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the limit on a process's data is Linux's")


@linux
def test_the_limit_on_workspace_limits() -> None:
    with pytest.raises(AssertionError, match="MemoryError"):
        run_python(f"NAME = 'reference'\n{WORKSPACE}bounded(np.ones((30, 4), np.float32), np.ones((1_000_000, 4), np.float32), 1)")


@linux
@pytest.mark.parametrize("name", available("topk"))
@pytest.mark.parametrize("case", WORKSPACES)
def test_workspace(name: str, case: str) -> None:
    """64 MiB, 24 k bytes a query and the results: with no more memory to be had, the search still succeeds."""
    run_python(f"NAME = {name!r}\n{WORKSPACE}{WORKSPACES[case]}")


def test_no_copy_of_a_corpus(backend: str) -> None:
    """Views of every kind are searched where they lie: nothing the size of the corpus is allocated in Python."""
    import tracemalloc

    wide = cases.rng_of("copy").standard_normal((150_000, 96)).astype(np.float32)
    wide.flags.writeable = False
    views = [wide[:, :64], wide[::2], wide[::-1]] if backend != "torch" else [wide[:, :64], wide[::2]]
    for x in views:
        fc.topk(x[:3], x[:2000], 5, backend=backend)
        tracemalloc.start()
        fc.topk(x[:3], x, 5, backend=backend)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < x.shape[0] * x.shape[1] * 4 / 2, f"{peak >> 20} MiB for {x.nbytes >> 20}"
