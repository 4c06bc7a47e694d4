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

from . import extension
from .limits import measured, seconds
from .workloads import WORKLOADS as TRITON
from .workloads import Work

WORKLOADS = (*TRITON, *extension.WORKLOADS)


@dataclass
class Row:
    """One workload's result; rivals by name: their time over ours, or why there is none."""

    name: str
    seconds: float
    floor: float
    fraction: float
    rivals: dict[str, float | str] = field(default_factory=dict)

    def __str__(self) -> str:
        rivals = [f"{ratio if isinstance(ratio, str) else f'{ratio:.2f}x'} {name}" for name, ratio in self.rivals.items()]
        return f"{self.name}: {self.seconds * 1e3:.3f} ms, {self.fraction:.2f} of the floor; {', '.join(rivals)}"


def row_of(work: Work, limits: dict[str, float]) -> Row:
    """What one workload took, and its rivals; a wrong answer raises."""
    with fc.use_backend("triton"):
        answer = work.ours()
        took = seconds(work.ours)
    floor = max(work.bytes / limits["read"], work.operations / limits[work.unit])
    row = Row(work.name, took, floor, floor / took)
    for name, call in work.rivals.items():
        try:
            if not work.check(answer, call()):
                raise AssertionError(f"{work.name}: {name} and fastembed_core disagree")
            row.rivals[name] = seconds(call) / took
        except torch.OutOfMemoryError:
            row.rivals[name] = "out of memory"
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="the size of every workload; results are written at 1 alone")
    parser.add_argument("--only", default="", help="workloads whose name holds this")
    asked = parser.parse_args()
    if BACKEND.missing():
        sys.exit(BACKEND.missing())
    device = "cuda" if torch.cuda.is_available() else "cpu"
    limits = measured(device, asked.scale)
    print("  ".join(f"{name} {rate / 1e12:.2f}T/s" for name, rate in limits.items()))
    rows = []
    for workloads in WORKLOADS:
        for work in workloads(device, asked.scale):
            if asked.only not in work.name:
                continue
            rows.append(row_of(work, limits))
            print(rows[-1], flush=True)
    if asked.scale == 1 and not asked.only and device == "cuda":
        name = torch.cuda.get_device_name().lower().replace(" ", "-")
        path = Path(__file__).parent.parent / "results" / f"{name}.json"
        path.write_text(
            json.dumps(
                {"torch": torch.__version__, "backend": BACKEND.describe(), "limits": limits, "rows": [asdict(r) for r in rows]}, indent=1
            )
        )


if __name__ == "__main__":
    main()
