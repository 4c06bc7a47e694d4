"""topk from Triton: the reference's bits, whichever way the groups were found."""

from __future__ import annotations

import cases
import numpy as np
import pytest
import torch
from oracle import values64

import fastembed_core as fc
from fastembed_core.arrays import rows_of
from fastembed_core.backends.triton._allowed import Allowed
from fastembed_core.backends.triton._operand import side_of
from fastembed_core.backends.triton._scan import Scan, kind_of, scan_keys, squares_of
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
    n, d, group = 300, 23, 16
    q, x = cases.operands(cases.Pairing(query, corpus, ("cosine", "ip", "l2")), count, n, d)
    a, b = values64(q), values64(x)
    lengths = np.linalg.norm(b, axis=1)
    for metric in ("cosine", "ip", "l2") if corpus != "binary" else ("cosine", "ip"):
        score = Score(metric, "float", np.dtype(np.float32))
        left, right = (side_of(rows_of(moved(v, device), "x", metric)[0], score, torch.device(device)) for v in (q, x))
        kind = kind_of(left, right, score)
        keys = torch.empty((count, -(-n // group)), dtype=torch.int32, device=device)
        squares = squares_of(right, kind) if count > 64 else None
        queries = scan_keys(Scan(right, kind), left, 0, keys, group, score, Allowed(None, None, torch.device(device)), squares)
        merit = {"cosine": a @ b.T / lengths, "ip": a @ b.T, "l2": a @ b.T - lengths**2 / 2}[metric]
        bits = ~keys.cpu().numpy()
        bound = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).view(np.float32) / queries.scale.cpu().numpy()[:, None].astype(np.float64)
        slack = queries.bound.cpu().numpy()[:, None] / queries.scale.cpu().numpy()[:, None] * (1 if metric == "cosine" else lengths)
        best = [(merit + slack * sign).T[at : at + group].max(0) for at in range(0, n, group) for sign in (0, 3)]
        least, most = np.array(best[::2]).T, np.array(best[1::2]).T
        extra = slack if metric == "cosine" else 0.0  # what all rows share is added later
        assert (bound + extra >= least).all(), metric
        assert (bound <= most + 1e-4 * np.abs(most)).all(), metric


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
