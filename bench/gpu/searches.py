"""Searches: top-k of every type, ranges, assignment, and corpora on the device, through codes and streamed through it."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable, Iterator
from typing import Any

import torch

import fastembed_core as fc
from fastembed_core import scan_codes

from .workloads import CELLS, Work, chunked, overlap, product, randn

SHAPES = ((1, 10), (64, 10), (1024, 10), (10_000, 10), (1024, 100), (1024, 1000))


def sized(full: int, scale: float, least: int) -> int:
    return max(least, int(full * scale))


def whole(full: int, scale: float, least: int) -> int:
    """What does not shrink with the scale, but for a trial."""
    return full if scale > 0.01 else least


def mm_topk(q: torch.Tensor, x: torch.Tensor, k: int) -> dict[str, Callable[[], Any]]:
    return {"torch mm + topk": lambda: chunked(product, q, x, k)}


def flash(q: torch.Tensor, x: torch.Tensor, k: int) -> dict[str, Callable[[], Any]]:
    """flashlib, where it is installed; squared distances, so its rows are those of an l2 search."""
    if importlib.util.find_spec("flashlib") is None:
        return {}
    from flashlib.primitives.knn import flash_knn

    return {"flashlib": lambda: (None, flash_knn(q, x, k, return_distances=False, backend="triton"))}


def floats(device: str, scale: float) -> Iterator[Work]:
    """bfloat16 rows at every number of queries and results; then the shape that flashlib is best at."""
    n, d = sized(10_000_000, scale, 64), whole(768, scale, 16)
    x = randn(n, d, device, torch.bfloat16)
    for q, k in SHAPES if scale == 1 else ((1, 10), (2, 10)):
        queries = randn(q, d, device, torch.bfloat16, seed=1)
        ours = functools.partial(fc.topk, queries, x, k, metric="ip")
        beside = "topk bf16, Q 1024, k 10" if k > 10 else ""
        rivals = mm_topk(queries, x, k)
        yield Work(f"topk bf16, Q {q}, k {k}", ours, rivals, overlap, float(x.nbytes), 2.0 * q * n * d, beside=beside)
    narrow = x.flatten()[: x.numel() // 128 * 128].view(-1, 128)
    query = randn(1, 128, device, torch.bfloat16, seed=1)
    rivals = flash(query, narrow, 1) | mm_nearest(query, narrow)
    ours = functools.partial(fc.topk, query, narrow, 1, metric="l2")
    yield Work("topk bf16 l2, D 128, Q 1, k 1", ours, rivals, overlap, float(narrow.nbytes), 2.0 * narrow.numel())


def mm_nearest(q: torch.Tensor, x: torch.Tensor) -> dict[str, Callable[[], Any]]:
    half = torch.cat([(part.float() ** 2).sum(1) / 2 for part in x.split(1 << 22)])

    def nearest() -> Any:
        return (None, (product(q, x) - half).argmax(1, keepdim=True))

    return {"torch mm + argmax": nearest}


def small(device: str, scale: float) -> Iterator[Work]:
    """Launches, not bytes: called, and replayed from a graph."""
    for n in (10_000, 100_000) if scale == 1 else (64,):
        d = whole(768, scale, 16)
        x, query = randn(n, d, device, torch.bfloat16), randn(1, d, device, torch.bfloat16, seed=1)
        ours = functools.partial(fc.topk, query, x, 10, metric="ip")
        shape = f"topk bf16, N {n // 1000}k, Q 1, k 10"
        yield Work(shape, ours, mm_topk(query, x, 10), overlap, float(x.nbytes), 2.0 * n * d)
        if device != "cpu":
            ours()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                answer = ours()
            yield Work(f"{shape}, in a graph", lambda g=graph, a=answer: (g.replay(), a)[1], {}, overlap, float(x.nbytes), 2.0 * n * d)


def integers(device: str, scale: float) -> Iterator[Work]:
    n, d = sized(10_000_000, scale, 64), whole(768, scale, 16)
    x = fc.quantize(randn(n, d, device, torch.float16), "int8_row").data
    for q in (64, 1024) if scale == 1 else (2,):
        queries = fc.quantize(randn(q, d, device, torch.float16, seed=1), "int8_row").data
        ours = functools.partial(fc.topk, queries, x, 10, metric="ip")
        rivals = {"torch._int_mm + topk": functools.partial(chunked, lambda a, b: torch._int_mm(a, b.T).float(), queries, x, 10)}
        yield Work(f"topk int8, Q {q}, k 10", ours, rivals, overlap, float(n * d), 2.0 * q * n * d, "int8")
    bits = torch.randint(0, 256, (n, 128), dtype=torch.uint8, device=device)

    def signs(packed: torch.Tensor) -> torch.Tensor:
        shifts = torch.arange(8, dtype=torch.uint8, device=packed.device)
        return (((packed[:, :, None] >> shifts) & 1).flatten(1) * 2.0 - 1).bfloat16()

    for q in (1, 1024) if scale == 1 else (1,):
        some = bits[:q] ^ (torch.rand(q, 128, device=device) < 0.1).to(torch.uint8)
        ours = functools.partial(fc.topk, some, bits, 10, metric="hamming")
        rivals = {"bits as bf16, mm + topk": functools.partial(chunked, lambda a, b: product(signs(a), signs(b)), some, bits, 10)}
        # Nearly all are ties, which torch breaks as it likes.
        yield Work(f"topk Hamming 1024 bits, Q {q}, k 10", ours, rivals, lambda a, b: True, float(bits.nbytes), 2.0 * q * n * 1024, "int8")


def exact(device: str, scale: float) -> Iterator[Work]:
    """float32 rows: as they are, in a corpus beside codes, far from the origin, and passed through the device in chunks."""
    n, d, q = sized(10_000_000, scale, 64), whole(768, scale, 16), whole(64, scale, 2)
    x, queries = randn(n, d, device, torch.float32), randn(q, d, device, torch.float32, seed=1)
    plain = f"topk f32, Q {q}, k 10"
    rivals = mm_topk(queries, x, 10)
    ours = functools.partial(fc.topk, queries, x, 10, metric="ip")
    yield Work(plain, ours, rivals, overlap, float(x.nbytes), 2.0 * q * n * d)
    far, off = x[: n // 4] + 100.0, queries + 100.0
    yield Work(
        "topk f32 l2, 100 standard deviations off, N 2.5M, Q 64, k 10",
        functools.partial(fc.topk, off, far, 10, metric="l2"), {}, overlap, float(far.nbytes), 2.0 * q * len(far) * d,
    )  # fmt: skip
    del far
    host = x.cpu().numpy()
    del x, rivals, ours
    if not scan_codes.available():
        return
    corpus = fc.Corpus(host, scan="int8", metric="ip", copy=False)
    if device != "cpu":
        corpus.to(device)
    given = queries if device != "cpu" else queries.numpy()
    search = functools.partial(corpus.search, given, 10, backend="triton")
    # The floor is that of reading float32: through codes a search may come out faster than it.
    yield Work(f"corpus f32 through int8 codes, Q {q}, k 10", search, {}, overlap, float(host.nbytes), beside=plain)
    if device == "cpu":
        return
    for memory in (host.nbytes // 2, host.nbytes // 8):
        corpus.to(device, memory=memory)
        kept = corpus._snapshot.on_device.resident
        streamed = float(host[kept:].nbytes)
        yield Work(f"corpus f32, {memory / host.nbytes:.1%} on the device, Q {q}, k 10", search, {}, overlap, streamed, source="copy")


def ranges(device: str, scale: float) -> Iterator[Work]:
    n, d, q = sized(10_000_000, scale, 64), whole(768, scale, 16), whole(64, scale, 2)
    x, queries = randn(n, d, device, torch.bfloat16), randn(q, d, device, torch.bfloat16, seed=1)
    limit = float(fc.topk(queries, x, 30, metric="ip")[0][:, -1].mean())

    def rival() -> Any:
        step = CELLS // q
        return [(product(queries, x[lo : lo + step]) >= limit).nonzero() for lo in range(0, n, step)]

    def as_many(ours: Any, theirs: Any) -> bool:
        return abs(int(ours[0][-1]) / max(1, sum(map(len, theirs))) - 1) < 0.05 or n < 1000

    ours = functools.partial(fc.range_search, queries, x, limit, metric="ip")
    rivals = {"torch mm + nonzero": rival}
    yield Work(f"range_search bf16, Q {q}, about 30 rows each", ours, rivals, as_many, float(x.nbytes), 2.0 * q * n * d)
    most = functools.partial(fc.range_search, queries, x, limit, metric="ip", max_results=100)
    yield Work(f"range_search bf16, Q {q}, max_results 100", most, {}, as_many, float(x.nbytes), 2.0 * q * n * d)


def assignments(device: str, scale: float) -> Iterator[Work]:
    n, centroids, d = sized(10_000_000, scale, 4), sized(20_000, scale, 64), whole(256, scale, 16)
    x, c = randn(n, d, device, torch.bfloat16), randn(centroids, d, device, torch.bfloat16, seed=1)
    half = (c.float() ** 2).sum(1) / 2

    def nearest() -> torch.Tensor:
        step = max(1, CELLS // centroids)
        return torch.cat([(product(x[lo : lo + step], c) - half).argmax(1) for lo in range(0, n, step)])

    def same(ours: Any, theirs: Any) -> bool:
        return bool((ours[0] == theirs).float().mean() > 0.9)

    ours = functools.partial(fc.assign, x, c)
    yield Work("assign 10M x 256 to 20k centroids", ours, {"torch mm + argmax": nearest}, same, float(x.nbytes), 2.0 * n * centroids * d)


WORKLOADS = (floats, small, integers, exact, ranges, assignments)
