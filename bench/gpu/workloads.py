"""The work, its floor and its rivals. A rival computes the same thing as well as its library can; its answer is checked too."""

from __future__ import annotations

import importlib
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
    rivals: dict[str, Callable[[], Any] | str]  # or why there is none
    check: Callable[[Any, Any], bool]
    bytes: float
    operations: float = 0.0
    unit: str = "bf16"
    backend: str = "triton"
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


def bit_searches(device: str, scale: float) -> Iterator[Work]:
    """The floor is the larger of a read of the corpus and its bits multiplied as int8: binary tensor cores may beat that one."""
    n, dim = max(2000, int(10_000_000 * scale)), 1024
    bits = torch.randint(0, 256, (n, dim // 8), dtype=torch.uint8, device=device)
    counts = torch.tensor([i.bit_count() for i in range(256)], dtype=torch.uint8, device=device)
    shifts = torch.arange(8, dtype=torch.uint8, device=device)

    def signs(packed: torch.Tensor) -> torch.Tensor:
        return (((packed[:, :, None] >> shifts) & 1).flatten(1) * 2.0 - 1).bfloat16()

    def looked_up(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.stack([-counts[(one ^ b).int()].sum(1, dtype=torch.float32) for one in a])

    def distances(found: Any) -> torch.Tensor:
        scores = found[0]
        return scores if scores.dtype == torch.int32 else (-scores if (scores <= 0).all() else (dim - scores) / 2).int()

    for q, k in ((1, 10), (64, 10), (1024, 10), (1024, 100)) if scale == 1 else ((1, 10), (64, 10)):
        some = torch.randint(0, 256, (q, dim // 8), dtype=torch.uint8, device=device)

        def ours(some: torch.Tensor = some, k: int = k) -> Any:
            return fc.topk(some, bits, k, metric="hamming")

        def multiplied(some: torch.Tensor = some, k: int = k) -> Any:
            return chunked(lambda a, b: product(signs(a), signs(b)), some, bits, k, 1 << 20)

        def xored(some: torch.Tensor = some, k: int = k) -> Any:
            return chunked(looked_up, some, bits, k, 1 << 22)

        def tritons(some: torch.Tensor = some, k: int = k) -> Any:
            return fc.topk(some, bits, k, metric="hamming", backend="triton")

        rivals = {"bits as bf16, mm + topk": multiplied, "our Triton cell": tritons}
        if q == 1:
            rivals["torch xor, looked up + topk"] = xored
        yield Work(
            f"topk Hamming {dim} bits, Q {q}, k {k}",
            ours,
            rivals,
            lambda a, b: torch.equal(distances(a), distances(b)),  # ties are torch's to break
            float(bits.nbytes),
            2.0 * q * n * dim,
            "int8",
            "cuda",
        )


def small_searches(device: str, scale: float) -> Iterator[Work]:
    """Where launches take longer than scores: one launch against several."""
    for n, d, q in ((1_000, 384, 1), (10_000, 384, 1), (100_000, 384, 1), (10_000, 384, 16)):
        x, queries = randn(n, d, device, torch.float32), randn(q, d, device, torch.float32, seed=1)
        yield Work(
            f"topk float32, N {n:,} x {d}, Q {q}, k 10",
            lambda queries=queries, x=x: fc.topk(queries, x, 10, metric="ip"),
            {
                "our Triton cell": lambda queries=queries, x=x: fc.topk(queries, x, 10, metric="ip", backend="triton"),
                "torch mm + topk": lambda queries=queries, x=x: (queries @ x.T).topk(10, 1),
            },
            overlap,
            float(x.nbytes),
            backend="cuda",
        )


def peer(module: str, name: str) -> Callable[..., Any] | None:
    """A function of a library that may not be there."""
    try:
        found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError):
        return None
    return found


def nearest_searches(device: str, scale: float) -> Iterator[Work]:
    """Euclidean, as flashlib searches; the first at its own best shape."""
    flash_knn = peer("flashlib.primitives.knn", "flash_knn")
    shapes = ((10_000_000, 128, 1, 1), (1_000_000, 256, 64, 10), (1_000_000, 256, 1024, 10))
    for n, d, q, k in shapes if scale == 1 else ((20_000, 128, 1, 1),):
        x, queries = randn(n, d, device, torch.bfloat16), randn(q, d, device, torch.bfloat16, seed=1)

        def theirs(queries: torch.Tensor = queries, x: torch.Tensor = x, k: int = k) -> Any:
            assert flash_knn is not None
            found = flash_knn(queries, x, k, return_distances=False, backend="triton")
            return None, found[-1] if isinstance(found, tuple) else found

        yield Work(
            f"topk bf16 sqeuclidean, N {n:,} x {d}, Q {q}, k {k}",
            lambda queries=queries, x=x, k=k: fc.topk(queries, x, k, metric="sqeuclidean"),
            {"flashlib": "not installed" if flash_knn is None else theirs},
            overlap,
            float(x.nbytes),
            2.0 * q * n * d,
        )


def late(device: str, scale: float) -> Iterator[Work]:
    documents, length, d = max(80, int(5000 * scale)), max(8, int(1024 * scale)), 128
    tokens = randn(documents * length, d, device, torch.bfloat16).view(documents, length, d)
    query = randn(32, d, device, torch.bfloat16, seed=1)[None]

    def einsum() -> Any:
        return torch.einsum("qid,ntd->qnit", query, tokens).amax(3).float().sum(2).topk(10, 1)

    flash_maxsim, half = peer("flash_maxsim", "flash_maxsim"), (query[0].half(), tokens.half())  # its padded form, its own dtype

    def flash() -> Any:
        assert flash_maxsim is not None
        return flash_maxsim(*half).float()[None].topk(10, 1)

    yield Work(
        "maxsim bf16, 32 tokens x 5,000 documents of 1,024, k 10",
        lambda: fc.maxsim(query, tokens, k=10),
        {"torch einsum": einsum, "flash-maxsim": "not installed" if flash_maxsim is None else flash},
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


WORKLOADS = (pools, searches, coded_searches, bit_searches, small_searches, nearest_searches, late, assignments, bags)
