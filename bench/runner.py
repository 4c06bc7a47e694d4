"""One workload, all contenders, interleaved: A B C, B C A, ..., and the limits of the resources it needs among them."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from fastembed_core import dispatch
from fastembed_core import threads as thread_count
from fastembed_core.measure import Limit, beyond_cache, clock, fraction, interleaved

from . import ours
from .operands import NotHere
from .rivals import RIVALS, Rival, selection
from .workloads import Case, Workload

# What two measurements of one quantity may differ by; a kernel further above its limit proves the limit wrong.
SLACK = 0.03


@dataclass
class Outcome:
    """What came of one contender. `seconds` is the median of `rounds`; without it `reason` says why it was not run.

    single : ours on one thread, beside a run on several: no contender, but what they are compared with
    """

    name: str
    ours: bool
    seconds: float | None = None
    rounds: list[float] = field(default_factory=list)
    reason: str | None = None
    wrong: bool = False
    recall: float = 1.0
    exact: bool = True
    preparing: float = 0.0
    single: bool = False


@dataclass
class Row:
    """A workload's result."""

    workload: Workload
    shape: str
    outcomes: list[Outcome]
    work: dict[str, float] = field(default_factory=dict)
    rates: dict[str, float] = field(default_factory=dict)  # of each resource: the median among the rounds
    peaks: dict[str, float] = field(default_factory=dict)  # and the best
    ops: float = 0.0
    bytes: float = 0.0
    limit: str = "approached"  # as in Case

    @property
    def mine(self) -> Outcome | None:
        """Our fastest backend, None where none ran."""
        return min((o for o in self.outcomes if o.ours and o.seconds and not o.single), key=lambda o: o.seconds or 0, default=None)

    @property
    def best_rival(self) -> Outcome | None:
        """The fastest rival whose answer is the right one."""
        return min((o for o in self.outcomes if not o.ours and o.seconds and o.exact), key=lambda o: o.seconds or 0, default=None)

    @property
    def share(self) -> tuple[float, str] | None:
        """(the fraction of the limit our fastest backend reaches, the resource that is the limit)."""
        return fraction(self.work, self.rates, self.mine.seconds) if self.mine and self.mine.seconds else None

    @property
    def ratio(self) -> float | None:
        """How many times faster we are than the best rival."""
        mine, rival = self.mine, self.best_rival
        return rival.seconds / mine.seconds if mine and rival and mine.seconds and rival.seconds else None

    @property
    def speedup(self) -> float | None:
        """How many times faster our fastest backend is than itself on one thread; None on a run of one thread."""
        mine = self.mine
        alone = next((o for o in self.outcomes if o.single and mine and o.name == f"{mine.name}, 1 thread"), None)
        return alone.seconds / mine.seconds if mine and alone and mine.seconds and alone.seconds else None

    def faults(self, peaks: dict[str, float]) -> list[str]:
        """What must fail the run: a wrong answer of ours, or one that came faster than the machine can at its best."""
        found = [f"{self.workload.name}: {o.name} is wrong, {o.reason}" for o in self.outcomes if o.ours and o.wrong]
        share = fraction(self.work, peaks, min(self.mine.rounds)) if self.mine and self.limit != "beaten" else None
        if share and share[0] > 1 + SLACK:
            found.append(f"{self.workload.name}: {share[0]:.0%} of the {share[1]} limit, so the limit is wrong")
        return found


def faults(rows: Sequence[Row], limits: dict[str, Limit]) -> list[str]:
    """The faults of a run, judged by the best rate of each resource seen anywhere in it."""
    peaks = {name: limit.rate for name, limit in limits.items()}
    for row in rows:
        for name, rate in row.peaks.items():
            peaks[name] = max(peaks.get(name, 0), rate)
    return [fault for row in rows for fault in row.faults(peaks)]


def pin_threads(threads: int) -> None:
    """One thread count for everybody. Call it before the rivals are imported: some read the environment once."""
    for name in ("OMP", "OPENBLAS", "MKL", "RAYON", "NUMEXPR"):
        os.environ[f"{name}_NUM_THREADS"] = str(threads)
    from fastembed_core import set_num_threads

    set_num_threads(threads)
    for module, setter in (("torch", "set_num_threads"), ("faiss", "omp_set_num_threads"), ("threadpoolctl", "threadpool_limits")):
        try:
            getattr(__import__(module), setter)(threads)
        except ImportError:
            continue


def run(
    workload: Workload,
    *,
    scale: float = 1.0,
    threads: int = 1,
    rounds: int = 5,
    budget: float = 3.0,
    backends: Sequence[str] = ("cpu",),
    rivals: Sequence[Rival] | None = None,
    limits: dict[str, Limit] | None = None,
) -> Row:
    """Measure one workload.

    budget : seconds a contender may take over all rounds; a slower one takes part in fewer
    rivals : None takes all of the workload's family
    limits : None judges no fraction
    """
    rivals = RIVALS.get(workload.family, []) if rivals is None else rivals
    selection()  # its own timing is over before any rival's begins
    outcomes = [Outcome(f"fastembed_core {name}", True) for name in backends] + [Outcome(r.name, False, exact=r.exact) for r in rivals]
    contenders: list[str | Rival] = [*backends, *rivals]
    if threads > 1:
        outcomes += [Outcome(f"fastembed_core {name}, 1 thread", True, single=True) for name in backends]
        contenders += backends
    try:
        case = workload.make(scale)
    except NotHere as absent:
        for outcome in outcomes:
            outcome.reason = str(absent)
        return Row(workload, "", outcomes)
    row = Row(workload, case.shape, outcomes, beyond_cache(case.work, case.bytes), ops=case.ops, bytes=case.bytes, limit=case.limit)
    judge = ours.Judge(workload, case)
    calls: list[Callable[[], Any]] = []
    first: list[float] = []
    running: list[Outcome] = []
    for outcome, contender in zip(outcomes, contenders, strict=True):
        ready = _warm(outcome, contender, workload, case, judge, threads)
        if ready and ready[1] > budget:
            outcome.rounds, outcome.seconds = [ready[1]], ready[1]  # many times slower than anything near it: once is enough
        elif ready:
            calls.append(ready[0])
            first.append(ready[1])
            running.append(outcome)
    probes = [limits[resource] for resource in row.work if limits and resource in limits]
    if running:
        calls += [limit.run for limit in probes]
        first += [limit.work / limit.rate for limit in probes]
        seconds = interleaved(calls, first, rounds, budget)
        for outcome, taken in zip(running, seconds, strict=False):
            outcome.rounds, outcome.seconds = taken, median(taken)
        for limit, taken in zip(probes, seconds[len(running) :], strict=True):
            row.rates[limit.resource], row.peaks[limit.resource] = limit.work / median(taken), limit.work / min(taken)
    del calls
    gc.collect()
    return row


def _on_one_thread(call: Callable[[], Any]) -> Callable[[], Any]:
    def limited() -> Any:
        with thread_count.limit(1):
            return call()

    return limited


def _warm(
    outcome: Outcome, contender: str | Rival, workload: Workload, case: Case, judge: ours.Judge, threads: int
) -> tuple[Callable[[], Any], float] | None:
    """The contender's call and the seconds its first run took, its answer checked; None, with the reason noted, otherwise."""
    outcome.reason = contender.missing() if isinstance(contender, Rival) else ours.missing(workload, contender)
    if outcome.reason:
        return None
    prepared: list[Callable[[], Any]] = []
    try:
        if isinstance(contender, Rival):
            outcome.preparing = clock(lambda: prepared.append(contender.prepare(case.operands, threads)))
        else:
            outcome.preparing = clock(lambda: prepared.append(ours.prepare(workload, case, contender)))
            if outcome.single:
                prepared[0] = _on_one_thread(prepared[0])
        answers: list[Any] = []
        seconds = clock(lambda: answers.append(prepared[0]()))
        answer = contender.result(answers[0]) if isinstance(contender, Rival) else answers[0]
        outcome.recall = judge.check(answer, ours=outcome.ours, exact=outcome.exact)
        return prepared[0], seconds
    except ours.Wrong as wrong:
        outcome.reason, outcome.wrong = str(wrong), True
    except dispatch.Unsupported as declined:
        outcome.reason = f"declines: {declined}"
    except Exception as error:  # a rival may fail in any way; the run goes on without it and says so
        outcome.reason = f"{type(error).__name__}: {str(error).splitlines()[0][:120] if str(error) else ''}"
        outcome.wrong = outcome.ours
    return None
