"""README's figures are those of the committed results."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from programs import ROOT

sys.path.append(str(ROOT))  # last: an installed package stays before the source

from bench import readme

PAGE = """# Results

| work | shape | ours |
|---|---|---|
| one | Q 1 | 3 ms |
| two (0.26× the time of one) | Q 1 | 5 ms |
| two (0.31× the time of one) | Q 2 | 6 ms |

| another | table |
|---|---|
"""
README = """![picture](bench/results/zen.svg) It reaches <!-- bench: limits -->9 of that<!-- /bench -->.
<!-- bench: kernels -->
| work | shape | ours |
|---|---|---|
| two (0.5× the time of one) | Q 1 | 50 ms |
| one | Q 1 | 30 ms |
<!-- /bench -->
<!-- bench: hosts --><!-- /bench -->
"""


@pytest.fixture
def results(tmp_path: Path) -> Path:
    (tmp_path / "zen.md").write_text(PAGE)
    rates = {"fma": {"text": "7 GFLOP/s"}, "int8": {"text": "8 GMAC/s"}, "read": {"text": "9 GB/s"}}
    (tmp_path / "zen.json").write_text(json.dumps({"limits": rates}))
    return tmp_path


def test_readme_shows_the_results() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert readme.rebuilt(text) == text, "run `python bench/readme.py`"


def test_lines_are_brought_up_to_date(results: Path) -> None:
    text = readme.rebuilt(README, results)
    assert (
        "reaches <!-- bench: limits -->7 GFLOP/s of float32 multiply-adds, 8 GMAC/s of 8-bit ones, 9 GB/s of reading<!-- /bench -->."
        in text
    )
    assert "|---|---|---|\n| two (0.26× the time of one) | Q 1 | 5 ms |\n| one | Q 1 | 3 ms |\n<!-- /bench -->" in text
    assert "<!-- bench: hosts -->\n<!-- /bench -->" in text and readme.rebuilt(text, results) == text
    (results / "zen-hosts.md").write_text("| program | alone |\n|---|---|\n| encode | 1 s |\n| search | 2 s |\n")
    assert "<!-- bench: hosts -->\n| program | alone |\n|---|---|\n| encode | 1 s |\n| search | 2 s |\n<!-- /bench -->" in readme.rebuilt(
        text, results
    )


def test_what_cannot_be_rebuilt_is_refused(results: Path) -> None:
    for old, new, message in (
        ("| one | Q 1 |", "| one | Q 9 |", r"README shows 'one \| Q 9', which the results do not have"),
        ("zen.svg", "zen.png", "README names no picture of results"),
        ("<!-- bench: limits -->", "", "README has no block limits"),
    ):
        with pytest.raises(ValueError, match=message):
            readme.rebuilt(README.replace(old, new), results)
