"""The benchmarks of the device at sizes that only show that they run and that answers agree with their rivals'."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from bench.gpu import __main__ as program
from bench.gpu import searches, tune
from fastembed_core.backends.triton import _tiles

LIMITS = {"read": 1.0, "copy": 1.0, "bf16": 1.0, "int8": 1.0}


@pytest.mark.parametrize("made", searches.WORKLOADS, ids=lambda made: made.__name__)
def test_workloads(device: str, made: object) -> None:
    if device != "cpu":
        pytest.skip("make bench-gpu runs them")
    rows: list[program.Row] = []
    for work in made(device, 1e-6):
        rows.append(program.row_of(work, LIMITS, {row.name: row.seconds for row in rows}))
    assert rows and all(row.fraction > 0 and row.formula for row in rows)
    assert program.table(rows, LIMITS).count("\n| ") == len(rows) + 2
    assert any(row.beside for row in rows) == (made is searches.exact)


def test_tuning_tries_other_tiles_and_puts_its_own_back(device: str) -> None:
    before = dict(_tiles.TILES)
    key = ("fp16", _tiles.FEW)
    q, x = (torch.randn(n, 64, device=device).half() for n in (3, 200))
    score = tune.score_of(*(tune.rows_of(side, "x")[0] for side in (q, x)), "ip")
    sides = [tune.side_of(tune.rows_of(side, "x")[0], score, torch.device(device)) for side in (q, x)]
    assert 0 < tune.timed(_tiles.candidates(key)[1], key, *sides, score) < float("inf")
    assert before == _tiles.TILES
