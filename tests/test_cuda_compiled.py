"""The CUDA kernels as nvcc compiles them for sm_80 and sm_90a: no GPU runs them, but what they became can be read."""

from __future__ import annotations

import importlib.util
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from programs import ROOT, run, tool

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not (ROOT / "csrc").is_dir(), reason="needs the source tree")]

TARGETS = ("sm_80", "sm_90a")
REGISTERS = {"BitScorerILi1E": 64, "scan_kernel": 80, "minima_kernel": 128}  # for 4, 3 and 2 blocks a multiprocessor


@dataclass
class Kernel:
    """One entry point on one target: what ptxas reports, and its instructions."""

    name: str  # mangled
    registers: int
    stack: int
    spills: int
    code: str = ""

    def count(self, pattern: str) -> int:
        return len(re.findall(pattern, self.code))


def disassembler() -> str:
    """cuobjdump: the toolkit's, or the one inside Triton."""
    found = shutil.which("cuobjdump")
    triton = importlib.util.find_spec("triton")
    beside = Path(triton.origin).parent / "backends" / "nvidia" / "bin" / "cuobjdump" if triton and triton.origin else None
    if found is None and (beside is None or not beside.exists()):
        pytest.skip("cuobjdump is not installed")
    return found or str(beside)


def reported(log: str) -> Iterator[tuple[str, Kernel]]:
    """Each (target, kernel) of ptxas' report."""
    parts = re.split(r"Compiling entry function '(\w+)' for '(\w+)'", log)
    for name, target, said in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
        stack, stores, loads = re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", said).groups()
        registers = re.search(r"Used (\d+) registers", said).group(1)
        yield target, Kernel(name, int(registers), int(stack), int(stores) + int(loads))


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Kernel]]:
    """Every kernel by target, of every .cu."""
    nvcc, cuobjdump, folder = tool("nvcc"), disassembler(), tmp_path_factory.mktemp("sass")
    targets = [f"-gencode=arch=compute_{t[3:]},code={t}" for t in TARGETS]
    found: dict[str, list[Kernel]] = {target: [] for target in TARGETS}
    for source in sorted((ROOT / "csrc" / "cuda").glob("*.cu")):
        binary = folder / f"{source.stem}.fatbin"
        options = ("-std=c++17", "-O3", "-fmad=false", "-Werror", "all-warnings", *targets, "-Xptxas", "-v", "-fatbin")
        log = run("sh", "-c", '"$@" 2>&1', "sh", nvcc, *options, "-o", binary, source)
        code = disassembled(run(cuobjdump, "-sass", binary))
        for target, kernel in reported(log):
            kernel.code = code[target.rstrip("a"), kernel.name]
            found[target].append(kernel)
    return found


def disassembled(listing: str) -> dict[tuple[str, str], str]:
    """The instructions of each (architecture, kernel)."""
    code: dict[tuple[str, str], str] = {}
    for part in re.split(r"\n(?=\t*code for sm_)", listing):
        target = re.match(r"\t*code for (sm_\d+)", part)
        names = re.split(r"Function : (\w+)", part)
        if target is not None:
            code |= {(target.group(1), name): body for name, body in zip(names[1::2], names[2::2], strict=True)}
    return code


def test_the_build_names_every_source() -> None:
    build = (ROOT / "CMakeLists.txt").read_text()
    assert all(f"csrc/cuda/{source.name}" in build for source in (ROOT / "csrc" / "cuda").glob("*.cu"))


@pytest.mark.parametrize("target", TARGETS)
def test_resources(kernels: dict[str, list[Kernel]], target: str) -> None:
    """Nothing spills, and registers leave room for the blocks a launch counts on. Shared memory is asserted when it is compiled."""
    assert len(kernels[target]) == 9 + 2 + 2 + 1  # scans of floats and of bits, minima, selection
    for kernel in kernels[target]:
        assert (kernel.stack, kernel.spills) == (0, 0), kernel
        assert kernel.registers <= next(most for name, most in REGISTERS.items() if name in kernel.name), kernel


@pytest.mark.parametrize("target", TARGETS)
def test_instructions(kernels: dict[str, list[Kernel]], target: str) -> None:
    for kernel in kernels[target]:
        assert not kernel.count(r"\b(ATOM|ATOMG|ATOMS|RED)\.\S*F(16|32|64)"), "no atomics on floats"
        assert not kernel.count(r"\bBMMA\S*XOR"), "two instructions on sm_90"
        if "minima_kernel" in kernel.name:
            assert kernel.count(r"BMMA\.168256\.AND\.POPC") >= 4
            assert kernel.count("LDSM") >= 3 and kernel.count(r"LDGSTS\.E\.BYPASS\.128") >= 1
        elif "BitScorer" in kernel.name:
            assert kernel.count(r"LDG\.E\.128") >= 4 and kernel.count(r"\bPOPC\b") >= 16
        elif "FormE0E" in kernel.name:  # ip: neither a root nor a division, which are made of fused steps
            assert kernel.count("DMUL") and kernel.count("DADD") and not kernel.count("DFMA")
