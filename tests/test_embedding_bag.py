"""embedding_bag: within its bound of the reference, the same bits however it is cut, as torch has it, and refused in one sentence."""

from __future__ import annotations

import itertools
from typing import Any

import cases
import numpy as np
import oracle
import pytest

import fastembed_core as fc
from fastembed_core import threads

pytestmark = pytest.mark.op("embedding_bag")

TABLES = ("f32", "f16", "bf16", "f64", "i8", "u8", "int8_row", "int4_row", "int8", "uint8", "binary", "ubinary")
MODES = ("sum", "mean", "max")


def case(kind: str, d: int, values: str = "normal", n: int = 50, bags: int = 9, longest: int = 12) -> tuple[Any, np.ndarray, np.ndarray]:
    """A table, ids and offsets, some of the bags empty."""
    rng = cases.rng_of("bag", kind, d, values, bags, longest)
    lengths = rng.integers(0, longest + 1, bags) * (rng.random(bags) < 0.8)
    ids = rng.integers(0, n, lengths.sum())
    return cases.freeze(cases.operand(kind, n, d, rng, values)), ids, np.concatenate([[0], np.cumsum(lengths)])


def assert_close(actual: np.ndarray, table: Any, ids: np.ndarray, offsets: np.ndarray, mode: str, weights: np.ndarray | None) -> None:
    """The bound the docstring gives, against float64 sums written down here."""
    x = oracle.values64(table)
    if isinstance(table, fc.Codes) and table.precision in ("int8", "uint8") and table.ranges is None:
        raise AssertionError("codes without ranges have no values")
    w = np.ones(len(ids)) if weights is None else weights.astype(np.float64)
    assert actual.shape == (len(offsets) - 1, x.shape[1])
    for b, row in enumerate(actual):
        at = slice(offsets[b], offsets[b + 1])
        if at.start == at.stop:
            assert not row.any()
            continue
        terms = w[at, None] * x[ids[at]]
        if mode == "max":
            np.testing.assert_array_equal(row, terms.max(0).astype(np.float32))
            continue
        divisor = w[at].sum() if mode == "mean" else 1.0
        bound = (80 + len(terms) / 64) * 2.0**-24 * np.abs(terms).sum(0) / abs(divisor) + 1e-44
        assert (np.abs(row - terms.sum(0) / divisor) <= bound).all(), (mode, b)


@pytest.mark.parametrize("kind", TABLES)
def test_every_table(kind: str, backend: str) -> None:
    for d in (*cases.DIMS, 260, 700):
        table, ids, offsets = case(kind, d)
        weights = cases.rng_of("weights", d).standard_normal(len(ids)).astype(np.float32)
        for mode in MODES:
            assert_close(fc.embedding_bag(table, ids, offsets, mode=mode, backend=backend), table, ids, offsets, mode, None)
        positive = np.abs(weights) + np.float32(0.1)
        for mode, w in (("sum", weights), ("mean", positive)):
            result = fc.embedding_bag(table, ids, offsets, mode=mode, weights=w, backend=backend)
            assert_close(result, table, ids, offsets, mode, w)


@pytest.mark.parametrize("kind", ["f32", "f16", "int8_row"])
def test_bags_longer_than_a_leaf(kind: str, backend: str) -> None:
    table, ids, offsets = case(kind, 40, bags=7, longest=500)
    for mode in MODES:
        assert_close(fc.embedding_bag(table, ids, offsets, mode=mode, backend=backend), table, ids, offsets, mode, None)


@pytest.mark.parametrize("values", ["nan", "inf", "zero_rows", "subnormal", "overflow", "dynamic"])
@pytest.mark.parametrize("mode", MODES)
def test_values_no_sum_likes(values: str, mode: str, backend: str) -> None:
    for kind in ("f32", "f64", "int8_row"):
        table, ids, offsets = case(kind, 21, values, longest=1)
        expected = fc.embedding_bag(table, ids, offsets, mode=mode, backend="reference")
        actual = fc.embedding_bag(table, ids, offsets, mode=mode, backend=backend)
        np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-44, equal_nan=True)  # bags of one row: the row
        assert (np.isnan(actual) == np.isnan(expected)).all()


def test_max_takes_nan(backend: str) -> None:
    table = np.array([[1, np.nan], [2, 3]], np.float32)
    for ids in ([0, 1], [1, 0]):
        row = fc.embedding_bag(table, np.array([ids]), mode="max", backend=backend)[0]
        assert row[0] == 2
        assert np.isnan(row[1])


def test_two_forms_of_offsets_and_two_of_ids(backend: str) -> None:
    table, _, _ = case("f32", 20)
    ids = cases.rng_of("forms").integers(0, 50, (6, 5))
    whole = fc.embedding_bag(table, ids, backend=backend)
    ends = np.arange(7) * 5
    for form in (ids.reshape(-1), ids.reshape(-1).astype(np.int32), ids.reshape(-1).astype(np.uint8)):
        cases.assert_same(fc.embedding_bag(table, form, ends, backend=backend), whole)
    cases.assert_same(fc.embedding_bag(table, ids.reshape(-1), ends[:-1], include_last_offset=False, backend=backend), whole)


def test_padding_counts_for_nothing(backend: str) -> None:
    table, _, _ = case("f32", 20)
    ids = np.array([[4, 7, 9, 7], [7, 7, 7, 7], [1, 2, 3, 7]])
    weights = np.array([[1, 9, 2, 9], [9, 9, 9, 9], [3, 4, 5, 9]], np.float32)
    kept, ends = np.array([4, 9, 1, 2, 3]), np.array([0, 2, 2, 5])
    for mode in MODES:
        expected = fc.embedding_bag(table, kept, ends, mode=mode, backend=backend)
        cases.assert_same(fc.embedding_bag(table, ids, mode=mode, padding_idx=7, backend=backend), expected)
    expected = fc.embedding_bag(table, kept, ends, weights=np.array([1, 2, 3, 4, 5], np.float32), backend=backend)
    cases.assert_same(fc.embedding_bag(table, ids, weights=weights, padding_idx=7, backend=backend), expected)
    expected = fc.embedding_bag(table, kept, ends, backend=backend)
    cases.assert_same(fc.embedding_bag(table, np.where(ids == 7, -1, ids), padding_idx=-1, backend=backend), expected)


@pytest.mark.parametrize("kind", TABLES)
def test_what_follows_the_sum_is_what_its_own_call_gives(kind: str, backend: str) -> None:
    table, ids, offsets = case(kind, 70)
    plain = fc.embedding_bag(table, ids, offsets, truncate_dim=37, backend=backend)
    np.testing.assert_allclose(plain, fc.embedding_bag(table, ids, offsets, backend=backend)[:, :37], rtol=1e-5, atol=1e-5)
    unit = fc.embedding_bag(table, ids, offsets, truncate_dim=37, normalize=True, backend=backend)
    np.testing.assert_allclose(unit, fc.normalize(plain), rtol=2.0**-22, atol=1e-44)
    ranges = np.stack([unit.min(0), unit.max(0)])
    for precision in ("int8_row", "int4_row", "binary", "ubinary", "int8", "uint8"):
        given = {"ranges": ranges} if precision in ("int8", "uint8") else {}
        codes = fc.embedding_bag(table, ids, offsets, truncate_dim=37, normalize=True, precision=precision, backend=backend, **given)
        expected = fc.quantize(unit, precision, **given)
        assert (codes.precision, codes.dim) == (precision, 37)
        np.testing.assert_array_equal(codes.data, expected.data)
        if codes.scale is not None:
            cases.assert_same(codes.scale, expected.scale)
    half = fc.embedding_bag(table, ids, offsets, truncate_dim=37, normalize=True, precision="float16", backend=backend)
    np.testing.assert_array_equal(half, unit.astype(np.float16))


@pytest.mark.parametrize("kind", ["f32", "bf16", "int8_row", "uint8"])
@pytest.mark.parametrize("mode", MODES)
def test_the_same_on_any_threads_and_in_any_batch(kind: str, mode: str, backend: str) -> None:
    table, ids, offsets = case(kind, 64, n=900, bags=400, longest=150)
    results = []
    for n in (1, 2, 3):
        with threads.limit(n):
            results.append(fc.embedding_bag(table, ids, offsets, mode=mode, backend=backend))
    for result in results[1:]:
        cases.assert_same(result, results[0])
    for lo, hi in ((0, 1), (3, 170), (399, 400)):
        part, ends = ids[offsets[lo] : offsets[hi]], offsets[lo : hi + 1] - offsets[lo]
        cases.assert_same(fc.embedding_bag(table, part, ends, mode=mode, backend=backend), results[0][lo:hi], f"{lo}:{hi}")


@pytest.mark.parametrize("kind", TABLES)
def test_every_layout_where_it_lies(kind: str, backend: str) -> None:
    table, ids, offsets = case(kind, 33)
    expected = fc.embedding_bag(table, ids, offsets, backend=backend)
    for name, layout in cases.LAYOUTS.items():
        cases.assert_same(fc.embedding_bag(cases.laid_out(table, layout), ids, offsets, backend=backend), expected, name)
    for side, gap in (("end", 0), ("end", 3), ("start", 0)):
        keep: list[cases.Guarded] = []
        cases.assert_same(fc.embedding_bag(cases.guarded(table, keep, side, gap), ids, offsets, backend=backend), expected, side)


def test_nothing_in_nothing_out(backend: str) -> None:
    table = np.ones((3, 4), np.float32)
    none = np.empty(0, np.int64)
    for mode in MODES:
        assert fc.embedding_bag(table, none, [0], mode=mode, backend=backend).shape == (0, 4)
        assert not fc.embedding_bag(table, none, [0, 0, 0], mode=mode, backend=backend).any()
        assert fc.embedding_bag(table, np.empty((2, 0), np.int64), mode=mode, backend=backend).tolist() == [[0] * 4] * 2
        assert fc.embedding_bag(table[:, :0], np.array([[0]]), mode=mode, backend=backend).shape == (1, 0)
        assert fc.embedding_bag(table[:0], none, [0, 0], mode=mode, backend=backend).tolist() == [[0] * 4]


def test_out(backend: str) -> None:
    table, ids, offsets = case("f32", 16)
    expected = fc.embedding_bag(table, ids, offsets, backend=backend)
    for out in (np.empty((9, 16), np.float32), np.empty((9, 32), np.float32)[:, ::2], np.empty((16, 9), np.float32).T):
        assert fc.embedding_bag(table, ids, offsets, out=out, backend=backend) is out
        cases.assert_same(out, expected)


T, IDS = np.ones((5, 4), np.float32), np.array([0, 1, 2])
BAD = {
    "an id below 0": ("ids", ValueError, lambda: fc.embedding_bag(T, np.array([0, -1]), [0, 2])),
    "an id beyond the table": ("ids", ValueError, lambda: fc.embedding_bag(T, np.array([[0, 5]]))),
    "ids without offsets": ("ids", ValueError, lambda: fc.embedding_bag(T, IDS)),
    "ids of 2 dimensions with offsets": ("ids", ValueError, lambda: fc.embedding_bag(T, IDS[None], [0, 3])),
    "float ids": ("ids", TypeError, lambda: fc.embedding_bag(T, IDS.astype(np.float32), [0, 3])),
    "offsets that end early": ("offsets", ValueError, lambda: fc.embedding_bag(T, IDS, [0, 2])),
    "offsets that fall": ("offsets", ValueError, lambda: fc.embedding_bag(T, IDS, [0, 3, 1, 3])),
    "offsets from 1": ("offsets", ValueError, lambda: fc.embedding_bag(T, IDS, [1, 3])),
    "float offsets": ("offsets", TypeError, lambda: fc.embedding_bag(T, IDS, np.array([0.0, 3.0]))),
    "another mode": ("mode", ValueError, lambda: fc.embedding_bag(T, IDS, [0, 3], mode="median")),
    "weights of max": ("weights", ValueError, lambda: fc.embedding_bag(T, IDS, [0, 3], mode="max", weights=np.ones(3, np.float32))),
    "too few weights": ("weights", ValueError, lambda: fc.embedding_bag(T, IDS, [0, 3], weights=np.ones(2, np.float32))),
    "integer weights": ("weights", TypeError, lambda: fc.embedding_bag(T, IDS, [0, 3], weights=np.ones(3, np.int64))),
    "a padding id that is none": ("padding_idx", TypeError, lambda: fc.embedding_bag(T, IDS, [0, 3], padding_idx=1.5)),
    "a table of one dimension": ("table", ValueError, lambda: fc.embedding_bag(T[0], IDS, [0, 3])),
    "too many elements": ("truncate_dim", ValueError, lambda: fc.embedding_bag(T, IDS, [0, 3], truncate_dim=5)),
    "no such precision": ("precision", ValueError, lambda: fc.embedding_bag(T, IDS, [0, 3], precision="int7")),
    "int8 without ranges": ("ranges", ValueError, lambda: fc.embedding_bag(T, IDS, [0, 3], precision="int8")),
    "an out of another shape": ("out", ValueError, lambda: fc.embedding_bag(T, IDS, [0, 3], out=np.empty((2, 4), np.float32))),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_told_in_one_sentence(name: str) -> None:
    argument, kind, call = BAD[name]
    with pytest.raises(kind, match=f"^{argument}: got ") as caught:
        call()
    assert "expected" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("mode", MODES)
def test_as_torch_has_it(mode: str, backend: str) -> None:
    torch = pytest.importorskip("torch")
    table, ids, offsets = case("f32", 24)
    x, i, ends = torch.from_numpy(table.copy()), torch.from_numpy(ids), torch.from_numpy(offsets)
    expected = torch.nn.functional.embedding_bag(i, x, ends, mode=mode, include_last_offset=True)
    actual = fc.embedding_bag(x, i, ends, mode=mode, backend=backend)
    assert isinstance(actual, torch.Tensor)
    assert torch.allclose(actual, expected, rtol=1e-5, atol=1e-6)
    starts = fc.embedding_bag(x, i, ends[:-1], mode=mode, include_last_offset=False, padding_idx=3, backend=backend)
    assert torch.allclose(starts, torch.nn.functional.embedding_bag(i, x, ends[:-1], mode=mode, padding_idx=3), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_gradients_are_torch_s(mode: str) -> None:
    torch = pytest.importorskip("torch")
    table, ids, offsets = case("f32", 11)
    each = [np.unique(ids[a:b]) for a, b in itertools.pairwise(offsets)]  # ties of max share their gradient
    ids, offsets = np.concatenate(each), np.concatenate([[0], np.cumsum([len(one) for one in each])])
    i, ends = torch.from_numpy(ids), torch.from_numpy(offsets)
    ours, theirs = (torch.from_numpy(table.copy()).requires_grad_() for _ in range(2))
    weight = torch.linspace(-1, 1, 9 * 11).view(9, 11)
    (fc.embedding_bag(ours, i, ends, mode=mode) * weight).sum().backward()
    (torch.nn.functional.embedding_bag(i, theirs, ends, mode=mode, include_last_offset=True) * weight).sum().backward()
    assert torch.allclose(ours.grad, theirs.grad, rtol=1e-5, atol=1e-6)


def test_gradients_of_weights() -> None:
    torch = pytest.importorskip("torch")
    table, ids, offsets = case("f32", 11)
    x, i, ends = torch.from_numpy(table.copy()), torch.from_numpy(ids), torch.from_numpy(offsets)
    ours, theirs = (torch.linspace(0.1, 1, len(ids)).requires_grad_() for _ in range(2))
    fc.embedding_bag(x, i, ends, mode="sum", weights=ours).square().sum().backward()
    expected = torch.nn.functional.embedding_bag(i, x, ends, mode="sum", per_sample_weights=theirs, include_last_offset=True)
    expected.square().sum().backward()
    assert torch.allclose(ours.grad, theirs.grad, rtol=1e-5, atol=1e-5)
    with pytest.raises(TypeError, match=r"^precision: got .int8_row. for an input that requires grad"):
        fc.embedding_bag(x.requires_grad_(), i, ends, precision="int8_row")
