"""The work, its floor and its rivals. A rival computes the same thing as well as its library can; its answer is checked too."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

import fastembed_core as fc

CELLS = 1 << 29  # scores that a rival holds at a time


@dataclass
class Work:
    """One row of the table. The floor is the larger of bytes over the read rate and operations over the rate of `unit`."""

    name: str
    ours: Callable[[], Any]
    rivals: dict[str, Callable[[], Any]]
    check: Callable[[Any, Any], bool]
    bytes: float
    operations: float = 0.0
    unit: str = "bf16"
    source: str = "read"  # the rate of the bytes
    beside: str = ""  # an earlier row whose time over this one's is reported
    notes: dict[str, Any] = field(default_factory=dict)

    def floor(self, limits: dict[str, float]) -> float:
        """Seconds that no program can beat on this device."""
        return max(self.bytes / limits[self.source], self.operations / limits[self.unit])

    @property
    def formula(self) -> str:
        """The floor in words."""
        read = f"{self.bytes / 1e9:.3g} GB / {self.source}"
        return f"max({read}, {self.operations / 1e12:.3g} Tops / {self.unit})" if self.operations else read


def randn(n: int, d: int, device: str, dtype: torch.dtype, seed: int = 0) -> torch.Tensor:
    """Random rows, made block by block: float32 of all of them may not fit."""
    generator = torch.Generator(device).manual_seed(seed)
    out = torch.empty((n, d), dtype=dtype, device=device)
    for part in out.split(1 << 20):
        part.copy_(torch.randn(part.shape, generator=generator, device=device))
    return out


def chunked(
    score: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], q: torch.Tensor, x: torch.Tensor, k: int, most: int | None = None
) -> Any:
    """The k largest of score(q, x), in blocks of both, of at most `most` rows, merged: topk of torch in its best form."""
    found = []
    for queries in q.split(1024):
        best: Any = None
        step = max(k, min(CELLS // len(queries), most or len(x)))
        for lo in range(0, len(x), step):
            block = x[lo : lo + step]
            values, ids = score(queries, block).topk(min(k, len(block)), 1)
            ids = ids + lo
            if best is not None:
                values, place = torch.cat([best[0], values], 1).topk(k, 1)
                ids = torch.cat([best[1], ids], 1).gather(1, place)
            best = values, ids
        found.append(best)
    return tuple(torch.cat(part) for part in zip(*found, strict=True))


def overlap(ours: Any, theirs: Any) -> bool:
    """Nine tenths of the rows are the same; a rival's arithmetic is its own."""
    a, b = (np.sort(part[1][:64].cpu().numpy(), 1) for part in (ours, theirs))
    return bool(np.mean([len(np.intersect1d(x, y)) / len(x) for x, y in zip(a, b, strict=True)]) > 0.9)


def product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    try:
        return torch.mm(a, b.T, out_dtype=torch.float32)
    except (TypeError, NotImplementedError, RuntimeError):  # not in this torch, or not on the host
        return (a @ b.T).float()


def pools(device: str, scale: float) -> Iterator[Work]:
    b, t, d = max(2, int(256 * scale)), max(16, int(512 * scale)), 1024
    x = randn(b * t, d, device, torch.bfloat16).view(b, t, d)

    def plain(x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        m = mask[..., None]
        return torch.nn.functional.normalize((x * m).float().sum(1) / m.float().sum(1), dim=1)

    compiled = torch.compile(plain) if device != "cpu" else plain
    for share in (0.6, 1.0):
        mask = torch.arange(t, device=device)[None] < max(1, int(share * t)) + torch.zeros(b, 1, device=device, dtype=torch.long)
        for precision in ("float32", "int8_row"):

            def ours(mask: torch.Tensor = mask, precision: str = precision) -> Any:
                return fc.pool(x, mask, normalize=True, precision=precision)

            def close(a: Any, b: Any) -> bool:
                return isinstance(a, fc.Codes) or bool((a - b).abs().max() < 1e-2)

            rivals = {"torch.compile": lambda mask=mask: compiled(x, mask)}
            yield Work(f"pool mean + L2, {share:.0%} valid, {precision}", ours, rivals, close, 2.0 * d * float(mask.sum()))


def late(device: str, scale: float) -> Iterator[Work]:
    documents, length, d = max(80, int(5000 * scale)), max(8, int(1024 * scale)), 128
    tokens = randn(documents * length, d, device, torch.bfloat16).view(documents, length, d)
    query = randn(32, d, device, torch.bfloat16, seed=1)[None]

    def einsum() -> Any:
        return torch.einsum("qid,ntd->qnit", query, tokens).amax(3).float().sum(2).topk(10, 1)

    rivals = {"torch einsum": einsum}
    missing = "; flash-maxsim: not installed"
    if importlib.util.find_spec("flash_maxsim") is not None:
        from flash_maxsim import flash_maxsim

        half, missing = (query[0].half(), tokens.half()), ""  # its padded form, in its own dtype
        rivals["flash-maxsim"] = lambda: flash_maxsim(*half).float()[None].topk(10, 1)
    yield Work(
        f"maxsim bf16, 32 tokens x 5,000 documents of 1,024, k 10{missing}",
        lambda: fc.maxsim(query, tokens, k=10),
        rivals,
        overlap,
        float(tokens.nbytes),
        2.0 * 32 * tokens.numel(),
    )


def bags(device: str, scale: float) -> Iterator[Work]:
    table = fc.quantize(randn(max(1000, int(4_000_000 * scale)), 256, device, torch.float16), "int8_row")
    ids = torch.randint(0, len(table), (max(8, int(16384 * scale)), 32), device=device)
    half_table = fc.dequantize(table).half()
    yield Work(
        "embedding_bag int8, 16,384 bags of 32, D 256",
        lambda: fc.embedding_bag(table, ids),
        {"F.embedding_bag half": lambda: torch.nn.functional.embedding_bag(ids, half_table)},
        lambda a, b: bool((a - b).abs().max() < 0.05),
        float(ids.numel() * 256),
    )


WORKLOADS = (pools, late, bags)
