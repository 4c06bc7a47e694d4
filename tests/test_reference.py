"""The oracle on trial: against exact arithmetic, against a second writing-down of its order, and with faults sown in a cell."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any

import cases
import numpy as np
import oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastembed_core as fc
from fastembed_core import dispatch
from fastembed_core.backends.reference._scores import lanes, ranking

F32 = cases.PAIRINGS[0]
VALUES = ("normal", "near", "subnormal", "dynamic", "overflow", "offset", "ties")


def score(a: np.ndarray, b: np.ndarray, metric: str) -> Any:
    return fc.similarity(a[None], b[None], metric, backend="reference")[0, 0]


def root(x: Fraction) -> Fraction:
    """A square root to sixty digits."""
    with localcontext() as context:
        context.prec = 60
        return Fraction((Decimal(x.numerator) / Decimal(x.denominator)).sqrt())


def exact(a: np.ndarray, b: np.ndarray, metric: str) -> tuple[Fraction, Fraction]:
    """(the score, a bound on the error of its float64 sums) in rational arithmetic."""
    p, q = [Fraction(float(v)) for v in a], [Fraction(float(v)) for v in b]
    unit = Fraction(len(a) // 8 + 12, 2**53)  # additions in a lane, of the tree, and the operations after them
    if metric in ("l2", "sqeuclidean"):
        squared = sum(((x - y) ** 2 for x, y in zip(p, q, strict=True)), Fraction(0))
        return (root(squared), unit * root(squared)) if metric == "l2" else (squared, unit * squared)
    dot = sum((x * y for x, y in zip(p, q, strict=True)), Fraction(0))
    size = sum((abs(x * y) for x, y in zip(p, q, strict=True)), Fraction(0))
    if metric == "ip":
        return dot, unit * size
    norms = root(sum(x * x for x in p)) * root(sum(y * y for y in q))
    return (dot / norms, 3 * unit * size / norms) if norms else (Fraction(0), Fraction(0))


@pytest.mark.parametrize("metric", cases.FLOAT_METRICS)
@pytest.mark.parametrize("values", VALUES)
def test_within_its_bound_of_exact_arithmetic(values: str, metric: str) -> None:
    for d in (1, 3, 8, 33, 130):
        queries, corpus = cases.operands(F32, 3, 3, d, values)
        for a, b in zip(queries, corpus, strict=True):
            value, bound = exact(a, b, metric)
            got = float(score(a, b, metric))
            if abs(value) + bound >= 2**128 - 2**103:
                assert math.isinf(got) or abs(Fraction(got) - value) <= bound + abs(value) / 2**24
            else:
                assert abs(Fraction(got) - value) <= bound + (abs(value) + bound) / 2**24 + Fraction(1, 2**150)


def test_what_float32_sums_would_lose() -> None:
    a = np.array([1e8, 1, -1e8, 0.5], np.float32)
    assert score(a, np.ones(4, np.float32), "ip") == 1.5
    near = np.float32(1000) + np.arange(16, dtype=np.float32) * np.float32(2.0**-13)
    assert score(near, near + np.float32(2.0**-13), "sqeuclidean") == 16 * 2.0**-26  # by |a|^2 + |b|^2 - 2 a.b: noise


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=0, max_size=60))
def test_lanes_are_close_to_a_correctly_rounded_sum(terms: list[float]) -> None:
    x = np.array(terms, np.float64)
    bound = (len(terms) // 8 + 4) * 2.0**-53 * math.fsum(map(abs, terms))
    assert abs(float(lanes(x[None])[0]) - math.fsum(terms)) <= bound


def by_hand(a: np.ndarray, b: np.ndarray, metric: str) -> float:
    """SEMANTICS section 3 once more, in Python's own floats."""

    def total(terms: list[float]) -> float:
        lane = [0.0] * 8
        for i, term in enumerate(terms):
            lane[i % 8] += term
        return ((lane[0] + lane[4]) + (lane[2] + lane[6])) + ((lane[1] + lane[5]) + (lane[3] + lane[7]))

    p, q = [float(v) for v in a], [float(v) for v in b]
    if metric in ("l2", "sqeuclidean"):
        squared = total([(x - y) * (x - y) for x, y in zip(p, q, strict=True)])
        return math.sqrt(squared) if metric == "l2" else squared
    dot = total([x * y for x, y in zip(p, q, strict=True)])
    if metric == "ip":
        return dot
    norms = math.sqrt(total([x * x for x in p])) * math.sqrt(total([y * y for y in q]))
    return dot / norms if norms else dot


@pytest.mark.parametrize("metric", cases.FLOAT_METRICS)
@pytest.mark.parametrize("values", ["normal", "near", "subnormal", "dynamic", "offset", "zero_rows"])
def test_the_canonical_order_to_the_bit(values: str, metric: str) -> None:
    for d in cases.DIMS:
        queries, corpus = cases.operands(F32, 2, 2, d, values)
        for a, b in zip(queries, corpus, strict=True):
            value = by_hand(a, b, metric)
            rounded = struct.unpack("f", struct.pack("f", value))[0] if abs(value) < 2.0**128 - 2.0**103 else math.copysign(math.inf, value)
            assert score(a, b, metric).tobytes() == struct.pack("f", rounded + 0.0), (d, value)


@pytest.mark.parametrize(
    "pairing", [p for p in cases.PAIRINGS if p.query == p.corpus and p.query in ("i8", "u8", "int8", "uint8")], ids=str
)
def test_integers_are_exact(pairing: cases.Pairing) -> None:
    queries, corpus = cases.operands(pairing, 4, 5, 37, "overflow")
    a, b = ((x.data if isinstance(x, fc.Codes) else x).astype(object) for x in (queries, corpus))
    dot, squared = a @ b.T, np.array([[((u - v) ** 2).sum() for v in b] for u in a])
    assert (fc.similarity(queries, corpus, "ip", backend="reference") == dot).all()
    assert (fc.similarity(queries, corpus, "sqeuclidean", backend="reference") == squared).all()
    norms = np.sqrt((a * a).sum(1).astype(float))[:, None] * np.sqrt((b * b).sum(1).astype(float))
    assert (fc.similarity(queries, corpus, "cosine", backend="reference") == (dot.astype(float) / norms).astype(np.float32)).all()


@pytest.mark.parametrize("pairing", [p for p in cases.PAIRINGS if p.corpus not in cases.FLOATS], ids=str)
def test_codes_stand_for_their_values(pairing: cases.Pairing) -> None:
    """Every kind of code against the values it stands for, decoded a second time and multiplied plainly."""
    queries, corpus = cases.operands(pairing, 3, 4, 21)
    integers = pairing.query in ("i8", "u8", "int8", "uint8")
    a, b = (x.data.astype(float) if integers and isinstance(x, fc.Codes) else decoded(x, pairing) for x in (queries, corpus))
    for metric in pairing.metrics:
        got = fc.similarity(queries, corpus, metric, backend="reference").astype(float)
        assert np.allclose(got, expected_of(a, b, metric), rtol=2e-6, atol=1e-5), metric


def decoded(x: Any, pairing: cases.Pairing) -> np.ndarray:
    if pairing.query in ("i8_bits", "u8_bits"):
        x = fc.Codes(x, "binary" if x.dtype == np.int8 else "ubinary", 8 * x.shape[1])
    return oracle.values64(x)


def expected_of(a: np.ndarray, b: np.ndarray, metric: str) -> np.ndarray:
    differ, both = (a[:, None] != b[None]).sum(2), ((a[:, None] > 0) & (b[None] > 0)).sum(2)
    squared = ((a[:, None] - b[None]) ** 2).sum(2)
    return {
        "ip": lambda: a @ b.T,
        "cosine": lambda: a @ b.T / np.linalg.norm(a, axis=1)[:, None] / np.linalg.norm(b, axis=1),
        "l2": lambda: np.sqrt(squared),
        "sqeuclidean": lambda: squared,
        "hamming": lambda: differ,
        "jaccard": lambda: np.where(differ + both == 0, 0, differ / np.maximum(1, differ + both)),
    }[metric]()


def test_ranking() -> None:
    """Numbers best first with infinities among them, then NaN, each by the lowest index."""
    values = np.array([1, np.nan, np.inf, 1, -np.inf, np.nan, 2], np.float32)
    index = np.arange(7)
    assert ranking(values, index, similarity=True).tolist() == [2, 6, 0, 3, 4, 1, 5]
    assert ranking(values, index, similarity=False).tolist() == [4, 0, 3, 6, 2, 1, 5]
    assert ranking(values, index[::-1], similarity=True).tolist() == [2, 6, 3, 0, 4, 5, 1]


def test_places() -> None:
    x = np.eye(3, dtype=np.float32)
    scores, indices = fc.topk(x[:1], x, 9, metric="ip", mask=np.array([True, False, True]), backend="reference")
    assert scores.tolist() == [[1, 0, -np.inf]]
    assert indices.tolist() == [[0, 2, -1]]
    scores, indices = fc.topk(x[:1], x, 9, metric="l2", exclude=np.array([0]), backend="reference")
    assert scores.tolist() == [[np.float32(math.sqrt(2))] * 2 + [np.inf]]
    assert indices.tolist() == [[1, 2, -1]]


# --- faults that the comparison must catch -----------------------------------------------------------------------------


def flipped_tie(scores: np.ndarray, indices: np.ndarray) -> None:
    i, j = np.argwhere((scores[:, 1:] == scores[:, :-1]) & (indices[:, 1:] >= 0))[0]
    indices[i, [j, j + 1]] = indices[i, [j + 1, j]]


def dropped_row(scores: np.ndarray, indices: np.ndarray) -> None:
    scores[1, 2:-1], indices[1, 2:-1] = scores[1, 3:].copy(), indices[1, 3:].copy()


def last_bit(scores: np.ndarray, indices: np.ndarray) -> None:
    i, j = np.argwhere(np.isfinite(scores))[-1]
    scores.view(np.int32)[i, j] += 1


def nan_first(scores: np.ndarray, indices: np.ndarray) -> None:
    i, j = np.argwhere(np.isnan(scores))[0]
    scores[i], indices[i] = np.roll(scores[i], -j), np.roll(indices[i], -j)


def other_nan(scores: np.ndarray, indices: np.ndarray) -> None:
    scores.view(np.uint32)[np.isnan(scores)] = 0xFFC00000


def minus_zero(scores: np.ndarray, indices: np.ndarray) -> None:
    scores[scores == 0] = -0.0


def row_zero_for_none(scores: np.ndarray, indices: np.ndarray) -> None:
    indices[indices == -1] = 0


@pytest.mark.parametrize("fault", [flipped_tie, dropped_row, last_bit, nan_first, other_nan, minus_zero, row_zero_for_none])
def test_a_fault_in_a_cell_is_caught(fault: Callable[[np.ndarray, np.ndarray], None], monkeypatch: pytest.MonkeyPatch) -> None:
    class Faulty(dispatch.Backend):
        def cell(self, op: str) -> Callable[..., Any]:
            def topk(*args: Any) -> tuple[np.ndarray, np.ndarray]:
                scores, indices = dispatch.get_backend("numpy").cell(op)(*args)
                if active:
                    before = scores.copy(), indices.copy()
                    fault(scores, indices)
                    assert scores.tobytes() != before[0].tobytes() or indices.tobytes() != before[1].tobytes(), "the fault did nothing"
                return scores, indices

            return topk

    faulty = Faulty("faulty", frozenset({"topk"}), lambda: None, lambda: "")
    monkeypatch.setattr(dispatch, "_third_party", lambda: {"faulty": faulty})
    x = cases.rng_of("faults").integers(-2, 3, (40, 3)).astype(np.float32)
    x[7] = np.nan
    mask = np.arange(40) < 30
    expected = fc.topk(x[:5], x, 36, metric="ip", mask=mask, backend="reference")
    active = False
    cases.assert_same(fc.topk(x[:5], x, 36, metric="ip", mask=mask, backend="faulty"), expected)
    active = True
    with pytest.raises(AssertionError, match="differ, first at"):
        cases.assert_same(fc.topk(x[:5], x, 36, metric="ip", mask=mask, backend="faulty"), expected)
