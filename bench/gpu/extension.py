"""Searches by the CUDA C++ cells, beside Triton's: bits at any number of queries, and floats so few that launches are what takes time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

import fastembed_core as fc
from fastembed_core.backends.cuda import BACKEND

from .workloads import Work, chunked, overlap, product, randn


def bit_searches(device: str, scale: float) -> Iterator[Work]:
    """The floor is the larger of a read of the corpus and its bits multiplied as int8: binary tensor cores may beat that one."""
    if BACKEND.missing():
        return
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
            return fc.topk(some, bits, k, metric="hamming", backend="cuda")

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
            f"CUDA C++: topk Hamming {dim} bits, Q {q}, k {k}",
            ours,
            rivals,
            lambda a, b: torch.equal(distances(a), distances(b)),  # ties are torch's to break
            float(bits.nbytes),
            2.0 * q * n * dim,
            "int8",
        )


def small_searches(device: str, scale: float) -> Iterator[Work]:
    """One launch against several."""
    if BACKEND.missing():
        return
    for n, d, q in ((1_000, 384, 1), (10_000, 384, 1), (100_000, 384, 1), (10_000, 384, 16))[: None if scale == 1 else 2]:
        x, queries = randn(n, d, device, torch.float32), randn(q, d, device, torch.float32, seed=1)
        yield Work(
            f"CUDA C++: topk float32, N {n:,} x {d}, Q {q}, k 10",
            lambda queries=queries, x=x: fc.topk(queries, x, 10, metric="ip", backend="cuda"),
            {
                "our Triton cell": lambda queries=queries, x=x: fc.topk(queries, x, 10, metric="ip", backend="triton"),
                "torch mm + topk": lambda queries=queries, x=x: (queries @ x.T).topk(10, 1),
            },
            overlap,
            float(x.nbytes),
        )


WORKLOADS = (bit_searches, small_searches)
