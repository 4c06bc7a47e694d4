"""What a comparison of a host alone and with our line is, where they register, and how one is measured."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..operands import NotHere


class Comparison(NamedTuple):
    """alone, with_line: calls of no arguments. same: whether two results agree as the integration promises."""

    alone: Callable[[], Any]
    with_line: Callable[[], Any]
    same: Callable[[Any, Any], bool]


class Host(NamedTuple):
    title: str
    make: Callable[[float], Comparison]


HOSTS: dict[str, Host] = {}


def host(title: str) -> Callable[[Callable[[float], Comparison]], Callable[[float], Comparison]]:
    """Register a comparison under its function's name; the function takes the scale, which shrinks the number of rows."""

    def register(make: Callable[[float], Comparison]) -> Callable[[float], Comparison]:
        HOSTS[make.__name__] = Host(title, make)
        return make

    return register


def near(atol: float) -> Callable[[Any, Any], bool]:
    return lambda a, b: bool(np.abs(np.asarray(a, np.float64) - np.asarray(b, np.float64)).max() <= atol)


def same_hits(a: Any, b: Any) -> bool:
    """Results of a search by (id, score): equal scores up to rounding, place by place, and the ids but where that turned two around."""
    (ids, scores), (other_ids, other_scores) = (
        [[hit[key] for query in hits for hit in query] for key in ("corpus_id", "score")] for hits in (a, b)
    )
    same = len(ids) == len(other_ids) and near(1e-5 * max(1.0, np.abs(scores).max()))(scores, other_scores)
    return same and bool((np.array(ids) == np.array(other_ids)).mean() > 0.99)


def measure(name: str, scale: float, rounds: int, budget: float) -> dict[str, Any]:
    """Medians of both sides, called in turn, either first every other time; once each, then as often as rounds and budget allow."""
    row: dict[str, Any] = {"name": name, "title": HOSTS[name].title}
    try:
        comparison = HOSTS[name].make(scale)
    except (ImportError, NotHere) as error:
        return row | {"reason": str(error)}
    if not comparison.same(comparison.alone(), comparison.with_line()):
        return row | {"reason": "wrong: the results differ"}
    seconds: dict[str, list[float]] = {"alone": [], "with_line": []}
    while len(seconds["alone"]) < rounds and (not seconds["alone"] or sum(sum(times) for times in seconds.values()) < budget):
        order = list(seconds.items())
        for side, times in order if len(seconds["alone"]) % 2 else reversed(order):
            start = time.perf_counter()
            getattr(comparison, side)()
            times.append(time.perf_counter() - start)
    return row | {side: statistics.median(times) for side, times in seconds.items()} | {"rounds": len(seconds["alone"])}


def table(rows: list[dict[str, Any]]) -> str:
    from fastembed_core.measure import quantity

    lines = ["| program | the host alone | with one line | ratio |", "|---|---|---|---|"]
    for row in rows:
        if "alone" in row:
            times = [quantity(row[side], "s") for side in ("alone", "with_line")]
            lines.append(f"| {row['title']} | {times[0]} | {times[1]} | {row['alone'] / row['with_line']:.2f}× |")
        else:
            lines.append(f"| {row['title']} | not run: {row['reason']} | | |")
    return "\n".join(lines)
