"""The results as a Markdown table and as a file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastembed_core.measure import RESOURCES, quantity

from .runner import Outcome, Row

_NOTHING = "–"


def _time(outcome: Outcome | None) -> str:
    return quantity(outcome.seconds, "s") if outcome and outcome.seconds else "not run"


def table(rows: Sequence[Row]) -> str:
    """One line a workload: ours, the fraction of the limit, the best rival, the ratio; on several threads, the ratio to one."""
    several = any(outcome.single for row in rows for outcome in row.outcomes)
    heads = ["work", "shape", "ours", "of the limit", "best rival", "ours is", *(["one thread takes"] if several else [])]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in rows:
        rival = row.best_rival
        ratio = f"{row.ratio:.2f}×" if row.ratio else _NOTHING
        best = f"{rival.name}, {_time(rival)}" if rival else _NOTHING
        cells = [f"{row.workload.title}{_beside(row, rows)}", row.shape or _NOTHING, _time(row.mine), _of_limit(row), best, ratio]
        if several:
            cells.append(f"{row.speedup:.2f}×" if row.speedup else _NOTHING)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _of_limit(row: Row) -> str:
    """What the limit is to this work: a share where it is approached, a multiple where beaten, else the time above it."""
    if not row.share or row.mine is None or row.mine.seconds is None:
        return _NOTHING
    share, resource = row.share
    if row.limit == "exceeded":
        return f"{quantity(row.mine.seconds * (1 - share), 's')} above {resource}"
    return f"{share:.2f}× {resource}" if row.limit == "beaten" and share > 1 else f"{share:.0%} of {resource}"


def _beside(row: Row, rows: Sequence[Row]) -> str:
    """How this workload compares with the one it stands beside, in time or in operations a second."""
    other = next((r for r in rows if r.workload.name == row.workload.beside), None)
    if other is None or not (row.mine and other.mine and row.mine.seconds and other.mine.seconds):
        return ""
    times, title = row.mine.seconds / other.mine.seconds, other.workload.title
    if row.workload.by_rate:
        return f" ({row.ops / other.ops / times:.2f}× the rate of {title})"
    return f" ({times:.2f}× the time of {title})"


def details(rows: Sequence[Row]) -> str:
    """Every contender of every workload, those that did not run with the reason."""
    lines = ["| work | contender | time | ours is | note |", "|---|---|---|---|---|"]
    for row in rows:
        mine, rounds = row.mine, max(len(outcome.rounds) for outcome in row.outcomes)
        for outcome in row.outcomes:
            other = not outcome.ours or outcome.single
            ratio = f"{outcome.seconds / mine.seconds:.2f}×" if outcome.seconds and mine and mine.seconds and other else _NOTHING
            lines.append(f"| {row.workload.name} | {outcome.name} | {_time(outcome)} | {ratio} | {_note(outcome, rounds)} |")
    return "\n".join(lines)


def _note(outcome: Outcome, rounds: int) -> str:
    if outcome.reason:
        return f"wrong: {outcome.reason}" if outcome.wrong else outcome.reason
    notes = []
    if not outcome.exact:
        notes.append("approximate, not counted as the best rival")
    if outcome.recall < 1:
        notes.append(f"recall {outcome.recall:.3f}")
    if outcome.preparing > 0.001:
        notes.append(f"prepared in {quantity(outcome.preparing, 's')}")
    if 0 < len(outcome.rounds) < rounds:
        notes.append(f"{len(outcome.rounds)} round{'s' if len(outcome.rounds) > 1 else ''}")
    return ", ".join(notes)


def limits_table(limits: dict[str, dict[str, Any]]) -> str:
    lines = ["| limit | rate | best recipe |", "|---|---|---|"]
    lines += [f"| {RESOURCES[resource][0]} | {limit['text']} | {limit['recipe']} |" for resource, limit in limits.items()]
    return "\n".join(lines)


def markdown(rows: Sequence[Row], machine: dict[str, Any], limits: dict[str, dict[str, Any]]) -> str:
    """The whole page."""
    threads = f"{machine['threads']} thread" + ("s" if machine["threads"] != 1 else "")
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return (
        "\n\n".join(
            [
                f"# {machine['cpu']} (family {machine['family']}), {machine['isa']}, {threads}",
                "Medians of interleaved rounds in one run. 'Of the limit' compares with what this machine can do at most, measured among "
                "the same rounds. It is a share; or a multiple, as 3.30×, where an exact search goes through codes, kept or made on the "
                "way, and the limit is that of reading, or multiplying, the rows as floats; or the time above it, for calls on hardly "
                "anything. 'Ours is' tells how many times faster ours is than the best rival whose answer is right.",
                table(rows),
                "## Limits",
                limits_table(limits),
                "## Every contender",
                details(rows),
                f"Python {machine['python']}; {versions}.",
            ]
        )
        + "\n"
    )


def as_json(rows: Sequence[Row], machine: dict[str, Any], limits: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The results file: everything the page is made of."""
    return {"machine": machine, "limits": limits, "workloads": [_row(row) for row in rows]}


def _row(row: Row) -> dict[str, Any]:
    w = row.workload
    return {
        "name": w.name,
        "family": w.family,
        "title": w.title,
        "shape": row.shape,
        "work": row.work,
        "ops": row.ops,
        "bytes": row.bytes,
        "rates": row.rates,
        "seconds": row.mine.seconds if row.mine else None,
        "fraction": row.share[0] if row.share else None,
        "limit": row.share[1] if row.share else None,
        "limit_is": row.limit,
        "speedup": row.speedup,
        "ratio": row.ratio,
        "contenders": [
            {key: value for key, value in vars(outcome).items() if key != "rounds"} | {"rounds": row_rounds(outcome)}
            for outcome in row.outcomes
        ],
    }


def row_rounds(outcome: Outcome) -> list[float]:
    return [float(f"{seconds:.4g}") for seconds in outcome.rounds]
