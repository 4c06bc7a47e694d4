"""Hosts that pin what the others cannot have: their tests run in an environment of their own, made here.

This takes a network and a minute or two, so that it runs only where `make test-hosts` has installed the other hosts.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import fastembed_core

HERE = Path(__file__).parent
COMMON = ("numpy==2.4.6", "pytest==9.2.0")
ENVIRONMENTS = {
    "qdrant_fastembed": (("fastembed==0.9.1",),),  # huggingface_hub below 2
    # sentence-transformers 5.3. Its PLAID index, which pins another torch, is left out.
    "pylate": (
        ("torch==2.13.0",),
        ("torch==2.13.0", "sentence-transformers==5.3.0", "transformers==5.3.0", "ujson==5.12.0", "fastkmeans==0.5.0", "datasets==5.2.0"),
        ("--no-deps", "pylate==1.6.0"),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_host(name: str, tmp_path: Path) -> None:
    pytest.importorskip("gensim", reason="runs beside the hosts that make test-hosts installs")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    for packages in ((COMMON), *ENVIRONMENTS[name]):
        pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
        done = subprocess.run([*pip, *packages], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    package = Path(fastembed_core.__file__).parent  # alone: beside it may lie the packages of this environment
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "fastembed_core").symlink_to(package)
    command = [python, "-m", "pytest", "-q", "-c", os.devnull, "--rootdir", HERE, "--noconftest", "-p", "no:cacheprovider"]
    tests = [HERE / f"test_{name}.py", f"{HERE / 'test_readme.py'}", "-k", f"not test_readme or {name}"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")} | {
        "PYTHONPATH": str(tmp_path / "path")
    }
    done = subprocess.run([*command, *tests], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\d+ passed", done.stdout) and "skipped" not in done.stdout, done.stdout
