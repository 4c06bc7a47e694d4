"""The comparisons of bench/hosts at a small scale: the results of both sides agree. No time is asserted."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from bench import hosts, runner  # noqa: E402
from bench.hosts import __main__ as program  # noqa: E402
from bench.hosts import comparison  # noqa: E402


@pytest.mark.parametrize("name", hosts.HOSTS)
def test_results_agree(name: str) -> None:
    pytest.importorskip("torch")
    row = hosts.measure(name, 0.01, rounds=1, budget=0)
    if "reason" in row and not row["reason"].startswith("wrong"):
        pytest.skip(row["reason"])
    assert row.get("reason") is None
    assert row["alone"] > 0 and row["with_line"] > 0 and row["rounds"] == 1


def test_page_and_faults(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def absent(scale: float) -> hosts.Comparison:
        raise ImportError("No module named 'absent'")

    def of(same: bool) -> Any:
        return lambda scale: hosts.Comparison(lambda: 1, lambda: 1, lambda a, b: same and a == b)

    monkeypatch.setattr(runner, "pin_threads", lambda threads: None)
    programs = {"good": of(True), "absent": absent, "wrong": of(False)}
    for count, status in ((2, 0), (3, 1)):
        chosen = {name: hosts.Host(f"the {name} one", programs[name]) for name in list(programs)[:count]}
        monkeypatch.setattr(comparison, "HOSTS", chosen)
        monkeypatch.setattr(program, "HOSTS", chosen)
        monkeypatch.setattr(sys, "argv", ["hosts", "--output", str(tmp_path), "--rounds", "1"])
        assert program.main() == status
    (page,) = tmp_path.glob("*-hosts.md")
    (results,) = tmp_path.glob("*-hosts.json")
    rows = json.loads(results.read_text())["hosts"]
    assert [row.get("reason", "") for row in rows] == ["", "No module named 'absent'", "wrong: the results differ"]
    for text in (page.read_text(), capsys.readouterr().out):
        assert "| the absent one | not run: No module named 'absent' | | |" in text and "| the good one | " in text
