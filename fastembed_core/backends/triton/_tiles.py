"""How a scan is cut: one small table, of which `make bench-gpu ARGS=--tune` times every candidate and prints the fastest."""

from __future__ import annotations

from typing import NamedTuple


class Tile(NamedTuple):
    """What one program takes: queries and rows, stored elements at a step, and how it is compiled."""

    queries: int
    rows: int
    step: int
    warps: int
    stages: int


Key = tuple[str, int]  # what is multiplied ("packed" of several elements in one stored), and the most queries
FEW, SOME, MANY = 16, 64, 1 << 30  # queries of a tile up to which its rows are the product's first operand: 64

TILES: dict[Key, Tile] = {
    ("bf16", FEW): Tile(16, 128, 64, 4, 3),
    ("bf16", SOME): Tile(64, 128, 64, 4, 3),
    ("bf16", MANY): Tile(128, 128, 64, 8, 3),
    ("fp16", FEW): Tile(16, 128, 64, 4, 3),
    ("fp16", SOME): Tile(64, 128, 64, 4, 3),
    ("fp16", MANY): Tile(128, 128, 64, 8, 3),
    ("tf32", FEW): Tile(16, 128, 32, 4, 3),
    ("tf32", SOME): Tile(64, 128, 32, 4, 3),
    ("tf32", MANY): Tile(128, 128, 32, 8, 3),
    ("int8", FEW): Tile(16, 128, 128, 4, 3),
    ("int8", SOME): Tile(64, 128, 128, 4, 3),
    ("int8", MANY): Tile(128, 128, 128, 8, 3),
    ("packed", FEW): Tile(16, 128, 64, 8, 3),
    ("packed", SOME): Tile(64, 128, 64, 8, 3),
    ("packed", MANY): Tile(128, 128, 64, 8, 3),
}


def key_of_tile(kind: str, planes: int, t: int) -> Key:
    return "packed" if planes > 1 else kind, next(most for most in (FEW, SOME, MANY) if t <= most)


def tile_of(kind: str, planes: int, t: int) -> Tile:
    """The tile for t queries; of few queries it is no wider than they need."""
    return TILES[key_of_tile(kind, planes, t)]


def candidates(key: Key) -> list[Tile]:
    """Other ways to cut the same scan: wider, narrower, deeper pipelines, longer steps."""
    own = TILES[key]
    wide = (128, 256) if key[1] == MANY else (128,)
    found = [
        Tile(queries, rows, step, warps, stages)
        for queries in {own.queries, *((64, 128) if key[1] == MANY else (own.queries,))}
        for rows in wide
        for step in (own.step, 2 * own.step)
        for warps in (4, 8)
        for stages in (2, 3, 4)
    ]
    return [own, *(tile for tile in found if tile != own)]
