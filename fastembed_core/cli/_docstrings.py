"""The docstrings of Python's standard library, read from its source: nothing is imported, so nothing runs."""

from __future__ import annotations

import ast
import sys
import sysconfig
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

# Not part of the default subset: toolkits and machinery whose many docstrings few people search.
ASIDE = frozenset({"distutils", "encodings", "ensurepip", "idlelib", "lib2to3", "pydoc_data", "tkinter", "turtle", "turtledemo", "venv"})
TESTS = frozenset({"test", "tests", "idle_test"})


class Docstring(NamedTuple):
    """A qualified name (``shutil.copytree``) and the whole docstring."""

    name: str
    text: str

    @property
    def summary(self) -> str:
        """The first paragraph, on one line: what a docstring is about; the rest drowns it in a mean over tokens."""
        return " ".join(self.text.partition("\n\n")[0].split())

    @property
    def public(self) -> bool:
        return not any(part.startswith("_") for part in self.name.split("."))


def collect(everything: bool = False, modules: Iterable[str] | None = None) -> list[Docstring]:
    """Docstrings of modules, classes, functions and methods, sorted by module and place, each text once.

    The default is the public names of all modules but those in `ASIDE`; `everything` adds these and private names.
    `modules` names the top-level modules to read instead.
    """
    root = Path(sysconfig.get_path("stdlib"))
    tops = sorted(sys.stdlib_module_names - (frozenset() if everything else ASIDE) if modules is None else modules)
    seen: set[str] = set()  # texts, by their summaries: what is embedded
    found = []
    for top in tops:
        for path in _sources(root, top):
            for docstring in _of_file(path, _module_name(path.relative_to(root))):
                if (everything or docstring.public) and docstring.summary not in seen:
                    seen.add(docstring.summary)
                    found.append(docstring)
    if not found:
        raise FileNotFoundError(f"no Python source in {root}, expected the standard library's modules there")
    return found


def _sources(root: Path, top: str) -> list[Path]:
    """The source files of a top-level module, without its tests."""
    package = root / top
    if package.is_dir():
        return sorted(path for path in package.rglob("*.py") if not TESTS & set(path.relative_to(root).parts))
    module = root / f"{top}.py"
    return [module] if module.is_file() else []


def _module_name(path: Path) -> str:
    """The name people import: ``_pydecimal`` is the source of ``decimal``, ``_collections_abc`` of ``collections.abc``."""
    parts = path.with_suffix("").parts
    name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    if name == "_collections_abc":
        return "collections.abc"
    public = name.removeprefix("_py")
    return public if public in sys.stdlib_module_names else name


def _of_file(path: Path, module: str) -> Iterator[Docstring]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes in the library's own strings
        try:
            tree = ast.parse(path.read_bytes())
        except (OSError, SyntaxError, ValueError, RecursionError):  # a template, or a file of another Python
            return
    yield from _of_node(tree, module)


def _of_node(node: ast.AST, name: str) -> Iterator[Docstring]:
    if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
        text = ast.get_docstring(node)
        if text and text.strip():
            yield Docstring(name, text.strip())
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            return  # what is defined inside a function has no name to import
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            yield from _of_node(child, f"{name}.{child.name}")
        elif isinstance(child, (ast.If, ast.Try, ast.With, ast.ExceptHandler)):
            yield from _of_node(child, name)
