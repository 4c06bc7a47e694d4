"""`python bench/readme.py`: README's figures, from the results of the machine that its picture names.

README's tables are lines of the results' pages, between `<!-- bench: kernels -->` or `<!-- bench: hosts -->` and `<!-- /bench -->`. Which
lines they are is README's choice: paste one to show it, delete one to drop it; an empty table takes all.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"
RESULTS = Path(__file__).parent / "results"
PAGES = {"kernels": (".md", 2), "hosts": ("-hosts.md", 1)}  # a table's page, and how many of its first cells name a line
RATES = {"fma": "float32 multiply-adds", "int8": "8-bit ones", "read": "reading"}


def rebuilt(readme: str, results: Path = RESULTS) -> str:
    """README with the figures of the results; ValueError where it shows a line that they do not have."""
    named = re.search(r"bench/results/([\w.-]+)\.svg", readme)
    if named is None:
        raise ValueError("README names no picture of results, expected bench/results/<machine>.svg")
    machine = named[1]
    for name, (suffix, cells) in PAGES.items():
        path = results / f"{machine}{suffix}"
        page = _first_table(path.read_text(encoding="utf-8")) if path.is_file() else []
        readme = _replaced(readme, name, lambda old, page=page, cells=cells: "\n".join(["", *_chosen(_first_table(old), page, cells), ""]))
    limits = json.loads((results / f"{machine}.json").read_text(encoding="utf-8"))["limits"]
    return _replaced(readme, "limits", lambda _: ", ".join(f"{limits[limit]['text']} of {what}" for limit, what in RATES.items()))


def _replaced(text: str, name: str, new: Callable[[str], str]) -> str:
    """`text` with other words between the marks of a block."""
    before, mark, rest = text.partition(f"<!-- bench: {name} -->")
    old, end, after = rest.partition("<!-- /bench -->")
    if not end:
        raise ValueError(f"README has no block {name}, expected {mark or f'<!-- bench: {name} -->'} and <!-- /bench -->")
    return before + mark + new(old) + end + after


def _first_table(text: str) -> list[str]:
    """The lines of a text's first table, its head among them."""
    found = re.search(r"(^\|.*\n)+", text, re.MULTILINE)
    return found[0].splitlines() if found else []


def _chosen(old: list[str], page: list[str], cells: int) -> list[str]:
    """The page's lines that have the names of the old ones, in their order."""
    lines = {_name(line, cells): line for line in page[2:]}
    names = [_name(line, cells) for line in old[2:]] or list(lines)
    missing = [" | ".join(name) for name in names if name not in lines]
    if missing:
        raise ValueError(f"README shows {missing[0]!r}, which the results do not have")
    return page[:2] + [lines[name] for name in names]


def _name(line: str, cells: int) -> tuple[str, ...]:
    """A line's first cells, without what it takes beside another, which is a figure."""
    return tuple(re.sub(r" \([\d.]+× the .*\)$", "", cell.strip()) for cell in line.strip("|").split("|")[:cells])


def main() -> int:
    README.write_text(rebuilt(README.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
