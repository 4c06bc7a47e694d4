"""`python bench`: every workload, the table on the terminal, the results file and the roofline picture."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

if not __package__:  # run as a folder: its parent goes last, so that an installed fastembed_core comes before the source
    sys.path.append(str(Path(__file__).resolve().parents[1]))
    __package__ = "bench"

from . import runner, workloads


def main() -> int:
    parser = argparse.ArgumentParser(prog="python bench", description=__doc__.partition(": ")[2])
    parser.add_argument("only", nargs="*", help="workloads or operations; all of them by default")
    parser.add_argument("--threads", type=int, default=1, help="threads for everybody (default 1)")
    parser.add_argument(
        "--scale", type=float, default=float(os.environ.get("FASTEMBED_CORE_BENCH_SCALE", "1")), help="shrinks the number of rows"
    )
    parser.add_argument("--rounds", type=int, default=5, help="rounds of the interleaving (default 5)")
    parser.add_argument("--budget", type=float, default=3.0, help="seconds one contender may take over all rounds; slower ones take fewer")
    parser.add_argument("--backends", default="cpu", help="our backends, separated by commas")
    parser.add_argument("--output", type=Path, help="folder for the results; by default bench/results for a full run at scale 1, else none")
    parser.add_argument("--list", action="store_true", help="name the workloads and stop")
    args = parser.parse_args()
    try:
        chosen = workloads.named(args.only)
    except ValueError as error:
        parser.error(str(error))
    if args.list:
        for w in chosen:
            print(f"{w.name:20} {w.title}")
        return 0
    runner.pin_threads(args.threads)

    from fastembed_core.measure import limits

    from . import limits as machines
    from . import report

    found = limits(args.threads)
    for limit in found.values():
        print(limit, file=sys.stderr)
    rows = []
    for i, workload in enumerate(chosen, 1):
        start = time.perf_counter()
        backends = args.backends.split(",")
        rows.append(
            runner.run(
                workload, scale=args.scale, threads=args.threads, rounds=args.rounds, budget=args.budget, backends=backends, limits=found
            )
        )
        print(f"[{i}/{len(chosen)}] {workload.name}: {time.perf_counter() - start:.1f} s", file=sys.stderr)
    machine, rates = machines.machine(args.threads), machines.described(found)
    print(report.table(rows), report.details(rows), sep="\n\n")
    output = args.output or (Path(__file__).parent / "results" if args.scale == 1 and not args.only else None)
    if output:
        _write(output, machines.slug(machine), report.as_json(rows, machine, rates), report.markdown(rows, machine, rates))
    faults = runner.faults(rows, found)
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


def _write(folder: Path, name: str, results: dict[str, Any], page: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(results, indent=1) + "\n")
    (folder / f"{name}.md").write_text(page)
    try:
        from . import roofline
    except ImportError as error:
        print(f"no roofline picture: {error}", file=sys.stderr)
        return
    roofline.draw(results, folder / f"{name}.svg")


if __name__ == "__main__":
    sys.exit(main())
