"""Runs every workload and writes bench/results/<gpu>.json; a fraction is of the floor, a ratio is a rival's time over ours."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

import fastembed_core as fc
from fastembed_core.backends.triton import BACKEND

from . import extension, searches, tune, workloads
from .limits import measured, seconds
from .workloads import Work

WORKLOADS = (*workloads.WORKLOADS, *searches.WORKLOADS, *extension.WORKLOADS)


@dataclass
class Row:
    """One workload's result; rivals by name: their time over ours, or why there is none."""

    name: str
    seconds: float
    floor: float
    formula: str  # of the floor
    fraction: float
    beside: dict[str, float] = field(default_factory=dict)  # an earlier row's time over this one's
    rivals: dict[str, float | str] = field(default_factory=dict)

    @property
    def cells(self) -> list[str]:
        """As a line of the table."""
        others = {**self.rivals, **{f"the time of {name}": ratio for name, ratio in self.beside.items()}}
        ratios = [f"{ratio if isinstance(ratio, str) else f'{ratio:.2f}x'} {name}" for name, ratio in others.items()]
        return [self.name, f"{self.seconds * 1e3:.3f} ms", f"{self.fraction:.0%}", self.formula, ", ".join(ratios) or "–"]


HEADER = ["work", "time", "%-of-floor", "floor", "times faster than"]


def row_of(work: Work, limits: dict[str, float], before: dict[str, float]) -> Row:
    """What one workload took, and its rivals; a wrong answer raises."""
    with fc.use_backend("triton"):
        answer = work.ours()
        took = seconds(work.ours)
    floor = work.floor(limits)
    row = Row(work.name, took, floor, work.formula, floor / took)
    if work.beside in before:
        row.beside[work.beside] = before[work.beside] / took
    for name, call in work.rivals.items():
        try:
            if not work.check(answer, call()):
                raise AssertionError(f"{work.name}: {name} and fastembed_core disagree")
            row.rivals[name] = seconds(call) / took
        except torch.OutOfMemoryError:
            row.rivals[name] = "out of memory"
    return row


def table(rows: list[Row], limits: dict[str, float]) -> str:
    """Markdown of all rows and the limits they are measured by."""
    rates = ", ".join(f"{name} {rate / 1e12:.3g} T/s" for name, rate in limits.items())
    lines = [HEADER, ["---"] * len(HEADER), *(row.cells for row in rows)]
    return f"Measured limits: {rates}.\n\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="the size of every workload; results are written at 1 alone")
    parser.add_argument("--only", default="", help="workloads whose name holds this")
    parser.add_argument("--tune", action="store_true", help="time every way to cut a scan, and print the table of the fastest")
    asked = parser.parse_args()
    if BACKEND.missing():
        sys.exit(BACKEND.missing())
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if asked.tune:
        tune.main(device, asked.scale, asked.only)
        return
    limits = measured(device, asked.scale)
    print("  ".join(f"{name} {rate / 1e12:.2f}T/s" for name, rate in limits.items()))
    rows: list[Row] = []
    for made in WORKLOADS:
        for work in made(device, asked.scale):
            if asked.only in work.name:
                rows.append(row_of(work, limits, {row.name: row.seconds for row in rows}))
                print(" | ".join(rows[-1].cells), flush=True)
            work = None  # what it holds must be gone before the next is made
    if asked.scale == 1 and not asked.only and device == "cuda":
        name = torch.cuda.get_device_name().lower().replace(" ", "-")
        path = Path(__file__).parent.parent / "results" / f"{name}.json"
        result = {"torch": torch.__version__, "backend": BACKEND.describe(), "limits": limits, "rows": [asdict(row) for row in rows]}
        path.write_text(json.dumps(result, indent=1))
        path.with_suffix(".md").write_text(table(rows, limits))


if __name__ == "__main__":
    main()
