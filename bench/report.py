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
    """One line a workload: ours, the fraction of the limit, the best rival, the ratio."""
    lines = ["| work | shape | ours | of the limit | best rival | ours is |", "|---|---|---|---|---|---|"]
    for row in rows:
        rival = row.best_rival
        share = f"{row.share[0]:.0%} of {row.share[1]}" if row.share else _NOTHING
        ratio = f"{row.ratio:.2f}×" if row.ratio else _NOTHING
        best = f"{rival.name}, {_time(rival)}" if rival else _NOTHING
        lines.append(
            f"| {row.workload.title}{_beside(row, rows)} | {row.shape or _NOTHING} | {_time(row.mine)} | {share} | {best} | {ratio} |"
        )
    return "\n".join(lines)


def _beside(row: Row, rows: Sequence[Row]) -> str:
    """How this workload's time compares with the one it stands beside: the same arithmetic with something more asked of it."""
    other = next((r for r in rows if r.workload.name == row.workload.beside), None)
    if other is None or not (row.mine and other.mine and row.mine.seconds and other.mine.seconds):
        return ""
    return f" ({row.mine.seconds / other.mine.seconds:.2f}× the time of {other.workload.title.split(',')[0]})"


def details(rows: Sequence[Row]) -> str:
    """Every contender of every workload, those that did not run with the reason."""
    lines = ["| work | contender | time | ours is | note |", "|---|---|---|---|---|"]
    for row in rows:
        mine, rounds = row.mine, max(len(outcome.rounds) for outcome in row.outcomes)
        for outcome in row.outcomes:
            ratio = f"{outcome.seconds / mine.seconds:.2f}×" if outcome.seconds and mine and mine.seconds and not outcome.ours else _NOTHING
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
                "Medians of interleaved rounds in one run. 'Of the limit' is the fraction of what this machine can do at most, measured "
                "among the same rounds; 'ours is' tells how many times faster ours is than the best rival whose answer is right.",
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
        "ratio": row.ratio,
        "contenders": [
            {key: value for key, value in vars(outcome).items() if key != "rounds"} | {"rounds": row_rounds(outcome)}
            for outcome in row.outcomes
        ],
    }


def row_rounds(outcome: Outcome) -> list[float]:
    return [float(f"{seconds:.4g}") for seconds in outcome.rounds]
