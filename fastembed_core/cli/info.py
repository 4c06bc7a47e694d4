"""``fastembed-core info``: what this installation is, what it runs on, and why each backend can or cannot run."""

from __future__ import annotations

import argparse
import importlib
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from .. import __version__, dispatch, threads


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "info",
        help="say what is installed, what it runs on and why",
        description="Version, processor, instruction sets, threads, and the backends with why each can or cannot run.",
    )
    parser.set_defaults(func=run)


def run(arguments: argparse.Namespace) -> None:
    for line in report():
        print(line)


def report() -> Iterator[str]:
    """The lines `fastembed-core info` prints."""
    import numpy

    system = f"{platform.system()} {platform.machine()}"
    yield f"fastembed-core {__version__} in {Path(__file__).parents[1]}"
    yield _row("python", f"{platform.python_version()} on {system}, numpy {numpy.__version__}")
    yield _row("processor", processor())
    yield _row("instructions", instruction_sets())
    yield _row("threads", threads.explain_num_threads())
    yield ""
    yield "backends"
    for backend in dispatch.backends().values():
        missing = backend.missing()
        yield _row("  " + backend.name, f"available ({backend.describe()})" if missing is None else f"not available: {missing}")
    yield ""
    yield "operations"
    for op in sorted(dispatch.operations()):
        yield f"  {dispatch.explain(op)}"


def _row(name: str, text: str) -> str:
    return f"{name:<14}{text}"


def processor() -> str:
    """The processor's own name."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    if sys.platform == "darwin":
        asked = subprocess.run(["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True, check=False)
        if asked.stdout.strip():
            return asked.stdout.strip()
    return platform.processor() or platform.machine() or "unknown"


def instruction_sets() -> str:
    """The level the compiled kernels use and those this machine could, or that there are no compiled kernels."""
    missing = dispatch.get_backend("cpu").missing()
    if missing is not None:
        return f"no compiled kernels: {missing}"
    core = importlib.import_module("fastembed_core._core")
    return f"{core.isa()} in use (this machine runs {', '.join(core.isas())}; FASTEMBED_CORE_ISA chooses)"
