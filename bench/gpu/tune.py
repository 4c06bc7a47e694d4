"""Times every way to cut a scan on this device and prints the table of the fastest: `make bench-gpu ARGS=--tune`."""

from __future__ import annotations

import torch

import fastembed_core as fc
from fastembed_core.backends.triton import _tiles
from fastembed_core.backends.triton._allowed import Allowed
from fastembed_core.backends.triton._launch import on
from fastembed_core.backends.triton._operand import Side, side_of
from fastembed_core.backends.triton._scan import Scan, scan_keys, squares_of
from fastembed_core.operands import rows_of
from fastembed_core.ops.scores import score_of

from .limits import seconds
from .workloads import randn

GROUP = 64
COUNTS = {_tiles.FEW: 1, _tiles.SOME: 64, _tiles.MANY: 1024}
METRICS = {"packed": "hamming"}


def operand(kind: str, n: int, d: int, device: str, seed: int) -> object:
    """Rows that a scan multiplies in `kind`."""
    if kind in ("bf16", "tf32", "fp16"):
        return randn(n, d, device, {"bf16": torch.bfloat16, "tf32": torch.float32, "fp16": torch.float16}[kind], seed)
    codes = fc.quantize(randn(n, d, device, torch.float16, seed), "int8_row" if kind == "int8" else "ubinary")
    return codes.data if kind == "int8" else codes


def tuned(kind: str, device: str, n: int, d: int) -> dict[_tiles.Key, tuple[_tiles.Tile, float]]:
    """The fastest tile for each number of queries, and its seconds."""
    metric = METRICS.get(kind, "ip")
    where, best = torch.device(device), {}
    x = rows_of(operand(kind, n, d, device, 0), "x", metric)[0]
    for key in (key for key in _tiles.TILES if key[0] == kind):
        q = rows_of(operand(kind, COUNTS[key[1]], d, device, 1), "x", metric)[0]
        score = score_of(q, x, metric)
        left, right = side_of(q, score, where), side_of(x, score, where)
        times = {tile: timed(tile, key, left, right, score) for tile in _tiles.candidates(key)}
        tile = min(times, key=lambda tile: times[tile])
        best[key] = tile, times[tile]
        own = times[_tiles.candidates(key)[0]]
        print(f"# {key}: {times[tile] * 1e3:.3f} ms, the present one {own * 1e3:.3f} ms", flush=True)
    return best


def timed(tile: _tiles.Tile, key: _tiles.Key, q: Side, x: Side, score: object) -> float:
    """Seconds of a scan so cut; infinite where the device cannot run it."""
    kind = "int8" if key[0] == "packed" else key[0]
    keys = torch.empty((q.n, -(-x.n // GROUP)), dtype=torch.int32, device=x.data.device)
    own, _tiles.TILES[key] = _tiles.TILES[key], tile
    try:
        with on(x.data.device):
            squares = squares_of(x, kind) if q.n > _tiles.SOME else None
            may = Allowed(None, None, x.data.device)
            return seconds(lambda: scan_keys(Scan(x, kind), q, 0, keys, GROUP, score, may, squares), runs=5, most=0.5)
    except Exception as error:  # out of registers or shared memory: Triton has its own classes for it
        print(f"# {tile}: {type(error).__name__}", flush=True)
        return float("inf")
    finally:
        _tiles.TILES[key] = own


def main(device: str, scale: float, only: str) -> None:
    """Print `_tiles.TILES` as it should be; `only` names what is multiplied, else all."""
    n = max(2000, int(2_000_000 * scale))
    print("TILES: dict[Key, Tile] = {")
    for kind in dict.fromkeys(key[0] for key in _tiles.TILES):
        if only in kind:
            names = {_tiles.FEW: "FEW", _tiles.SOME: "SOME", _tiles.MANY: "MANY"}
            for (_, most), (tile, _) in tuned(kind, device, n, 768 if kind != "packed" else 1024).items():
                print(f'    ("{kind}", {names[most]}): Tile({", ".join(map(str, tile))}),', flush=True)
    print("}")
