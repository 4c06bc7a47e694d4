"""How every cell behaves beside its answer: with other threads, after a fork, under a signal, short of memory."""

from __future__ import annotations

import itertools
import sys
import threading
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cases
import numpy as np
import oracle
import pytest
from calls import CALLS, all_bits
from programs import run_python

import fastembed_core as fc
from fastembed_core import dispatch, threads

pytestmark = pytest.mark.op("topk")

PATH = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"  # in another interpreter: the modules beside this one


@pytest.fixture(params=CALLS)
def call(backend: str, request: pytest.FixtureRequest) -> Any:
    """A call of each operation that the backend has, of rows alone."""
    op, function = CALLS[request.param]
    if op not in dispatch.get_backend(backend).ops:
        pytest.skip(f"{backend} has no {op}")
    return lambda x: function(x, backend)


def available(*ops: str) -> list[str]:
    """Backends, whatever their instruction set, that have all of `ops`."""
    from conftest import columns

    return list(dict.fromkeys(c.name for c in columns() if not any(map(c.lacks, ops))))


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


def test_many_python_threads_with_every_call(backend: str) -> None:
    x = cases.rng_of("threads").standard_normal((700, 40)).astype(np.float32)
    expected = all_bits(x, backend)
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(lambda _: all_bits(x, backend), range(6))) == [expected] * 6


def test_every_call_on_any_number_of_threads(backend: str) -> None:
    x = cases.rng_of("threads").standard_normal((5000, 40)).astype(np.float32)
    answers = []
    for n in (1, 2, 3):
        with threads.limit(n):
            answers.append(all_bits(x, backend))
    assert answers[1:] == answers[:1] * 2


def test_many_queries_of_few_rows_on_any_number_of_threads(backend: str) -> None:
    """Threads take queries of their own, and with them what each query brings: its scale, its mask, its excludes."""
    rng = cases.rng_of("few rows")
    x, q = (rng.integers(-9, 9, (n, 40)).astype(np.float32) for n in (301, 700))
    q[[3, 500]] = np.nan
    calls: list[tuple[Any, Any, dict[str, Any]]] = [
        (q, x, {"mask": rng.random((700, 301)) < 0.3}),
        (q, x, {"mask": rng.random(301) < 0.3, "metric": "l2"}),
        (fc.quantize(np.nan_to_num(q), "int8_row"), fc.quantize(x, "int8_row"), {"exclude": rng.integers(-1, 301, (700, 2))}),
    ]
    answers = []
    for n in (1, 2, 3):
        with threads.limit(n):
            answers.append([fc.topk(a, b, 5, **{"metric": "ip", **options}, backend=backend) for a, b, options in calls])
    for other in answers[1:]:
        for actual, expected in zip(other, answers[0], strict=True):
            cases.assert_same(actual, expected)


@pytest.mark.parametrize("layout", cases.LAYOUTS)
def test_every_call_on_views(backend: str, layout: str) -> None:
    x = cases.rng_of("views").standard_normal((700, 40)).astype(np.float32)
    assert all_bits(cases.LAYOUTS[layout](x), backend) == all_bits(x, backend)


def test_the_gil_is_released(backend: str, call: Any) -> None:
    """With a switch interval longer than the test, another thread runs only if the call lets go of the interpreter."""
    x = cases.rng_of("gil").standard_normal((30_000, 64)).astype(np.float32)
    call(x[:2000])
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
        turns = 0
        for _ in range(200):  # where cores are busy the other thread may miss a short call
            start = next(counter)
            call(x)
            turns += next(counter) - start - 1
            if turns:
                break
    finally:
        done.set()
        sys.setswitchinterval(before)
        thread.join()
    assert turns > 0


FLUSHED = """
import calls, numpy as np, torch, fastembed_core as fc
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
every = {name: calls.all_bits(x, name) for name in NAMES}
assert torch.set_flush_denormal(True)
torch.ones(10**6) * torch.ones(10**6)  # torch's threads are born with the flags of this one
for name in NAMES:
    assert [a.tobytes() for a in answers(name)] == plain[name], name
    flushed = calls.all_bits(x, name)
    assert flushed == every[name], (name, [op for op in flushed if flushed[op] != every[name][op]])
    assert (torch.tensor([1e-40]) * 1).item() == 0, f"{name} left the caller's flags changed"
fresh = {name: [a.tobytes() for a in answers(name)] for name in NAMES}
assert all(answer == plain[NAMES[0]] for name, answer in fresh.items() if name != "numba")
"""


def test_flushed_subnormals_change_nothing() -> None:
    """torch.set_flush_denormal, as any library built with -ffast-math may do: before, while and after torch's threads start."""
    pytest.importorskip("torch")
    names = ["reference", *available("topk")]
    run_python(f"{PATH}NAMES = {names!r}\n{FLUSHED}")
    started = "torch.set_flush_denormal(True); torch.ones(10**6).exp(); torch.set_flush_denormal(False)"
    run_python(f"{PATH}import torch; {started}\nNAMES = {names!r}\n{FLUSHED}")


FORKED = """
import calls, os, signal, numpy as np, fastembed_core as fc
x = np.random.default_rng(0).standard_normal((20000, 64)).astype(np.float32)
def answer():
    with_self = fc.topk(x[:40], x, 5, backend=NAME)
    rest = calls.all_bits(x[:3000], NAME)
    return with_self[0].tobytes() + with_self[1].tobytes() + fc.similarity(x[:50], x[:50], backend=NAME).tobytes(), rest
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
    run_python(f"{PATH}import warnings; warnings.simplefilter('ignore', DeprecationWarning)\n{setup}\nNAME = {name!r}\n{FORKED}")


INTERRUPTED = """
import signal, sys, threading, numpy as np, fastembed_core as fc
from fastembed_core import dispatch
x = np.random.default_rng(0).standard_normal((3000, 64)).astype(np.float32)
first = fc.topk(x[:9], x, 5, backend=NAME)
has = dispatch.get_backend(NAME).ops
endless = np.broadcast_to(x[:1], (2**33, 64))  # years of work: nothing but the signal ends the call
def through_codes():
    corpus = fc.Corpus(np.tile(x, (7, 1)))
    return lambda: corpus.search(np.broadcast_to(x[:1], (2**23, 64)), 1, backend=NAME)
def bags():
    table, ids = np.ones((64, 2**16), np.float32), np.arange(2**23) % 64
    return lambda: fc.embedding_bag(table, ids, np.arange(0, 2**23 + 1, 2**16), backend=NAME)
CALLS = {
    "topk": ("topk", lambda: lambda: fc.topk(x, endless, 5, backend=NAME)),
    "range_search": ("range_search", lambda: lambda: fc.range_search(x, endless, 2, backend=NAME)),
    "maxsim": ("maxsim", lambda: lambda: fc.maxsim(x[:32], np.broadcast_to(x[:1], (2**18, 2**16, 64)), backend=NAME)),
    "maxsim of the k best": ("maxsim", lambda: lambda: fc.maxsim(x[:32], np.broadcast_to(x[:1], (2**18, 2**16, 64)), k=3, backend=NAME)),
    "embedding_bag": ("embedding_bag", bags),
    "corpus": ("topk", through_codes),
}
for what, (op, prepare) in CALLS.items():
    if op not in has:
        continue
    call, called = prepare(), threading.Event()
    def interrupt():
        called.wait()
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
    threading.Thread(target=interrupt, daemon=True).start()
    print(what, flush=True)
    signal.alarm(60)
    sys.setswitchinterval(60)  # the other thread wakes once the call has let go of the interpreter, not before
    try:
        called.set()
        call()
        raise SystemExit("the call returned")
    except KeyboardInterrupt:
        sys.setswitchinterval(0.005)
again = fc.topk(x[:9], x, 5, backend=NAME)
assert first[0].tobytes() == again[0].tobytes() and first[1].tobytes() == again[1].tobytes()
"""


@pytest.mark.parametrize("name", available("topk"))
def test_ctrl_c(name: str) -> None:
    """A signal in the midst of a call ends it, and the next call works."""
    run_python(f"NAME = {name!r}\n{INTERRUPTED}")


WORKSPACE = """
import os, resource, sys, tempfile, numpy as np, fastembed_core as fc
MIB = 1 << 20
rng = np.random.default_rng(0)
def data_bytes():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith("VmData"))
def within(call, room):
    limit = resource.getrlimit(resource.RLIMIT_DATA)
    room += 64 * MIB + 6 * MIB  # workspace, and the allocator's own rounding
    resource.setrlimit(resource.RLIMIT_DATA, (data_bytes() + room, limit[1]))
    try:
        return call()
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, limit)
def bounded(queries, corpus, k, **how):
    small = corpus[:3000]
    fc.topk(queries, small, min(k, 100), backend=NAME, **how)  # threads, library buffers, compiled code
    return within(lambda: fc.topk(queries, corpus, k, backend=NAME, **how), (24 + 12) * k * len(queries))  # per query, results
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


OTHERS = """
x = rng.standard_normal((300_000, 64), dtype=np.float32)
def offsets(n):
    return np.linspace(0, n, n // 30 + 1).astype(np.int64)
def bounded(call, results):
    call(3000)  # threads, library buffers, compiled code
    return within(lambda: call(len(x)), results)
found = bounded(lambda n: fc.range_search(x[:40], x[:n], 0.5, metric="cosine", backend=NAME), 2 * MIB)
assert (found[2][found[0][:-1]] == np.arange(40)).all()
ends = {n: offsets(n) for n in (3000, len(x))}
for k in (None, 7):
    bounded(lambda n: fc.maxsim(x[:16], x[:n], document_offsets=ends[n], k=k, backend=NAME), MIB)
ids = {n: rng.integers(0, n, 2 * n) for n in (3000, len(x))}
ends = {n: np.arange(0, 2 * n + 1, 200) for n in ids}
for mode in ("sum", "max"):
    bounded(lambda n: fc.embedding_bag(x[:n], ids[n], ends[n], mode=mode, backend=NAME), MIB)
for scan in ("int8", None) if NAME == "cpu" else (None,):
    corpora = {n: fc.Corpus(x[:n], scan=scan, metric="l2", copy=False) for n in (3000, len(x))}
    _, rows = bounded(lambda n: corpora[n].search(x[:40], 10, backend=NAME), 40 * 10 * 36)
    assert (rows[:, 0] == np.arange(40)).all()
"""


@linux
@pytest.mark.parametrize("name", available("topk", "range_search", "maxsim", "embedding_bag"))
def test_workspace_of_every_call(name: str) -> None:
    run_python(f"NAME = {name!r}\n{WORKSPACE}{OTHERS}")


@pytest.mark.parametrize("call", [name for name in CALLS if name != "corpus"], indirect=True)  # whose codes are made in the call
def test_no_copy_of_rows(backend: str, call: Any) -> None:
    """Views of every kind are read where they lie: nothing the size of the rows is allocated in Python."""
    wide = cases.rng_of("copy").standard_normal((90_000, 96)).astype(np.float32)
    wide.flags.writeable = False
    views = [wide[:, :64], wide[::2], wide[::-1]] if backend != "torch" else [wide[:, :64], wide[::2]]
    for x in views:
        call(x[:2000])
        tracemalloc.start()
        call(x)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < x.shape[0] * x.shape[1] * 4 / 2, f"{peak >> 20} MiB for {x.nbytes >> 20}"
