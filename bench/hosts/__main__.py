"""`python bench/hosts`: whole programs of the systems people use, each alone and with its one line more, in turn.

What is not installed or not on this machine is left out, with the reason. Writes bench/results/<machine>-hosts.json and .md.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

if not __package__:  # run as a folder: the repository goes last, so that an installed fastembed_core comes before the source
    sys.path.append(str(Path(__file__).resolve().parents[2]))
    __package__ = "bench.hosts"

from .. import limits, runner
from . import HOSTS, measure, table


def main() -> int:
    parser = argparse.ArgumentParser(prog="python bench/hosts", description=__doc__.partition(": ")[2].partition("\n")[0])
    parser.add_argument("only", nargs="*", choices=[*HOSTS, []], help="comparisons; all of them by default")
    parser.add_argument("--threads", type=int, default=1, help="threads for everybody (default 1)")
    parser.add_argument("--scale", type=float, default=1.0, help="shrinks the number of rows")
    parser.add_argument("--rounds", type=int, default=31, help="rounds at most (default 31)")
    parser.add_argument("--budget", type=float, default=8.0, help="seconds a comparison may take, but for one round (default 8)")
    parser.add_argument("--output", type=Path, help="folder for the results; by default bench/results for a full run at scale 1, else none")
    args = parser.parse_args()
    runner.pin_threads(args.threads)
    rows = []
    for name in args.only or HOSTS:
        rows.append(measure(name, args.scale, args.rounds, args.budget))
        print(table(rows[-1:]).splitlines()[-1], file=sys.stderr, flush=True)
    machine = limits.machine(args.threads)
    page = f"# Hosts on {machine['cpu']}, {machine['isa']}, {args.threads} thread{'s' * (args.threads != 1)}\n\n"
    page += "Medians of rounds in turn, the host alone and with the one line of README; results checked to agree.\n\n" + table(rows) + "\n"
    print(page)
    output = args.output or (Path(__file__).parents[1] / "results" if args.scale == 1 and not args.only else None)
    if output:
        output.mkdir(parents=True, exist_ok=True)
        name = f"{limits.slug(machine)}-hosts"
        (output / f"{name}.json").write_text(json.dumps({"machine": machine, "hosts": rows}, indent=1) + "\n")
        (output / f"{name}.md").write_text(page)
    return int(any(row.get("reason", "").startswith("wrong") for row in rows))


if __name__ == "__main__":
    sys.exit(main())
