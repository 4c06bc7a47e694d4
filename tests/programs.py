"""Running other programs from tests: compilers, binary tools, pip, other interpreters."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def tool(name: str) -> str:
    """The path of a program, beside this interpreter or on PATH; skips where there is none."""
    found = shutil.which(name, path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def run(*command: object, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    """Output of a command, which must succeed; where it fails the test says all it printed."""
    done = subprocess.run([str(c) for c in command], text=True, capture_output=True, check=False, cwd=cwd, env=env)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def python_environment(first: Path | None = None) -> dict[str, str]:
    """This environment, for an interpreter that imports what this one does, `first` before it."""
    import fastembed_core

    first = first or Path(fastembed_core.__file__).parent.parent
    search = os.pathsep.join([str(first), os.environ.get("PYTHONPATH", "")]).strip(os.pathsep)
    return {**os.environ, "PYTHONPATH": search, "PYTHONSAFEPATH": "1"}


def run_python(code: str, *, path: Path | None = None, **env: str) -> str:
    """Output of `code` in a fresh interpreter that imports what this one does, `path` before it."""
    return run(sys.executable, "-c", code, env={**python_environment(path), **env})
