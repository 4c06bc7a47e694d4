"""The package as it is installed: what importing it loads, what it names, what its wheel holds, and life without a compiler."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import os
import re
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from programs import ROOT, run, run_python

import fastembed_core

SOURCE = pytest.mark.skipif(not (ROOT / "pyproject.toml").is_file(), reason="needs the source tree")


def loaded_by(code: str) -> set[str]:
    """Top-level modules that `code` loads beyond the standard library and what numpy loads."""
    listing = "; import sys; print(*{name.partition('.')[0] for name in sys.modules})"
    found = [set(run_python(c + listing).split()) for c in ("import numpy", f"import numpy; {code}")]
    return found[1] - found[0] - sys.stdlib_module_names


def test_importing_loads_nothing_but_numpy() -> None:
    assert loaded_by("import fastembed_core") == {"fastembed_core"}
    assert run_python("import fastembed_core, sys; print('fastembed_core._core' in sys.modules)") == "False\n"


def test_every_public_name_resolves_without_an_optional_package() -> None:
    assert loaded_by("import fastembed_core as f; [getattr(f, n) for n in f.__all__]") == {"fastembed_core"}


def test_numpy_operands_do_not_load_torch() -> None:
    code = "import fastembed_core as f; x = numpy.eye(4, dtype='f'); f.topk(x, x, 2); f.normalize(x); f.quantize(x, 'int8_row')"
    assert not loaded_by(code) & {"torch", "numba", "triton"}


def test_public_names_are_their_homes() -> None:
    for name in fastembed_core.dispatch.BUILT_IN:  # importing a backend must not shadow a public name
        importlib.import_module(f"fastembed_core.backends.{name}")
    assert dir(fastembed_core) == sorted(fastembed_core.__all__)
    for name, home in fastembed_core._HOMES.items():
        assert getattr(fastembed_core, name) is getattr(importlib.import_module(f"fastembed_core.{home}"), name)
        assert getattr(fastembed_core, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = fastembed_core.nothing


def test_type_checkers_see_every_public_name() -> None:
    tree = ast.parse(Path(fastembed_core.__file__).read_text())
    (block,) = [n for n in tree.body if isinstance(n, ast.If) and getattr(n.test, "id", "") == "TYPE_CHECKING"]
    seen = {alias.asname: f"{n.module}" for n in block.body if isinstance(n, ast.ImportFrom) for alias in n.names}
    assert seen == fastembed_core._HOMES


def test_the_version_is_the_distribution_s() -> None:
    try:
        version = importlib.metadata.version("fastembed-core")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("imported in place, not installed")
    assert fastembed_core.__version__ == version


def test_the_stub_is_the_extension(tmp_path: Path) -> None:
    pytest.importorskip("fastembed_core._core")
    pytest.importorskip("pybind11_stubgen")
    code = f"import pybind11_stubgen; pybind11_stubgen.main(['fastembed_core._core', '--exit-code', '-o', {str(tmp_path)!r}])"
    run_python(code)
    stub = (tmp_path / "fastembed_core" / "_core.pyi").read_text()
    assert stub == Path(fastembed_core.__file__).with_name("_core.pyi").read_text(), "make stubs writes it anew"


def wheel(source: Path, folder: Path, **env: str) -> Path:
    """Builds a wheel of `source` offline and unoptimized, with the build tools of this environment."""
    for needed in ("pip", "scikit_build_core", "pybind11"):
        pytest.importorskip(needed)
    where = {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
    options = (
        "--no-index",
        "--no-deps",
        "--no-build-isolation",
        "--quiet",
        "--config-settings",
        f"build-dir={folder / 'build'}",
        "--config-settings",
        "cmake.build-type=Debug",
    )
    run(sys.executable, "-m", "pip", "wheel", *options, "-w", folder, source, env={**os.environ, **where, **env}, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


@SOURCE
@pytest.mark.slow
def test_a_wheel_built_from_the_source_distribution(tmp_path: Path) -> None:
    """The source distribution is complete, holds no data, and its wheel holds the package and nothing else."""
    pytest.importorskip("scikit_build_core")
    run(sys.executable, "-c", f"import scikit_build_core.build as b; b.build_sdist({str(tmp_path)!r})", cwd=ROOT)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as source:
        names = [name.partition("/")[2] for name in source.getnames()]
    assert {"LICENSE", "README.md", "CMakeLists.txt", "constraints.txt", "csrc/cpu/dispatch.cpp", "tests/test_package.py"} <= set(names)
    assert not [n for n in names if re.search(r"\.(npy|npz|gz|json|so|o|pyc)$|^bench/results|^build/", n)]

    built = wheel(archive, tmp_path, FASTEMBED_CORE_REQUIRE_NATIVE="1")
    with zipfile.ZipFile(built) as content:
        names = content.namelist()
        metadata = content.read(next(n for n in names if n.endswith("dist-info/METADATA"))).decode()
    modules = {str(p.relative_to(ROOT)) for p in (ROOT / "fastembed_core").rglob("*.py")}
    compiled = [n for n in names if n.endswith(".so")]
    assert len(compiled) == 1
    expected = modules | {"fastembed_core/py.typed", "fastembed_core/_core.pyi", "fastembed_core/_cuda.pyi", compiled[0]}
    assert {n for n in names if ".dist-info/" not in n} == expected
    assert any(n.endswith("licenses/LICENSE") for n in names)
    assert re.findall(r"^Requires-Dist: (?!.*extra)(.*)$", metadata, re.MULTILINE) == ["numpy>=1.26"]


@SOURCE
@pytest.mark.slow
def test_without_a_compiler_it_installs_as_pure_python_and_works(tmp_path: Path) -> None:
    none = str(tmp_path / "none")
    built = wheel(ROOT, tmp_path, CC=none, CXX=none, FASTEMBED_CORE_REQUIRE_NATIVE="")
    assert built.name.endswith("-py3-none-any.whl")
    installed = tmp_path / "site"
    with zipfile.ZipFile(built) as content:
        content.extractall(installed)
    code = """
import numpy as np, fastembed_core as f
x = np.random.default_rng(0).standard_normal((40, 24), dtype=np.float32)
scores, indices = f.topk(x, x, 3)
assert (indices[:, 0] == np.arange(40)).all()
scores2, indices2 = f.topk(x, x, 3, backend="reference")
assert (scores.view(np.int32) == scores2.view(np.int32)).all() and (indices == indices2).all()
print(f.__file__)
print(f.explain("topk"))
"""
    where, explained = run_python(code, path=installed, FASTEMBED_CORE_BACKEND="auto").splitlines()
    assert where.startswith(str(installed))
    assert re.search(r"topk: numpy .*passed over cpu: the compiled extension is not installed", explained)
    info = run_python("from fastembed_core.cli import main; main(['info'])", path=installed)
    assert "the compiled extension is not installed" in info


def examples(page: str) -> list[str]:
    """The Python blocks of a page."""
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)


@SOURCE
def test_the_readme_s_examples_run() -> None:
    first, corpus = examples("README.md")
    assert run_python(first).startswith("topk: ")
    assert re.fullmatch(r"Corpus\(5001 x 384, float32.*, cosine\) \[75000 75001\]\n", run_python(corpus))


@SOURCE
def test_the_guide_s_examples_run_from_top_to_bottom() -> None:
    held, small, explained = run_python("".join(examples("docs/GUIDE.md"))).splitlines()
    n, d = 10_000, 128
    assert held in (f"{4 * n * d} {n * d + 12 * n}", f"{4 * n * d} 0")  # without the extension there are no codes
    assert small == f"Corpus({n} x {d}, int8_row, cosine) {n * d + 4 * n}"
    assert explained.startswith("2 topk: ")


@SOURCE
def test_links_lead_somewhere() -> None:
    for page in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")):
        for link in re.findall(r"\]\((?!\w+:)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page.name} links to {link}"


def source_files() -> list[Path]:
    folders = ("fastembed_core", "csrc", "cmake", "tests", "bench", "docs", ".ci")
    suffixes = {".py", ".pyi", ".cpp", ".h", ".cmake", ".md", ".toml", ".txt", ".cu", ""}
    found = [p for folder in folders for p in (ROOT / folder).rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    return [p for p in [*found, *(q for q in ROOT.iterdir() if q.is_file())] if p.suffix in suffixes]


@SOURCE
def test_files_stay_small_and_speak_of_no_machine() -> None:
    assert len(source_files()) > 50
    machine = re.compile(r"(^|[^\w.])/(work|root|home/\w+|tmp/\w+)/", re.MULTILINE)
    for path in source_files():
        text = path.read_text()
        if path.suffix in {".py", ".cpp", ".h", ".cu"}:
            assert text.count("\n") <= (600 if "tests" in path.parts else 450), f"{path.relative_to(ROOT)} has outgrown one head"
        assert not machine.search(text), f"{path.relative_to(ROOT)} names a path of some machine"
