"""The C++ below Python: every instruction set against plain loops, here and under an emulator, and what its objects define."""

from __future__ import annotations

import platform
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from programs import ROOT, run, tool

NATIVE_LEVELS = {
    "x86_64": ("scalar", "avx2", "avx512", "avx512icl", "avx512bf16"),
    "aarch64": ("scalar", "neon", "neoni8mm"),
    "arm64": ("scalar", "neon", "neoni8mm"),
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (ROOT / "csrc").is_dir(), reason="needs the source tree"),
]


Build = Callable[..., Path]


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Configures the tree without Python and builds one target; returns the build folder."""

    def build(target: str, *options: str) -> Path:
        cmake, ninja = tool("cmake"), tool("ninja")
        folder = tmp_path_factory.mktemp("native")
        switches = ("-DFASTEMBED_CORE_PYTHON=OFF", "-DFASTEMBED_CORE_TESTS=ON", f"-DCMAKE_MAKE_PROGRAM={ninja}")
        run(cmake, "-S", ROOT, "-B", folder, "-G", "Ninja", *switches, *options)
        run(cmake, "--build", folder, "--target", target, "-j", "2")
        return folder

    return build


@pytest.fixture(scope="module")
def release(build: Build) -> Path:
    tool("c++")
    return build("levels")


def verdicts(output: str) -> dict[str, str]:
    """Each level's closing line."""
    return dict(re.findall(r"^(\w+): (.*)$", output, re.MULTILINE))


def test_every_level_equals_plain_loops(release: Path) -> None:
    found = verdicts(run(release / "levels"))
    assert tuple(found) == NATIVE_LEVELS[platform.machine()]
    for level, verdict in found.items():
        assert re.fullmatch(r"[1-9]\d* checks, 0 failed|compiled, not run: .*", verdict), (level, verdict)
    assert found["scalar"].endswith("0 failed")


@pytest.mark.skipif(platform.machine() != "x86_64", reason="neon runs natively here")
def test_neon_under_an_emulator(build: Build) -> None:
    emulator = tool("qemu-aarch64")
    tool("aarch64-linux-gnu-g++")
    folder = build("levels", f"-DCMAKE_TOOLCHAIN_FILE={ROOT / 'cmake' / 'aarch64.cmake'}")
    levels = ("neon", "neoni8mm")
    with ThreadPoolExecutor() as pool:  # half a minute each
        outputs = list(pool.map(lambda level: run(emulator, "-cpu", "max", folder / "levels", level), levels))
    for level, output in zip(levels, outputs, strict=True):
        found = verdicts(output)
        assert list(found) == [level]
        assert re.fullmatch(r"[1-9]\d* checks, 0 failed", found[level])


@pytest.mark.parametrize("optimization", ["Release", "Debug"])
def test_an_instruction_set_defines_its_table_and_nothing_else(build: Build, release: Path, optimization: str) -> None:
    """One function compiled for AVX that another file also defines, or one static initializer, crashes older machines."""
    nm, readelf = tool("nm"), tool("readelf")
    folder = release if optimization == "Release" else build("fec", "-DCMAKE_BUILD_TYPE=Debug", "-DCMAKE_CXX_FLAGS_DEBUG=-O0")
    objects = sorted(folder.glob("**/cpu/isa/*.o"))
    assert [o.name.removesuffix(".cpp.o") for o in objects] == sorted(NATIVE_LEVELS[platform.machine()])
    for path in objects:
        level = path.name.removesuffix(".cpp.o")
        defined = {line.split()[-1] for line in run(nm, "--defined-only", "--extern-only", "--demangle", path).splitlines()}
        assert defined == {f"fec::kernels_{level}"}, path.name
        undefined = run(nm, "--undefined-only", "--demangle", path)
        assert "std::" not in undefined, undefined
        assert not re.search(r"\.(init_array|ctors)", run(readelf, "--sections", "--wide", path)), path.name


def test_no_openmp_runtime_is_linked() -> None:
    core = pytest.importorskip("fastembed_core._core")
    needed = re.findall(r"\(NEEDED\).*\[(.*)\]", run(tool("readelf"), "--dynamic", core.__file__))
    assert needed
    assert not [name for name in needed if re.match(r"lib(gomp|omp|iomp)", name)]
