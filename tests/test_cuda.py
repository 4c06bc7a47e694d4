"""tests/gpu/test_cuda.py without a GPU: the kernels compiled for the host, the threads of each block as fibers."""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest
from programs import ROOT, python_environment, run, tool

import fastembed_core as fc
from fastembed_core.backends.cuda import BACKEND

pybind11 = pytest.importorskip("pybind11")
pytest.importorskip("torch")

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not (ROOT / "csrc").is_dir(), reason="needs the source tree")]

# As CMakeLists.txt compiles for a device: nothing contracted.
WARNINGS = ("-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas", "-Wno-clobbered")
FLAGS = ("-std=c++17", "-O1", "-fPIC", "-ffp-contract=off", "-fvisibility=hidden", *WARNINGS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the extension, for the host."""
    compiler, folder = tool("c++"), tmp_path_factory.mktemp("cuda")
    sources = [(path, ("-x", "c++")) for path in sorted((ROOT / "csrc" / "cuda").glob("*.cu"))]
    headers = (f"-I{pybind11.get_include()}", f"-I{sysconfig.get_path('include')}", "-O0")
    objects = []
    for path, how in (*sources, (ROOT / "csrc" / "bind" / "cuda.cpp", headers)):
        objects.append(folder / f"{path.stem}.o")
        run(compiler, *FLAGS, *how, "-c", path, "-o", objects[-1])
    run(compiler, "-shared", *objects, "-o", folder / "_cuda.so")
    return folder


def test_on_the_host(folder: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(ROOT / "tests" / "gpu" / "test_cuda.py")]
    environment = {**python_environment(), "FASTEMBED_CORE_CUDA_ON_HOST": str(folder), "OMP_NUM_THREADS": "1"}
    environment.pop("PYTEST_ADDOPTS", None)
    done = subprocess.run(command, text=True, capture_output=True, check=False, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert " passed" in done.stdout and "failed" not in done.stdout


def test_it_says_why_it_is_passed_over() -> None:
    missing = BACKEND.missing()
    if missing is None:
        pytest.skip("it runs here")
    assert f"cuda: {missing}" in fc.explain("topk", device="cuda")
    with pytest.raises(ImportError, match=re.escape(f"backend: cuda cannot run here, {missing}")):
        fc.topk(np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float32), 1, backend="cuda")


def test_the_stub_is_the_extension(folder: Path) -> None:
    pytest.importorskip("pybind11_stubgen")
    code = (
        f"import fastembed_core, pybind11_stubgen; fastembed_core.__path__.insert(0, {str(folder)!r})\n"
        f"pybind11_stubgen.main(['fastembed_core._cuda', '--exit-code', '-o', {str(folder)!r}])"
    )
    run(sys.executable, "-c", code, env=python_environment())
    stub = (folder / "fastembed_core" / "_cuda.pyi").read_text()
    stub = stub.replace("on_host: bool = True", "on_host: bool = False").replace("'the host'", "'sm_80, sm_90a and PTX'")
    assert stub == (ROOT / "fastembed_core" / "_cuda.pyi").read_text(), "fastembed_core/_cuda.pyi is not what pybind11-stubgen writes"
