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
    notes: dict[str, Any] = field(default_factory=dict)


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


def searches(device: str, scale: float) -> Iterator[Work]:
    n, d = max(2000, int(10_000_000 * scale)), 768
    for kind, dtype in (("bf16", torch.bfloat16), ("f32", torch.float32)):
        x = randn(n, d, device, dtype)
        for q, k in ((1, 10), (64, 10), (1024, 10), (1024, 100), (1024, 1000), (10_000, 10)):
            if (kind == "f32" and (q, k) != (64, 10)) or (scale < 1 and q > 64):
                continue
            queries = randn(q, d, device, dtype, seed=1)
            yield Work(
                f"topk {kind}, Q {q}, k {k}",
                lambda queries=queries, k=k, x=x: fc.topk(queries, x, k, metric="ip"),
                {"torch mm + topk": lambda queries=queries, k=k, x=x: chunked(product, queries, x, k)},
                overlap,
                float(x.nbytes),
                2.0 * q * n * d,
            )


def coded_searches(device: str, scale: float) -> Iterator[Work]:
    n, d = max(2000, int(10_000_000 * scale)), 768
    x = fc.quantize(randn(n, d, device, torch.float16), "int8_row")
    for q in (64, 1024) if scale == 1 else (64,):
        queries = fc.quantize(randn(q, d, device, torch.float16, seed=1), "int8_row")

        def product8(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            return torch._int_mm(a, b.T).float()

        yield Work(
            f"topk int8, Q {q}, k 10",
            lambda queries=queries: fc.topk(queries.data, x.data, 10, metric="ip"),
            {"torch._int_mm + topk": lambda queries=queries: chunked(product8, queries.data, x.data, 10)},
            overlap,
            float(n * d),
            2.0 * q * n * d,
            "int8",
        )
    bits = torch.randint(0, 256, (n, 128), dtype=torch.uint8, device=device)
    for q in (1, 1024) if scale == 1 else (1,):
        some = bits[:q] ^ (torch.rand(q, 128, device=device) < 0.1).to(torch.uint8)

        def signs(packed: torch.Tensor) -> torch.Tensor:
            shifts = torch.arange(8, dtype=torch.uint8, device=device)
            return (((packed[:, :, None] >> shifts) & 1).flatten(1) * 2.0 - 1).bfloat16()

        yield Work(
            f"topk Hamming 1024 bits, Q {q}, k 10",
            lambda some=some: fc.topk(some, bits, 10, metric="hamming"),
            {"bits as bf16, mm + topk": lambda some=some: chunked(lambda a, b: product(signs(a), signs(b)), some, bits, 10)},
            lambda a, b: True,  # nearly all are ties, which torch breaks as it likes
            float(bits.nbytes),
            2.0 * q * n * 1024,
            "int8",
        )


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


def assignments(device: str, scale: float) -> Iterator[Work]:
    n, centroids = max(1000, int(10_000_000 * scale)), max(700, int(20_000 * scale))
    x, c = randn(n, 256, device, torch.bfloat16), randn(centroids, 256, device, torch.bfloat16, seed=1)

    def nearest() -> Any:
        half = (c.float() ** 2).sum(1) / 2
        return chunked(lambda a, b: product(a, b) - half, x, c, 1)[::-1]

    yield Work(
        "assign 10M x 256 to 20k centroids",
        lambda: fc.assign(x, c),
        {"torch mm + max": nearest},
        lambda a, b: bool((a[0] == b[0][:, 0]).float().mean() > 0.9),
        float(x.nbytes),
        2.0 * n * centroids * 256,
    )


def bags(device: str, scale: float) -> Iterator[Work]:
    table = fc.quantize(randn(max(1000, int(4_000_000 * scale)), 256, device, torch.float16), "int8_row")
    ids = torch.randint(0, len(table), (max(8, int(16384 * scale)), 32), device=device)
    half_table = fc.dequantize(table).half()
    yield Work(
        "embedding_bag int8, 16,384 bags of 32, D 256",
        lambda: fc.embedding_bag(table, ids.cpu().numpy()),
        {"F.embedding_bag half": lambda: torch.nn.functional.embedding_bag(ids, half_table)},
        lambda a, b: bool((a - b).abs().max() < 0.05),
        float(ids.numel() * 256),
    )


WORKLOADS = (pools, searches, coded_searches, late, assignments, bags)
