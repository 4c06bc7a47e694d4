"""The benchmark's own logic, on tiny shapes and injected figures: no time is asserted."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from programs import ROOT, run_python

from fastembed_core import measure
from fastembed_core.measure import Limit

sys.path.append(str(ROOT))  # last: an installed package stays before the source

from bench import limits as machines
from bench import ours, report, runner, workloads
from bench.operands import NotHere
from bench.rivals import RIVALS, Rival
from bench.rivals.topk import numpy_topk
from bench.runner import Outcome, Row

TINY = 0.0001
FLOAT_TOPK = next(w for w in workloads.WORKLOADS if w.name == "f32-q8")


def made(workload: workloads.Workload) -> workloads.Case:
    try:
        return workload.make(TINY)
    except NotHere as absent:
        pytest.skip(str(absent))


# Limits.


def test_every_resource_has_a_limit_on_every_instruction_set() -> None:
    core = pytest.importorskip("fastembed_core._core")
    found = measure.limits(1, rounds=1, nbytes=1 << 20)
    assert list(found) == list(measure.RESOURCES)
    assert all(limit.rate > 0 and limit.work > 0 for limit in found.values())
    for isa in core.isas():
        assert {resource for level, resource, _ in core.recipes() if level == isa} == set(measure.RESOURCES)


@pytest.mark.parametrize("threads", [1, 3])
def test_recipes_do_the_work_they_claim(threads: int) -> None:
    core = pytest.importorskip("fastembed_core._core")
    nbytes, steps = 48 * 4096 * threads, 48 * threads
    source = np.random.default_rng(0).integers(0, 256, nbytes, np.uint8)
    for index, (_, resource, name) in enumerate(core.recipes()):
        block = np.zeros(nbytes + 64, np.uint8)
        target = block[-block.ctypes.data % 64 :][:nbytes]
        if resource in ("read", "copy"):
            assert core.run_recipe(index, source, target, nbytes, threads) == nbytes, name
        else:
            work = core.run_recipe(index, source, target, steps, threads)
            assert work > 0
            assert core.run_recipe(index, source, target, 2 * steps, threads) == 2 * work, name
        assert np.array_equal(target, source if resource == "copy" else np.zeros(nbytes, np.uint8)), name


def test_recipes_guard_memory() -> None:
    core = pytest.importorskip("fastembed_core._core")
    copying = next(i for i, (_, resource, _) in enumerate(core.recipes()) if resource == "copy")
    block = np.zeros(8192 + 64, np.uint8)
    aligned = block[-block.ctypes.data % 64 :]
    with pytest.raises(ValueError, match="n:"):
        core.run_recipe(copying, aligned[:4096], aligned[:4096], 8192, 1)
    with pytest.raises(ValueError, match="aligned"):
        core.run_recipe(copying, block[:4096], aligned[1:4097], 4096, 1)
    with pytest.raises(ValueError, match="recipe"):
        core.run_recipe(len(core.recipes()), None, None, 1, 1)


def test_without_the_extension_no_limit_is_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fastembed_core._core", None)
    monkeypatch.delattr("fastembed_core._core", raising=False)
    assert measure.limits() == {}


def test_the_slowest_resource_is_the_limit() -> None:
    rates = {"read": 10.0, "fma": 100.0}
    assert measure.fraction({"read": 20, "fma": 100}, rates, 4.0) == (0.5, "read")
    assert measure.fraction({"read": 10, "fma": 400}, rates, 8.0) == (0.5, "fma")
    assert measure.fraction({"popcount": 1}, rates, 1.0) is None


def test_memory_is_no_limit_of_what_lies_in_a_cache() -> None:
    work, cache = {"read": 8.0, "fma": 2.0}, measure.last_level_cache()
    assert measure.beyond_cache(work, cache) == {"fma": 2.0}
    assert measure.beyond_cache(work, cache * measure.CACHES) == work


@pytest.mark.parametrize(
    ("value", "text"),
    [(39.43e9, "39.4 GB"), (0.0123, "12.3 mB"), (999.6, "1.00 kB"), (2.5e-7, "250 nB"), (5.1e12, "5.10 TB"), (7, "7.00 B"), (0, "0.00 nB")],
)
def test_quantities_have_three_digits(value: float, text: str) -> None:
    assert measure.quantity(value, "B") == text


# Interleaving.


def test_rounds_interleave_and_slow_calls_take_fewer() -> None:
    called: list[str] = []
    calls = [lambda name=name: called.append(name) for name in "abc"]
    seconds = measure.interleaved(calls, [1.0, 1.0, 2.0], rounds=4, budget=5.0)
    assert "".join(called) == "abc" + "bca" + "ab" + "ab"
    assert [len(taken) for taken in seconds] == [4, 4, 2]
    assert all(s >= 0 for taken in seconds for s in taken)


def test_short_calls_are_repeated_and_every_call_has_a_round() -> None:
    counts = [0, 0]

    def short() -> None:
        counts[0] += 1

    def endless() -> None:
        counts[1] += 1

    measure.interleaved([short, endless], [measure.SHORTEST_ROUND / 10, 1e9], rounds=3, budget=1.0)
    assert counts == [30, 1]


# The runner.


def absent(o: SimpleNamespace, threads: int) -> Callable[[], Any]:
    raise AssertionError("a rival that is not installed must not be prepared")


def broken(o: SimpleNamespace, threads: int) -> Callable[[], Any]:
    raise RuntimeError("no such operands here\nand more lines")


def wrong(o: SimpleNamespace, threads: int) -> Callable[[], Any]:
    return lambda: np.zeros((len(o.queries), o.k), np.int64)


def test_a_rival_is_measured_or_not_run_with_its_reason_but_never_dropped() -> None:
    rivals = [
        Rival("plain", numpy_topk),
        Rival("missing", absent, needs=("a_package_nobody_has",)),
        Rival("broken", broken),
        Rival("wrong", wrong),
        Rival("approximate", wrong, exact=False),
    ]
    row = runner.run(FLOAT_TOPK, scale=TINY, rounds=2, backends=("numpy",), rivals=rivals)
    found = {outcome.name: outcome for outcome in row.outcomes}
    assert list(found) == ["fastembed_core numpy", "plain", "missing", "broken", "wrong", "approximate"]
    assert found["plain"].seconds
    assert len(found["plain"].rounds) == 2
    assert found["plain"].recall == 1
    assert "a-package-nobody-has is not installed" in (found["missing"].reason or "")
    assert found["broken"].reason == "RuntimeError: no such operands here"
    assert found["wrong"].wrong
    assert not found["wrong"].seconds
    assert found["approximate"].seconds
    assert found["approximate"].recall < 1
    assert row.mine is found["fastembed_core numpy"]
    assert row.best_rival is found["plain"]
    assert not row.faults({}), "a wrong rival is not our fault"
    page = report.details([row])
    assert page.count("not run") == 3
    assert "a-package-nobody-has" in page


def test_a_wrong_answer_of_ours_fails_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    right = ours.CALLS["topk"]

    def flipped(o: SimpleNamespace, backend: str) -> Any:
        scores, indices = right(o, backend)
        if backend == "numpy":
            indices[-1, :2] = indices[-1, 1::-1]
        return scores, indices

    monkeypatch.setitem(ours.CALLS, "topk", flipped)
    row = runner.run(FLOAT_TOPK, scale=TINY, rounds=1, backends=("numpy",), rivals=[])
    assert row.mine is None
    assert [fault.split(",")[0] for fault in row.faults({})] == ["f32-q8: fastembed_core numpy is wrong"]


def test_wrong_labels_rows_and_corpora_fail_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer of each is spoilt in the last query alone: two labels or rows change places."""

    def spoilt(call: Callable[..., Any], place: int) -> Callable[..., Any]:
        def spoil(*args: Any, **kwargs: Any) -> Any:
            parts = call(*args, **kwargs)
            if kwargs.get("backend", args[-1]) == "numpy":
                flat = parts[place].reshape(-1)
                flat[-2:] = flat[[-1, -2]] if len(flat) > 64 else (flat[-2:] + 1)[::-1]
            return parts

        return spoil

    monkeypatch.setitem(ours.CALLS, "assign", spoilt(ours.CALLS["assign"], 0))
    monkeypatch.setitem(ours.CALLS, "range_search", spoilt(ours.CALLS["range_search"], 2))
    monkeypatch.setattr(ours.fec.Corpus, "search", spoilt(ours.fec.Corpus.search, 1))
    for name in ("assign", "range-q64", "int8-codes-q1"):
        (workload,) = workloads.named([name])
        row = runner.run(workload, scale=TINY, rounds=1, backends=("numpy",), rivals=[])
        assert len(row.faults({})) == 1, name


def test_data_that_is_not_here_leaves_a_row_that_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("FASTEMBED_CORE_DATA", str(tmp_path))
    real = next(w for w in workloads.WORKLOADS if w.name == "real-q1")
    row = runner.run(real, scale=TINY, rounds=1, backends=("numpy",))
    assert {outcome.name for outcome in row.outcomes} >= {"fastembed_core numpy", "numpy", "faiss", "torch"}
    assert all("FASTEMBED_CORE_DATA" in (outcome.reason or "") for outcome in row.outcomes)


def test_a_backend_without_the_operation_is_not_run() -> None:
    late = next(w for w in workloads.WORKLOADS if w.op == "maxsim")
    assert ours.missing(late, "numba") == "numba has no maxsim"


# Figures.


def row_of(seconds: float, rates: dict[str, float], rival: float = 3.0) -> Row:
    outcomes = [Outcome("fastembed_core cpu", True, seconds, [seconds] * 5), Outcome("numpy", False, rival, [rival] * 5)]
    return Row(FLOAT_TOPK, "Q 8", outcomes, {"read": 10.0, "fma": 40.0}, rates, rates, 80.0, 10.0)


def test_a_kernel_above_its_limit_fails_the_run() -> None:
    rates = {"read": 10.0, "fma": 10.0}
    below, above = row_of(4.1, rates), row_of(3.5, rates)
    assert below.share == (pytest.approx(4 / 4.1), "fma")
    assert below.ratio == pytest.approx(3.0 / 4.1)
    assert not runner.faults([below], {})
    assert runner.faults([above], {}) == ["f32-q8: 114% of the fma limit, so the limit is wrong"]
    faster = Limit("fma", 12.0, "another recipe", lambda: None, 1.0)
    assert not runner.faults([above], {"fma": faster}), "the best rate seen anywhere in the run is the limit"


def results_of(row: Row) -> tuple[dict[str, Any], str]:
    found = {name: Limit(name, 10.0, "a recipe", lambda: None, 1.0) for name in ("fma", "int8", "read")}
    machine, rates = machines.machine(1), machines.described(found)
    return json.loads(json.dumps(report.as_json([row], machine, rates))), report.markdown([row], machine, rates)


def test_the_results_are_a_table_and_a_file() -> None:
    results, page = results_of(row_of(4.1, {"read": 10.0, "fma": 10.0}))
    assert "| float32 top-k | Q 8 | 4.10 s | 98% of fma | numpy, 3.00 s | 0.73× |" in page
    assert results["workloads"][0]["fraction"] == pytest.approx(4 / 4.1)
    assert results["workloads"][0]["contenders"][1]["rounds"] == [3.0] * 5


def test_the_results_are_a_picture(tmp_path: Any) -> None:
    pytest.importorskip("matplotlib")
    from bench import roofline

    results, _ = results_of(row_of(4.1, {"read": 10.0, "fma": 10.0}))
    roofline.draw(results, tmp_path / "with.svg")
    roofline.draw({**results, "workloads": []}, tmp_path / "without.svg")
    point = "fill: #0969da; stroke: #ffffff"  # a float32 kernel's
    assert point in (tmp_path / "with.svg").read_text()
    assert point not in (tmp_path / "without.svg").read_text()


def test_the_machine_is_named_without_its_host() -> None:
    import platform

    machine = machines.machine(2)
    name = machines.slug(machine)
    assert name == machines.slug(machine).lower()
    assert name.endswith("-2t")
    assert " " not in name
    assert platform.node() not in json.dumps(machine)


def test_a_search_through_codes_may_beat_the_limit_of_reading_rows() -> None:
    rates = {"read": 10.0, "fma": 10.0}
    row = replace(row_of(1.6, rates), limit="beaten")
    assert row.share == (pytest.approx(2.5), "fma")
    assert not runner.faults([row], {})
    results, page = results_of(row)
    assert "| 1.60 s | 2.50× fma |" in page
    assert results["workloads"][0]["limit_is"] == "beaten"


def test_a_call_on_hardly_anything_costs_so_much_above_its_limit() -> None:
    row = replace(row_of(4.5, {"read": 10.0, "fma": 10.0}), limit="exceeded")
    assert "| 4.50 s | 500 ms above fma |" in results_of(row)[1]


def test_two_threads_are_compared_with_one() -> None:
    row = row_of(4.1, {"read": 10.0, "fma": 10.0})
    row.outcomes.append(Outcome("fastembed_core cpu, 1 thread", True, 2.05, [2.05], single=True))
    assert row.mine is row.outcomes[0], "the faster one thread is no contender"
    assert row.speedup == 0.5
    results, page = results_of(row)
    assert "| ours is | one thread takes |" in page
    assert "| 0.73× | 0.50× |" in page
    assert results["workloads"][0]["speedup"] == 0.5


def test_a_run_on_two_threads_has_one_thread_beside_them() -> None:
    row = runner.run(FLOAT_TOPK, scale=TINY, rounds=1, threads=2, backends=("numpy",), rivals=[])
    assert [outcome.name for outcome in row.outcomes] == ["fastembed_core numpy", "fastembed_core numpy, 1 thread"]
    assert row.speedup


def test_workloads_stand_beside_others_by_time_or_rate() -> None:
    rates = {"read": 10.0, "fma": 10.0}
    other = row_of(4.0, rates)
    for by_rate, text in ((False, "(2.00× the time of float32 top-k)"), (True, "(0.25× the rate of float32 top-k)")):
        row = replace(row_of(8.0, rates), ops=40.0)
        row.workload = replace(FLOAT_TOPK, name="other", beside=FLOAT_TOPK.name, by_rate=by_rate)
        assert text in report.table([other, row])


# Workloads and rivals.


@pytest.mark.parametrize("workload", workloads.WORKLOADS, ids=lambda w: w.name)
def test_every_workload_states_its_work(workload: workloads.Workload) -> None:
    case = made(workload)
    assert set(case.work) <= set(measure.RESOURCES)
    assert all(amount > 0 for amount in case.work.values())
    assert case.shape
    assert case.bytes > 0
    assert case.ops > 0
    assert workload.beside is None or workload.beside in {w.name for w in workloads.WORKLOADS}
    assert workload.op in ours.CALLS
    assert case.limit in ("approached", "beaten", "exceeded")


def test_workloads_go_by_name_or_operation() -> None:
    assert len({w.name for w in workloads.WORKLOADS}) == len(workloads.WORKLOADS)
    assert [w.name for w in workloads.named(["i8-q1", "normalize"])] == ["normalize", "i8-q1", "tiny-normalize"]
    assert workloads.named() == list(workloads.WORKLOADS)
    with pytest.raises(ValueError, match="workload: got 'nonsense'"):
        workloads.named(["nonsense"])


def test_every_rival_serves_a_workload() -> None:
    assert set(RIVALS) <= {w.family for w in workloads.WORKLOADS}
    for family, rivals in RIVALS.items():
        assert len({rival.name for rival in rivals}) == len(rivals), family


@pytest.mark.parametrize("workload", workloads.WORKLOADS, ids=lambda w: w.name)
def test_numpy_rivals_give_the_right_answer(workload: workloads.Workload) -> None:
    """The same check every timed answer passes, for ours (numpy) and the rivals that are always there."""
    made(workload)
    plain = [rival for rival in RIVALS.get(workload.family, []) if not rival.needs]
    row = runner.run(workload, scale=TINY, rounds=1, backends=("numpy",), rivals=plain)
    for outcome in row.outcomes:
        assert outcome.seconds, f"{outcome.name}: {outcome.reason}"


# The short form.


def test_the_command_prints_limits_and_every_line() -> None:
    from fastembed_core.cli import bench

    lines = list(bench.report(1, 300, rounds=1, limit_bytes=1 << 20))
    works = list(bench.works(300))
    assert len(works) == 7
    for work in works:
        assert sum(line.startswith(work.title) for line in lines) == 1
    with pytest.raises(ValueError, match="--rows: got 5"):
        next(bench.report(1, 5))


def test_the_command_compares_equal_answers() -> None:
    from fastembed_core.cli import bench

    for work in bench.works(300):
        got, plain = work.ours(), work.numpy()
        if work.op == "topk":
            assert np.array_equal(np.sort(got[1], 1), np.sort(plain, 1)) or "Hamming" in work.title
        else:
            got = getattr(got, "data", got) if work.op == "quantize" else got
            assert np.allclose(got, plain, atol=1e-6), work.title


@pytest.mark.slow
def test_the_tracked_form_runs() -> None:
    pytest.importorskip("pytest_benchmark")
    arguments = ["-q", "--benchmark-disable", "-p", "no:cacheprovider", str(ROOT / "bench" / "bench_normalize.py")]
    out = run_python(f"import pytest; pytest.main({arguments})", FASTEMBED_CORE_BENCH_SCALE=str(TINY))
    assert "failed" not in out
    assert "error" not in out.lower()
    assert "passed" in out
