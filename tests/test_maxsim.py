"""maxsim: canonical to the bit with k, within its bound without; ragged or padded, masked, split and threaded alike."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from typing import Any

import cases
import numpy as np
import pytest

import fastembed_core as fc
from fastembed_core import threads

pytestmark = pytest.mark.op("maxsim")

OPERANDS = tuple(p for p in cases.PAIRINGS if not p.query.endswith("_bits"))
FEW = tuple(p for p in OPERANDS if str(p) in ("f32-f32", "f16-bf16", "f32-int8_row", "f32-binary", "i8-i8", "u8-u8", "int8_row-int8_row"))
UNFILLED = {"f": -np.inf, "i": np.iinfo(np.int32).min}


def offsets(rng: np.random.Generator, n: int, longest: int) -> np.ndarray:
    """Sets of 0 to `longest` tokens, some of them empty."""
    return np.concatenate([[0], np.cumsum(rng.integers(0, longest + 1, n) * (rng.random(n) < 0.9))])


def case(pairing: cases.Pairing, d: int, values: str, q: int = 4, n: int = 17, longest: int = 21) -> tuple[Any, Any, dict[str, Any]]:
    rng = cases.rng_of("maxsim", pairing, d, values, n)
    ends = {"query_offsets": offsets(rng, q, 7), "document_offsets": offsets(rng, n, longest)}
    queries = cases.operand(pairing.query, int(ends["query_offsets"][-1]), d, rng, values)
    return cases.freeze(queries), cases.freeze(cases.operand(pairing.corpus, int(ends["document_offsets"][-1]), d, rng, values)), ends


def metrics(pairing: cases.Pairing, d: int, values: str) -> tuple[str, ...]:
    return ("ip", "cosine") if pairing.query in ("f32", "i8", "int8_row", "ubinary") and d % 2 else ("ip",)


@pytest.mark.parametrize("pairing", OPERANDS, ids=str)
def test_the_k_best_are_the_reference_s_to_the_bit(pairing: cases.Pairing, backend: str) -> None:
    for d, values in ((1, "normal"), (8, "ties"), (17, "nan"), (33, "dynamic"), (64, "duplicates"), (130, "normal"), (31, "inf")):
        queries, documents, ends = case(pairing, d, values)
        for metric in metrics(pairing, d, values):
            expected = fc.maxsim(queries, documents, k=6, metric=metric, backend="reference", **ends)
            cases.assert_same(fc.maxsim(queries, documents, k=6, metric=metric, backend=backend, **ends), expected, f"{values} {metric}")


@pytest.mark.parametrize("pairing", FEW, ids=str)
@pytest.mark.parametrize("values", cases.VALUES)
def test_every_kind_of_value(pairing: cases.Pairing, values: str, backend: str) -> None:
    queries, documents, ends = case(pairing, 19, values)
    for metric in ("ip", "cosine"):
        expected = fc.maxsim(queries, documents, k=17, metric=metric, backend="reference", **ends)
        cases.assert_same(fc.maxsim(queries, documents, k=17, metric=metric, backend=backend, **ends), expected, metric)


def test_every_dimension(backend: str) -> None:
    for d in cases.DIMS:
        for pairing in FEW[:1] + FEW[4:5]:
            queries, documents, ends = case(pairing, d, "normal", 2, 9, 30)
            expected = fc.maxsim(queries, documents, k=9, backend="reference", **ends)
            cases.assert_same(fc.maxsim(queries, documents, k=9, backend=backend, **ends), expected, str(d))


@pytest.mark.parametrize("pairing", OPERANDS, ids=str)
def test_the_matrix_lies_within_its_bound(pairing: cases.Pairing, backend: str) -> None:
    for d, values in ((1, "normal"), (17, "offset"), (64, "ties"), (130, "normal")):
        queries, documents, ends = case(pairing, d, values)
        expected = fc.maxsim(queries, documents, metric="ip", backend="reference", **ends)
        scores = fc.maxsim(queries, documents, metric="ip", backend=backend, **ends)
        assert (scores.dtype, scores.shape) == (expected.dtype, expected.shape)
        if scores.dtype == np.int32:
            cases.assert_same(scores, expected)
            continue
        slack = bound(queries, documents, d, **ends)
        number = np.isfinite(expected)
        assert (number == np.isfinite(scores)).all()
        assert (np.abs(scores[number].astype(np.float64) - expected[number]) <= slack[number]).all(), (pairing, d, values)


def bound(queries: Any, documents: Any, d: int, query_offsets: np.ndarray, document_offsets: np.ndarray) -> np.ndarray:
    """The docstring's: (D + 64) 2**-24 sum |q_i| max |d_t|, and the last rounding."""
    import oracle

    a, b = (np.sqrt(np.square(oracle.values64(x)).sum(1)) for x in (queries, documents))
    per_query = np.array([a[lo:hi].sum() for lo, hi in itertools.pairwise(query_offsets)])
    longest = np.array([b[lo:hi].max(initial=0) for lo, hi in itertools.pairwise(document_offsets)])
    return (d + 64) * 2.0**-24 * per_query[:, None] * longest


def test_the_reference_is_the_formula() -> None:
    """Against exact rational arithmetic, away from every backend."""
    rng = cases.rng_of("formula")
    q, d = rng.standard_normal((3, 5)).astype(np.float32), rng.standard_normal((4, 5)).astype(np.float32)
    best = [max(sum(Fraction(float(a)) * Fraction(float(b)) for a, b in zip(x, y, strict=True)) for y in d) for x in q]
    score = fc.maxsim(q, d, document_offsets=[0, 4], k=1, backend="reference")[0][0, 0]
    assert math.isclose(score, float(sum(best)), rel_tol=1e-7)


def test_padded_and_masked_is_ragged(backend: str) -> None:
    """Padding, holes in a mask, slices of longer arrays, and offsets: the same tokens give the same bits."""
    rng = cases.rng_of("padded")
    whole = rng.standard_normal((13, 40, 48)).astype(np.float32)
    asked = rng.standard_normal((3, 9, 48)).astype(np.float32)
    shapes = {
        "right": np.arange(30) < rng.integers(0, 31, 13)[:, None],
        "left": np.arange(30) >= rng.integers(0, 31, 13)[:, None],
        "holes": rng.random((13, 30)) < 0.6,
        "none": np.zeros((13, 30), bool),
    }
    query_mask = np.arange(9) < np.array([9, 0, 4])[:, None]
    queries, query_ends = asked[query_mask], np.array([0, 9, 9, 13])
    for name, mask in shapes.items():
        padded = whole[:, :30, :33]
        padded_queries = asked[:, :, :33]
        tokens, ends = padded[mask], np.concatenate([[0], np.cumsum(mask.sum(1))])
        for k in (None, 13):
            expected = fc.maxsim(queries[:, :33], tokens, query_offsets=query_ends, document_offsets=ends, k=k, backend=backend)
            how: dict[str, Any] = {"query_mask": query_mask, "document_mask": mask, "k": k, "backend": backend}
            cases.assert_same(fc.maxsim(padded_queries, padded, **how), expected, name)
            cases.assert_same(fc.maxsim(padded_queries, padded, **(how | {"document_mask": mask.astype(np.int64)})), expected, name)
            flat, flat_ends = padded.reshape(-1, 33), np.arange(14) * 30
            how["document_mask"] = mask.reshape(-1)
            cases.assert_same(fc.maxsim(padded_queries, flat, document_offsets=flat_ends, **how), expected, name)


def test_masked_tokens_are_not_read(backend: str) -> None:
    rng = cases.rng_of("poison")
    documents = rng.standard_normal((6, 11, 20)).astype(np.float32)
    mask = rng.random((6, 11)) < 0.5
    queries = rng.standard_normal((5, 20)).astype(np.float32)
    clean = fc.maxsim(queries, documents, document_mask=mask, k=6, backend=backend)
    documents[~mask] = np.nan
    cases.assert_same(fc.maxsim(queries, documents, document_mask=mask, k=6, backend=backend), clean)


def test_nothing_to_score(backend: str) -> None:
    """No tokens in a document: -inf, whatever the query; none in a query: 0; no documents, no queries: no scores."""
    for dtype in (np.float32, np.int8):
        queries, documents = np.ones((2, 4), dtype), np.ones((3, 4), dtype)
        result = fc.maxsim(queries, documents, query_offsets=[0, 0, 2], document_offsets=[0, 0, 3, 3], backend=backend)
        least = UNFILLED[result.dtype.kind]
        assert result.tolist() == [[least, 0, least], [least, 8, least]]
        scores, rows = fc.maxsim(queries, documents, query_offsets=[0, 0, 2], document_offsets=[0, 0, 3, 3], k=9, backend=backend)
        assert rows.tolist() == [[1, 0, 2]] * 2
        assert scores.tolist() == [[0, least, least], [8, least, least]]
        for k, shape in ((None, (2, 0)), (4, (2, 0))):
            none = fc.maxsim(queries, documents[:0], query_offsets=[0, 1, 2], document_offsets=[0], k=k, backend=backend)
            assert (none if k is None else none[0]).shape == shape
        assert fc.maxsim(queries[:0], documents, query_offsets=[0], document_offsets=[0, 3], backend=backend).shape == (0, 1)
        scores, rows = fc.maxsim(queries, documents, document_offsets=[0, 1, 3], k=0, backend=backend)
        assert scores.shape == rows.shape == (1, 0)
        assert fc.maxsim(queries[:, :0], documents[:, :0], document_offsets=[0, 1, 3], backend=backend).tolist() == [[0, 0]]


def test_documents_that_may_be_returned(backend: str) -> None:
    queries, documents, ends = case(FEW[0], 24, "ties", 5, 40, 9)
    rng = cases.rng_of("allowed")
    for name, mask in cases.masks(5, 40, rng):
        expected = fc.maxsim(queries, documents, k=12, mask=mask, backend="reference", **ends)
        cases.assert_same(fc.maxsim(queries, documents, k=12, mask=mask, backend=backend, **ends), expected, name)


@pytest.mark.parametrize("pairing", FEW, ids=str)
def test_the_same_on_any_threads_and_in_any_batch(pairing: cases.Pairing, backend: str) -> None:
    queries, documents, ends = case(pairing, 40, "near", 9, 300, 40)
    for k in (None, 5):
        results = []
        for n in (1, 2, 3):
            with threads.limit(n):
                results.append(fc.maxsim(queries, documents, k=k, backend=backend, **ends))
        for result in results[1:]:
            cases.assert_same(result, results[0])
        whole = results[0] if k is None else results[0][0]
        for lo, hi in ((0, 1), (2, 7), (8, 9)):
            first = ends["query_offsets"][lo]
            part = queries[first : ends["query_offsets"][hi]]
            some = {"query_offsets": ends["query_offsets"][lo : hi + 1] - first, "document_offsets": ends["document_offsets"]}
            result = fc.maxsim(part, documents, k=k, backend=backend, **some)
            cases.assert_same(result if k is None else result[0], whole[lo:hi], f"{lo}:{hi}")
    matrix = fc.maxsim(queries, documents, backend=backend, **ends)
    for lo, hi in ((0, 3), (7, 150), (299, 300)):
        first = ends["document_offsets"][lo]
        part = documents[first : ends["document_offsets"][hi]]
        some = {"query_offsets": ends["query_offsets"], "document_offsets": ends["document_offsets"][lo : hi + 1] - first}
        cases.assert_same(fc.maxsim(queries, part, backend=backend, **some), matrix[:, lo:hi], f"documents {lo}:{hi}")


def test_documents_longer_than_any_block(backend: str) -> None:
    rng = cases.rng_of("long")
    ends = np.array([0, 3, 1200, 1200, 1201, 3000])
    documents = rng.standard_normal((3000, 20)).astype(np.float32)
    queries = rng.standard_normal((70, 20)).astype(np.float32)
    for kind in ("f32", "i8"):
        q, x = (a if kind == "f32" else np.clip(np.rint(a * 40), -128, 127).astype(np.int8) for a in (queries, documents))
        expected = fc.maxsim(q, x, document_offsets=ends, k=5, backend="reference")
        cases.assert_same(fc.maxsim(q, x, document_offsets=ends, k=5, backend=backend), expected)
        mask = rng.random(3000) < 0.7
        expected = fc.maxsim(q, x, document_offsets=ends, document_mask=mask, k=5, backend="reference")
        cases.assert_same(fc.maxsim(q, x, document_offsets=ends, document_mask=mask, k=5, backend=backend), expected)


def test_scores_an_estimate_cannot_order(backend: str) -> None:
    """Documents and tokens a few last places apart: the maximum and the ranking are the canonical ones."""
    rng = cases.rng_of("near")
    base = rng.standard_normal((1, 64))
    documents = (base * (1 + rng.integers(-2, 3, (400 * 5, 64)) * 2.0**-23)).astype(np.float32)
    queries = base.repeat(6, 0).astype(np.float32)
    ends = np.arange(401) * 5
    expected = fc.maxsim(queries, documents, document_offsets=ends, k=30, backend="reference")
    cases.assert_same(fc.maxsim(queries, documents, document_offsets=ends, k=30, backend=backend), expected)


@pytest.mark.parametrize(("side", "gap"), [("end", 0), ("end", 3), ("start", 0)])
def test_nothing_is_read_outside_the_rows(side: str, gap: int, backend: str) -> None:
    for pairing in OPERANDS:
        for d in (1, 17, 31):
            queries, documents, ends = case(pairing, d, "normal")
            keep: list[cases.Guarded] = []
            guarded = [cases.guarded(x, keep, side, gap) for x in (queries, documents)]
            expected = fc.maxsim(queries, documents, k=4, metric="ip", backend=backend, **ends)
            cases.assert_same(fc.maxsim(*guarded, k=4, metric="ip", backend=backend, **ends), expected, f"{pairing} {d}")


def test_layouts(backend: str) -> None:
    for pairing in FEW:
        queries, documents, ends = case(pairing, 30, "normal")
        expected = fc.maxsim(queries, documents, k=5, backend=backend, **ends)
        for name, layout in cases.LAYOUTS.items():
            arrays = [cases.laid_out(x, layout) for x in (queries, documents)]
            cases.assert_same(fc.maxsim(*arrays, k=5, backend=backend, **ends), expected, f"{pairing} {name}")


def test_out(backend: str) -> None:
    queries, documents, ends = case(FEW[0], 16, "normal")
    matrix, best = np.empty((4, 17), np.float32), (np.empty((4, 5), np.float32), np.empty((4, 5), np.int64))
    assert fc.maxsim(queries, documents, out=matrix, backend=backend, **ends) is matrix
    assert fc.maxsim(queries, documents, k=5, out=best, backend=backend, **ends)[1] is best[1]
    cases.assert_same(best, fc.maxsim(queries, documents, k=5, backend=backend, **ends))
    cases.assert_same(matrix, fc.maxsim(queries, documents, backend=backend, **ends))


X, Q = np.ones((6, 4), np.float32), np.ones((2, 4), np.float32)
BITS = fc.Codes(np.ones((6, 1), np.uint8), "ubinary", 4)
BAD = {
    "documents without sets": (ValueError, "documents", lambda: fc.maxsim(Q, X)),
    "offsets beside padding": (ValueError, "document_offsets", lambda: fc.maxsim(Q, X[None], document_offsets=[0, 6])),
    "offsets that end early": (ValueError, "document_offsets", lambda: fc.maxsim(Q, X, document_offsets=[0, 5])),
    "offsets that fall": (ValueError, "document_offsets", lambda: fc.maxsim(Q, X, document_offsets=[0, 4, 2, 6])),
    "float offsets": (TypeError, "document_offsets", lambda: fc.maxsim(Q, X, document_offsets=[0.0, 6.0])),
    "a mask of another shape": (ValueError, "document_mask", lambda: fc.maxsim(Q, X[None], document_mask=np.ones((1, 5), bool))),
    "a mask with twos": (ValueError, "document_mask", lambda: fc.maxsim(Q, X[None], document_mask=np.full((1, 6), 2))),
    "another dimension": (ValueError, "documents", lambda: fc.maxsim(Q, X[None, :, :3])),
    "a distance": (ValueError, "metric", lambda: fc.maxsim(Q, X[None], metric="l2")),
    "an unknown metric": (ValueError, "metric", lambda: fc.maxsim(Q, X[None], metric="cosin")),
    "bits without a metric": (TypeError, "metric", lambda: fc.maxsim(BITS, BITS, query_offsets=[0, 6], document_offsets=[0, 6])),
    "mixed integers": (TypeError, "queries", lambda: fc.maxsim(Q.astype(np.int8), X[None].astype(np.uint8))),
    "documents' mask without k": (ValueError, "mask", lambda: fc.maxsim(Q, X[None], mask=np.ones(1, bool))),
    "a negative k": (ValueError, "k", lambda: fc.maxsim(Q, X[None], k=-1)),
    "text": (TypeError, "documents", lambda: fc.maxsim(Q, "text", document_offsets=[0])),
    "sums beyond int32": (ValueError, "queries", lambda: fc.maxsim(np.ones((2000, 128), np.int8), np.ones((1, 1, 128), np.int8))),
    "tokens in between tokens": (ValueError, "documents", lambda: fc.maxsim(Q, np.ones((5, 3, 4), np.float32).transpose(1, 0, 2))),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_told_in_one_sentence(name: str) -> None:
    kind, argument, call = BAD[name]
    with pytest.raises(kind, match=f"^{argument}( and documents)?: got ") as caught:
        call()
    assert "expected" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_torch_in_torch_out() -> None:
    torch = pytest.importorskip("torch")
    rng = cases.rng_of("torch")
    q, x = (torch.from_numpy(rng.standard_normal(shape).astype(np.float32)) for shape in ((2, 5, 16), (7, 9, 16)))
    mask = torch.from_numpy(rng.random((7, 9)) < 0.7)
    scores = fc.maxsim(q, x, document_mask=mask)
    assert isinstance(scores, torch.Tensor)
    dots = torch.einsum("qsd,ntd->qnst", q.double(), x.double()).masked_fill(~mask[None, :, None], -torch.inf)
    assert torch.allclose(scores.double(), dots.amax(3).sum(2), rtol=1e-6)
    half = fc.maxsim(q.bfloat16(), x.bfloat16(), document_mask=mask, k=3)
    assert half[0].dtype == torch.float32
    assert half[1].dtype == torch.int64


@pytest.mark.parametrize("metric", ["ip", "cosine"])
@pytest.mark.parametrize("k", [None, 3])
def test_gradients(metric: str, k: int | None) -> None:
    """They are those of the composition that holds the largest product of each query token."""
    torch = pytest.importorskip("torch")
    rng = cases.rng_of("gradient")
    q, x = (torch.from_numpy(rng.standard_normal(shape).astype(np.float32)).requires_grad_() for shape in ((2, 4, 6), (5, 3, 6)))
    mask = torch.ones(5, 3, dtype=torch.bool)
    mask[1, 2] = mask[4, 0] = False
    result = fc.maxsim(q, x, document_mask=mask, k=k, metric=metric)
    scores = result if k is None else result[0]
    weight = torch.arange(1.0, scores.numel() + 1).view(scores.shape)
    (scores * weight).sum().backward()
    a, b = (t.detach().double().requires_grad_() for t in (q, x))
    if metric == "cosine":
        dots = torch.einsum("qsd,ntd->qnst", *(torch.nn.functional.normalize(t, dim=2) for t in (a, b)))
    else:
        dots = torch.einsum("qsd,ntd->qnst", a, b)
    full = dots.masked_fill(~mask[None, :, None], -torch.inf).amax(3).sum(2)
    expected = full if k is None else full.gather(1, result[1])
    (expected * weight).sum().backward()
    for actual, wanted in ((q.grad, a.grad), (x.grad, b.grad)):
        assert torch.allclose(actual.double(), wanted, rtol=1e-5, atol=1e-5)
    detached = fc.maxsim(q.detach(), x.detach(), document_mask=mask, k=k, metric=metric, backend="torch")
    cases.assert_same(scores.detach(), detached if k is None else detached[0])


def test_an_explicit_backend_keeps_no_gradient_silently() -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match="requires grad"):
        fc.maxsim(torch.ones(2, 4, requires_grad=True), torch.ones(1, 3, 4), backend="numpy")
