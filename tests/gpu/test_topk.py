"""topk from Triton: the reference's bits, whichever way the groups were found."""

from __future__ import annotations

from typing import Any

import cases
import numpy as np
import pytest
import torch
from oracle import values64

import fastembed_core as fc
from fastembed_core import scan_codes
from fastembed_core.backends.triton._allowed import Allowed
from fastembed_core.backends.triton._groups import center_of
from fastembed_core.backends.triton._launch import on
from fastembed_core.backends.triton._operand import Side, codes_of, side_of
from fastembed_core.backends.triton._scan import Scan, kind_of, scan_keys, squares_of
from fastembed_core.operands import rows_of, steps_of
from fastembed_core.ops.scores import Score

from .operands import agree, moved


@pytest.mark.parametrize("values", ["nan"])
def test_small_corpora(device: str, values: str) -> None:
    """Every row scored canonically."""
    for pairing, metric in cases.FEW_SCORED[::2]:
        queries, corpus = cases.operands(pairing, 1, 50, 9, values)
        agree(fc.topk, device, queries, corpus, 7, metric=metric, what=f"{pairing} {metric}")


@pytest.mark.parametrize(("q", "n", "d", "k"), [(0, 5, 4, 2), (3, 0, 4, 2), (3, 5, 0, 2), (3, 5, 4, 0), (3, 5, 4, 99), (1, 1, 1, 1)])
def test_shapes(device: str, q: int, n: int, d: int, k: int) -> None:
    for pairing, metric in cases.FEW_SCORED[::5]:
        queries, corpus = cases.operands(pairing, q, n, d)
        agree(fc.topk, device, queries, corpus, k, metric=metric, what=f"{pairing} {metric}")


def test_masks_and_excludes(device: str) -> None:
    n = 60
    x = cases.rng_of("masks").standard_normal((n, 5)).astype(np.float32)
    queries, rng = x[:4].copy(), cases.rng_of("rows", n)
    for name, mask in cases.masks(4, n, rng):
        for exclude in (None, rng.integers(-1, n, (4, 5)))[: 2 if "own" in name else 1]:
            expected = fc.topk(queries, x, 6, mask=mask, exclude=exclude, backend="reference")
            given = moved(np.ascontiguousarray(mask), device)
            result = fc.topk(moved(queries, device), moved(x, device), 6, mask=given, exclude=exclude, backend="triton")
            cases.assert_same(result, expected, name)


@pytest.fixture
def scanned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Corpora too small to be scanned are."""
    monkeypatch.setattr("fastembed_core.backends.triton.topk.SMALL", 0)


# Of each way to scan, one.
SCANS = {
    "f32-f32": ("cosine", "l2"),
    "f16-bf16": ("ip",),
    "f64-f64": ("sqeuclidean",),
    "f32-int8_row": ("ip", "l2"),
    "f32-binary": ("cosine",),
    "bf16-uint8": ("cosine",),
    "i8-i8": ("ip", "l2"),
    "int8_row-int4_row": ("cosine",),
    "ubinary-binary": ("hamming", "jaccard"),
}
SCANNED = [(p, m, ("normal", "ties")[place % 2]) for p in cases.FEW_PAIRINGS for place, m in enumerate(SCANS[str(p)])]


@pytest.mark.usefixtures("scanned")
@pytest.mark.parametrize(("pairing", "metric", "values"), SCANNED, ids=str)
def test_groups(device: str, pairing: cases.Pairing, metric: str, values: str) -> None:
    """A corpus large enough for rows in groups, of which few are taken."""
    queries, corpus = cases.operands(pairing, 2, 1100, 37, values)
    agree(fc.topk, device, queries, corpus, 9, metric=metric)


@pytest.mark.parametrize(
    ("query", "corpus", "count"),
    [("f32", "f32", 65), ("f32", "bf16", 3), ("bf16", "f16", 3), ("f32", "int8_row", 3), ("f16", "int4_row", 65), ("f32", "binary", 3)],
)
def test_bounds_hold(device: str, query: str, corpus: str, count: int) -> None:
    """A scan's keys are those of merits no smaller than a group's largest, and not much larger."""
    q, x = cases.operands(cases.Pairing(query, corpus, ("cosine", "ip", "l2")), count, 300, 23)
    for metric in ("cosine", "ip", "l2") if corpus != "binary" else ("cosine", "ip"):
        left, right, score = sides(q, x, metric, device)
        check_bounds(Scan(right, str(kind_of(left, right, score))), left, score, values64(q), values64(x))


@pytest.mark.parametrize("values", ["normal", "offset", "dynamic", "zero_rows"])
@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
def test_bounds_of_centered_rows_and_of_codes_hold(device: str, metric: str, values: str) -> None:
    q, x = cases.operands(cases.Pairing("f32", "f32", (metric,)), 65 if (values, metric) == ("offset", "l2") else 2, 150, 23, values)
    left, right, score = sides(q, x, metric, device)
    if metric != "cosine":
        check_bounds(Scan(right, "tf32", center_of(right)), left, score, values64(q), values64(x), tight=values in ("normal", "offset"))
    if scan_codes.available():
        codes, center, bounds = codes_of(fc.Corpus(x, scan="int8", metric=metric)._snapshot.rows.scan[0], torch.device(device))
        check_bounds(Scan(codes, "fp16", center, bounds), left, score, values64(q), values64(x), tight=values in ("normal", "offset"))


def sides(q: Any, x: Any, metric: str, device: str) -> tuple[Side, Side, Score]:
    score = Score(metric, "float", np.dtype(np.float32))
    left, right = (side_of(rows_of(moved(v, device), "x", metric)[0], score, torch.device(device)) for v in (q, x))
    return left, right, score


def check_bounds(scan: Scan, left: Side, score: Score, a: np.ndarray, b: np.ndarray, tight: bool = True) -> None:
    """Each group's key bounds what the metric makes of its best row; tight: by no more than thrice what Cauchy and Schwarz allow."""
    n, group, device = len(b), 16, scan.x.data.device
    keys = torch.empty((len(a), -(-n // group)), dtype=torch.int32, device=device)
    plain = scan.center is None
    squares = squares_of(scan.x, scan.kind) if len(a) > 64 and plain else None
    with on(device):
        queries = scan_keys(scan, left, 0, keys, group, score, Allowed(None, None, device), squares)
    center = 0.0 if plain else scan.center.cpu().numpy().astype(np.float64)
    lengths = np.linalg.norm(b, axis=1)
    with np.errstate(all="ignore"):
        if score.metric == "cosine":
            merit = a @ np.where(lengths[:, None] > 0, b / lengths[:, None], 0.0).T
        elif score.metric == "ip":
            merit = a @ b.T
        else:  # of both less the center
            merit = (a - center) @ (b - center).T - ((b - center) ** 2).sum(1) / 2
    scale = queries.scale.cpu().numpy()[:, None].astype(np.float64)
    codes = ~keys.cpu().numpy()
    bound = (codes ^ ((codes >> 31) & 0x7FFFFFFF)).view(np.float32).astype(np.float64) / scale
    bound[keys.cpu().numpy() == -(2**31)] = np.inf
    if queries.shift is not None:
        bound += queries.shift.cpu().numpy()[:, None]
    allowed = queries.bound.cpu().numpy()[:, None] / scale
    if score.metric == "cosine" and scan.beside is None:
        bound += allowed  # what all rows share is added later
    square = queries.square.cpu().numpy()
    usual = (square >= 2.0**-100) & (square <= 2.0**100)  # others are always in doubt
    best = np.array([merit.T[at : at + group].max(0) for at in range(0, n, group)]).T
    assert (bound >= best)[usual].all(), score.metric
    if not tight:
        return
    assert usual.all()
    if scan.beside is None:
        reach = 1.0 if score.metric == "cosine" else np.linalg.norm(b - center, axis=1)
        slack = allowed * reach
    else:
        error, length = (part.cpu().numpy() for part in scan.beside[:2])
        slack = allowed * length + np.linalg.norm(a - (center if score.metric == "l2" else 0), axis=1)[:, None] * error
    most = np.array([(merit + 3 * slack).T[at : at + group].max(0) for at in range(0, n, group)]).T
    assert (bound <= most + 1e-4 * np.abs(most)).all(), score.metric


@pytest.mark.usefixtures("scanned")
@pytest.mark.parametrize(
    ("values", "metric"),
    [
        ("duplicates", "cosine"),
        ("nan", "l2"),
        ("inf", "cosine"),
        ("zero_rows", "cosine"),
        ("subnormal", "ip"),
        ("overflow", "l2"),
        ("near", "l2"),
    ],
)
def test_what_bounds_cannot_prove(device: str, values: str, metric: str) -> None:
    """Queries whose certificate fails are scanned again, canonically."""
    queries, corpus = cases.operands(cases.Pairing("f32", "f32", (metric,)), 2, 580, 9, values)
    agree(fc.topk, device, queries, corpus, 3, metric=metric)


@pytest.mark.usefixtures("scanned")
@pytest.mark.parametrize("kind", ["f32", "int8_row"])
def test_tiny_queries_of_long_rows(device: str, kind: str) -> None:
    """What scales a query takes a row's squared length beyond float32, the nearest of them, the last, too."""
    u = cases.rng_of("long").standard_normal((580, 9))
    x = (u / np.linalg.norm(u, axis=1, keepdims=True) * np.linspace(2e14, 1e14, 580)[:, None]).astype(np.float32)
    corpus = x if kind == "f32" else fc.quantize(x, kind)
    agree(fc.topk, device, (u[:2] * 1e-14).astype(np.float32), corpus, 3, metric="l2")


@pytest.mark.usefixtures("scanned")
@pytest.mark.parametrize(("pairing", "d"), [("ubinary-binary", 1050), ("ubinary-ubinary", 59), ("binary-ubinary", 70)])
def test_bits_of_few_queries_are_counted(device: str, pairing: str, d: int) -> None:
    """In whole words, whatever stands in pad bits; of rows in odd bytes, and of more queries, on tensor cores."""
    kinds = pairing.split("-")
    for metric in cases.BIT_METRICS:
        queries, corpus = cases.operands(cases.Pairing(*kinds, (metric,)), 3, 260, d)
        agree(fc.topk, device, queries[: 1 if d == 1050 else 3], corpus, 2, metric=metric)


@pytest.mark.parametrize("metric", ["ip", "l2"])
@pytest.mark.parametrize("kind", ["f32", "f16"])
def test_data_far_from_the_origin(device: str, doubts: list[list[int]], kind: str, metric: str) -> None:
    """What rows alone leave in doubt, rows less their mean decide."""
    queries, corpus = cases.operands(cases.Pairing(kind, kind, (metric,)), 2, 1100, 37, "offset")
    agree(fc.topk, device, queries, corpus, 3, metric=metric)
    assert doubts == [[2, 0]] or (kind == "f16" and doubts == [[0, 0]]), doubts


@pytest.mark.parametrize("kind", ["f32", "int8_row"])
def test_rows_that_hold_nan_leave_nothing_in_doubt(device: str, doubts: list[list[int]], kind: str) -> None:
    """Their scores are NaN: last, unless numbers run out."""
    q, x = cases.operands(cases.Pairing("f32", kind, ("ip",)), 66, 260, 9)
    if kind == "f32":
        x = np.where(np.arange(260)[:, None] % 3 == 1, np.float32(np.nan), x)
    else:
        x = fc.Codes(x.data, kind, 9, np.where(np.arange(260) % 3 == 1, np.float32(np.nan), x.scale))
    for metric in ("ip", "cosine", "l2"):
        agree(fc.topk, device, q[:1], x, 2, metric=metric)
        left, right, score = sides(q, x, metric, device)  # of many queries, whose rows' squares are made beforehand
        keys = torch.empty((66, 260), dtype=torch.int32, device=device)
        scan = Scan(right, str(kind_of(left, right, score)))
        with on(right.data.device):
            scan_keys(scan, left, 0, keys, 1, score, Allowed(None, None, right.data.device), squares_of(right, scan.kind))
        assert ((keys == 2**31 - 2).cpu().numpy() == (np.arange(260) % 3 == 1)).all()
    assert sum(map(sum, doubts)) == 0, doubts
    mask = np.arange(260) % 3 == 1
    mask[7] = mask[6] = True
    agree(fc.topk, device, q[:1], x, 4, metric="ip", mask=mask)
    assert doubts[-1][-1] == 1


def test_steps_of_ranges_are_the_same_there(device: str) -> None:
    """Divided, not multiplied by an inverse; 1 where a range is empty."""
    low = cases.rng_of("steps").standard_normal(5000).astype(np.float32)
    ranges = np.stack([low, low + np.where(np.arange(5000) % 9 == 0, 0, np.abs(low) * 7).astype(np.float32)])
    cases.assert_same(steps_of(moved(ranges, device)), steps_of(ranges))


@pytest.mark.usefixtures("scanned")
def test_views(device: str) -> None:
    """Rows an odd number of elements apart, poison between them, from an odd element on; one query stands for all."""
    wide = torch.full((1300, 53), torch.nan, device=device)
    x = cases.rng_of("views").standard_normal((1200, 37)).astype(np.float32)
    wide[50:1250, 7:44] = moved(x, device)
    expected = fc.topk(np.repeat(x[9:10], 3, 0), x, 5, metric="l2", backend="numpy")
    view = wide[50:1250, 7:44]
    cases.assert_same(fc.topk(view[9:10].expand(3, 37), view, 5, metric="l2", backend="triton"), expected)


def test_rows_beyond_two_to_the_31_elements(device: str) -> None:
    if device == "cpu":
        pytest.skip("needs a CUDA device")
    n, d = (1 << 31) // 128 + 4096, 128
    x = torch.empty((n, d), dtype=torch.bfloat16, device=device)
    for part in x.split(1 << 20):
        part.copy_(torch.randn(part.shape, device=device))
    queries = torch.cat([x[-2:], x[:2]])
    for corpus in (x, fc.quantize(x, "int8_row")):
        scores, rows = fc.topk(queries, corpus, 3, metric="cosine", backend="triton")
        assert rows[:, 0].tolist() == [n - 2, n - 1, 0, 1]
        tail = corpus[n - 4096 :]
        cases.assert_same(fc.topk(queries[:2], tail, 1, metric="cosine", backend="triton")[0], scores[:2, :1].cpu().numpy())


def test_nothing_is_waited_for_and_graphs_replay(device: str) -> None:
    if device == "cpu":
        pytest.skip("needs a CUDA device")
    for n in (900, 9000, 300_000):
        x, queries = torch.randn(n, 64, device=device), torch.randn(4, 64, device=device)
        fc.topk(queries, x, 5, metric="l2")  # compiled
        torch.cuda.set_sync_debug_mode("error")
        try:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                found = fc.topk(queries, x, 5, metric="l2")
            queries.normal_()
            graph.replay()
        finally:
            torch.cuda.set_sync_debug_mode("default")
        cases.assert_same(found, fc.topk(queries.cpu().numpy(), x.cpu().numpy(), 5, metric="l2"))


def test_streams(device: str) -> None:
    """Work goes to the current stream, behind what it waits for."""
    if device == "cpu":
        pytest.skip("needs a CUDA device")
    x = torch.randn(200_000, 64, device=device)
    expected = fc.topk(x[:8], x, 5, metric="ip")
    late = torch.zeros_like(x)
    torch.cuda.synchronize()
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        torch.cuda._sleep(100_000_000)
        late.copy_(x)
        found = fc.topk(late[:8], late, 5, metric="ip")
    side.synchronize()
    cases.assert_same(found, tuple(part.cpu().numpy() for part in expected))


@pytest.mark.usefixtures("scanned")
def test_masks_and_excludes_of_groups(device: str) -> None:
    x = cases.rng_of("group masks").standard_normal((900, 8)).astype(np.float32)
    queries, rng = x[:3].copy(), cases.rng_of("group rows")
    for name, mask in (
        ("own packed", np.packbits(rng.random((3, 900)) < 0.4, axis=1, bitorder="little")),
        ("few", np.arange(900) % 300 == 7),
    ):
        exclude = rng.integers(-1, 900, (3, 2))
        expected = fc.topk(queries, x, 5, mask=mask, exclude=exclude, backend="reference")
        result = fc.topk(moved(queries, device), moved(x, device), 5, mask=moved(mask, device), exclude=exclude, backend="triton")
        cases.assert_same(result, expected, name)
