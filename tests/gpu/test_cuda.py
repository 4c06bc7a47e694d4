"""topk from the CUDA extension: the reference's bits. On a GPU, or compiled for the host by tests/test_cuda.py."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import Any

import cases
import numpy as np
import pytest

import fastembed_core as fc
from fastembed_core.backends.cuda import BACKEND
from fastembed_core.dispatch import Unsupported
from fastembed_core.operands import rows_of

from .operands import moved

if "FASTEMBED_CORE_CUDA_ON_HOST" in os.environ:
    fc.__path__.insert(0, os.environ["FASTEMBED_CORE_CUDA_ON_HOST"])
if BACKEND.missing():
    pytest.skip(f"{BACKEND.missing()}", allow_module_level=True)

from fastembed_core import _cuda

on_gpu = pytest.mark.skipif(_cuda.on_host, reason="needs a GPU")

BITS = cases.Pairing("ubinary", "binary", ("hamming",))
MANY = 6  # queries for tensor cores


@pytest.fixture(scope="session")
def device() -> str:
    return "cpu" if _cuda.on_host else "cuda"


def agree(device: str, queries: Any, corpus: Any, k: int, what: str = "", **how: Any) -> None:
    expected = fc.topk(queries, corpus, k, **how, backend="reference")
    arrays = {name: moved(np.ascontiguousarray(value), device) if name == "mask" else value for name, value in how.items()}
    cases.assert_same(fc.topk(moved(queries, device), moved(corpus, device), k, **arrays, backend="cuda"), expected, what)


@pytest.mark.parametrize("q", [1, 3, MANY, 17, 131])
def test_bits_of_any_width(device: str, q: int) -> None:
    """Rows that no word fills, whole words, 16 bytes, a stage's chunk and more; pad bits are noise."""
    for dim in (1, 8, 33, 96, 128, 384, 1024, 1096, 2050) if q < 17 else (40, 1096):
        queries, corpus = cases.operands(BITS, q, 150 if q < 17 else 1100, dim)
        agree(device, queries, corpus, 10, f"{dim} bits", metric="hamming")


@pytest.mark.parametrize("pairing", [str(p) for p in cases.PAIRINGS if p.metrics == cases.BIT_METRICS])
def test_every_kind_of_bits(device: str, pairing: str) -> None:
    both = next(p for p in cases.PAIRINGS if str(p) == pairing)
    for q in (2, MANY):
        agree(device, *cases.operands(both, q, 90, 77), 90, metric="hamming")


@pytest.mark.parametrize("q", [1, 2, MANY])
@pytest.mark.parametrize("n", [1, 31, 32, 33, 127, 128, 129, 511, 512, 513, 1500])
def test_bits_of_any_number_of_rows(device: str, q: int, n: int) -> None:
    """Each side of a group, a tile, an item and a round, nearly all of them ties."""
    queries, corpus = cases.operands(BITS, q, n, 24, "ties")
    for k in (1, 40, n):
        agree(device, queries, corpus, k, f"k {k}", metric="hamming")


@pytest.mark.parametrize("k", [600, 1700, 2048])
@pytest.mark.parametrize("q", [2, MANY])
def test_many_results_of_bits(device: str, q: int, k: int) -> None:
    """More than fit beside one another; reservoirs pruned often."""
    agree(device, *cases.operands(BITS, q, 2300, 40), k, metric="hamming")


@pytest.mark.parametrize("q", [3, MANY])
def test_masks_and_excludes_of_bits(device: str, q: int) -> None:
    queries, corpus = cases.operands(cases.Pairing("u8_bits", "u8_bits", ("hamming",)), q, 300, 48, "ties")
    rng = cases.rng_of("bit masks")
    for name, mask in cases.masks(q, 300, rng):
        exclude = rng.integers(-1, 300, (q, 5)) if "own" in name else None
        agree(device, queries, corpus, 7, name, metric="hamming", mask=mask, exclude=exclude)
    agree(device, corpus[:q].copy(), corpus, 3, "self", metric="hamming", exclude="self")


FLOATS = ("f32", "f16", "bf16")


@pytest.mark.parametrize("values", cases.VALUES)
def test_every_kind_of_float(device: str, values: str) -> None:
    for place, (query, corpus) in enumerate((a, b) for a in FLOATS for b in FLOATS):
        metric = cases.FLOAT_METRICS[(place + list(cases.VALUES).index(values)) % 4]
        queries, x = cases.operands(cases.Pairing(query, corpus, (metric,)), 2, 150, 37, values)
        agree(device, queries, x, 9, f"{query} {corpus} {metric}", metric=metric)


@pytest.mark.parametrize("metric", cases.FLOAT_METRICS)
def test_floats_of_any_shape(device: str, metric: str) -> None:
    for q, n, d, k in (
        (1, 1, 1, 1),
        (2, 129, 8, 129),
        (1, 1100, 3, 5),
        (3, 520, 130, 400),
        (1, 5, 0, 2),
        (0, 5, 4, 2),
        (3, 0, 4, 2),
        (3, 5, 4, 0),
    ):
        queries, x = cases.operands(cases.Pairing("f32", "f32", (metric,)), q, n, d, "ties")
        agree(device, queries, x, k, f"{(q, n, d, k)}", metric=metric)


def test_sums_that_cancel(device: str) -> None:
    """Scores that any other order of adding gets wrong by more than float32 shows."""
    rng = cases.rng_of("cancel")
    x = rng.permuted(np.tile(np.float32([2.0**60, -(2.0**60), 2.0**30, -(2.0**30), 3, 1, 2.0**-20, 7] * 3), (200, 1)), axis=1)
    for metric in ("ip", "cosine"):
        agree(device, np.ones((2, 24), np.float32), x, 200, metric=metric)


def test_masks_and_excludes_of_floats(device: str) -> None:
    x = cases.rng_of("float masks").standard_normal((300, 5)).astype(np.float32)
    rng = cases.rng_of("float rows")
    for name, mask in cases.masks(4, 300, rng):
        agree(device, x[:4].copy(), x, 6, name, mask=mask, exclude=rng.integers(-1, 300, (4, 3)))


@pytest.mark.parametrize("width", [12, 16, 21])
def test_strided_rows(device: str, width: int) -> None:
    """Slices of longer rows; what lies between them is poison."""
    rng = cases.rng_of("strided", width)
    x = rng.integers(0, 256, (200, width + 16), dtype=np.uint8)
    for q in (2, MANY):
        expected = fc.topk(x[:q, :width], x[:, :width], 9, metric="hamming", backend="reference")
        whole = moved(x, device)
        cases.assert_same(fc.topk(whole[:q, :width], whole[:, :width], 9, metric="hamming", backend="cuda"), expected)


@pytest.mark.skipif(not _cuda.on_host, reason="host memory")
@pytest.mark.parametrize("side", ["start", "end"])
def test_nothing_is_read_beyond_a_row(side: str) -> None:
    """Operands at the edge of memory that may not be read."""
    for width, gap in ((1, 0), (5, 0), (5, 2), (12, 0), (12, 4), (16, 0), (48, 16), (48, 0), (130, 0)):
        for q in (1, 2, MANY):
            keep: list[cases.Guarded] = []
            x = cases.rng_of("guarded", width).integers(0, 256, (131, width), dtype=np.uint8)
            queries, corpus = (cases.guarded(part, keep, side, gap) for part in (x[:q].copy(), x))
            agree("cpu", queries, corpus, 4, f"{width} {gap}", metric="hamming")
    for kind in FLOATS:
        keep = []
        queries, corpus = (cases.guarded(x, keep, side) for x in cases.operands(cases.Pairing(kind, kind, ("l2",)), 2, 131, 9))
        agree_with_host(queries, corpus)


def agree_with_host(queries: np.ndarray, corpus: np.ndarray) -> None:
    results = (fc.topk(queries, corpus, 4, metric="l2", backend=name) for name in ("cuda", "reference"))
    cases.assert_same(*results)


def test_what_it_declines(device: str) -> None:
    rng = cases.rng_of("declined")
    x = moved(rng.standard_normal((300, 8)).astype(np.float32), device)
    many = moved(rng.integers(0, 256, (2049, 2), dtype=np.uint8), device)
    wide = moved(np.zeros((1, 20_000), np.float32), device)
    with pytest.raises(Unsupported, match="k is 2049"):
        fc.topk(many, many, 2049, metric="hamming", backend="cuda")
    with pytest.raises(Unsupported, match="no kernel for jaccard"):
        fc.topk(many, many, 2, metric="jaccard", backend="cuda")
    with pytest.raises(Unsupported, match="no kernel for ip of f32 and i8"):
        fc.topk(x, fc.quantize(x, "int8_row"), 2, metric="ip", backend="cuda")
    with pytest.raises(Unsupported, match="too large for one launch"):
        fc.topk(wide, wide, 1, backend="cuda")


def test_a_search_says_what_it_scanned(device: str) -> None:
    from fastembed_core.backends.cuda.topk import topk
    from fastembed_core.ops.scores import Score

    bits = moved(cases.rng_of("stats").integers(0, 256, (9, 4), dtype=np.uint8), device)
    rows, _ = rows_of(bits, "corpus", "hamming")
    stats: dict[str, Any] = {}
    topk(rows[:2], rows, 3, Score("hamming", "bits", np.dtype(np.int32)), None, None, stats)
    assert stats == {"scanned": 18, "rescored": 0, "scan": "bits"}


@on_gpu
def test_it_comes_first_and_larger_searches_go_on(device: str) -> None:
    assert fc.explain("topk", device=device).startswith("topk: cuda (compiled for sm_80, sm_90a and PTX")
    x = cases.rng_of("first").standard_normal((40_000, 64)).astype(np.float32)
    expected = fc.topk(x[:100], x, 5)
    cases.assert_same(fc.topk(moved(x[:100], device), moved(x, device), 5), expected)


@on_gpu
@pytest.mark.parametrize("q", [1, MANY, 200])
def test_large_corpora_of_bits(device: str, q: int) -> None:
    """Every multiprocessor has work; the host's own kernels say what is right."""
    x = cases.rng_of("large").integers(0, 256, (100_001, 128), dtype=np.uint8)
    scores, rows = fc.topk(x[:q], x, 2000, metric="hamming")
    for k in (10, 500, 2000):
        result = fc.topk(moved(x[:q], device), moved(x, device), k, metric="hamming", backend="cuda")
        cases.assert_same(result, (scores[:, :k], rows[:, :k]), f"k {k}")


@on_gpu
def test_offsets_beyond_32_bits(device: str) -> None:
    import torch

    n = (1 << 31) // 128 + 1000
    x = torch.randint(0, 256, (n, 128), dtype=torch.uint8, device=device)
    places = torch.tensor([3, n // 2, n - 1], device=device)
    for q in (x[places], x[places].repeat(40, 1)):
        scores, rows = fc.topk(q, x, 1, metric="hamming", backend="cuda")
        assert (scores == 0).all() and (rows[:, 0] == places.repeat(len(q) // 3)).all()


@on_gpu
def test_streams_and_graphs(device: str) -> None:
    """Work is queued on the caller's stream and waited for by nobody; a captured search follows its inputs."""
    import torch

    x = torch.randint(0, 256, (50_000, 128), dtype=torch.uint8, device=device)
    floats = torch.randn(5_000, 64, device=device)
    for corpus, metric in ((x, "hamming"), (floats, "cosine")):
        for q in (1, MANY):
            queries = corpus[:q].clone()
            expected = fc.topk(queries, corpus, 7, metric=metric, backend="cuda")
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.stream(stream):
                torch.cuda._sleep(100_000_000)
                late = queries.flip(0).flip(0)
                on_stream = fc.topk(late, corpus, 7, metric=metric, backend="cuda")
                assert not stream.query()
            torch.cuda.current_stream().wait_stream(stream)
            cases.assert_same(on_stream, expected, "stream")
            with torch.cuda.graph(graph, stream=stream):
                captured = fc.topk(queries, corpus, 7, metric=metric, backend="cuda")
            queries.copy_(corpus[q : 2 * q])
            graph.replay()
            torch.cuda.synchronize()
            cases.assert_same(captured, fc.topk(corpus[q : 2 * q], corpus, 7, metric=metric, backend="cuda"), "graph")


SANITIZED = """
import torch, fastembed_core as fc
bits = torch.randint(0, 256, (3000, 37), dtype=torch.uint8, device="cuda")
wide = torch.randint(0, 256, (3000, 144), dtype=torch.uint8, device="cuda")
floats = torch.randn(1500, 33, device="cuda").bfloat16()
mask = torch.rand(20, 3000, device="cuda") < 0.5
for x in (bits, wide):
    for q in (1, 3, 20):
        fc.topk(x[:q], x, 9, metric="hamming", mask=mask[:q], exclude="self", backend="cuda")
fc.topk(floats[:2], floats, 9, backend="cuda")
torch.cuda.synchronize()
print("searched")
"""


@on_gpu
@pytest.mark.parametrize("check", ["memcheck", "racecheck", "synccheck"])
def test_sanitized(check: str) -> None:
    sanitizer = shutil.which("compute-sanitizer") or shutil.which("/usr/local/cuda/bin/compute-sanitizer")
    if sanitizer is None:
        pytest.skip("compute-sanitizer is not installed")
    command = [sanitizer, "--tool", check, "--error-exitcode", "9", sys.executable, "-c", SANITIZED]
    try:
        done = subprocess.run(command, text=True, capture_output=True, check=False, timeout=120)
    except subprocess.TimeoutExpired:
        pytest.skip("compute-sanitizer takes longer than two minutes here")
    if "Device not supported" in done.stdout + done.stderr:
        pytest.skip("compute-sanitizer does not take this device")
    assert done.returncode == 0 and "searched" in done.stdout, done.stdout[-3000:] + done.stderr[-1000:]
