"""tests/gpu without a GPU: Triton interprets its kernels on the host, in a process of its own, for it decides once how they run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from programs import ROOT, python_environment

pytest.importorskip("torch")
pytest.importorskip("triton")


FILES = sorted(path.name for path in (Path(__file__).parent / "gpu").glob("test_*.py") if path.name != "test_cuda.py")


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES)
def test_interpreted(file: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(ROOT / "tests" / "gpu" / file)]
    environment = {**python_environment(), "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    environment.pop("PYTEST_ADDOPTS", None)
    done = subprocess.run(command, text=True, capture_output=True, check=False, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
