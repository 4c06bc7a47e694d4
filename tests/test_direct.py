"""Calls that are answered from their arguments as they are: which are, with which bits, and that all others go through the contract."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import cases
import numpy as np
import pytest
from conftest import isas

import fastembed_core as fc
from fastembed_core import dispatch
from fastembed_core.codes import BIT_PRECISIONS, ROW_PRECISIONS
from fastembed_core.ops.pool import MODES

pytestmark = pytest.mark.skipif(not isas(), reason="the compiled extension is not installed")

RNG = cases.rng_of("direct")
Q, X = (RNG.standard_normal((n, 33)).astype(np.float32) for n in (2, 40))
TOKENS, MASK = RNG.standard_normal((3, 7, 33)).astype(np.float32), RNG.integers(0, 2, (3, 7))
PAIRINGS = [p for p in cases.PAIRINGS if {p.query, p.corpus} <= {"f32", "f16", "f64"}]
# Every operation that has a direct way: a call of it, its arguments by name.
CALLS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "topk": (fc.topk, {"queries": Q, "corpus": X, "k": 3, "metric": "ip"}),
    "similarity": (fc.similarity, {"a": Q, "b": X, "metric": "ip"}),
    "similarity_paired": (fc.similarity_paired, {"a": Q, "b": X[:2], "metric": "ip"}),
    "normalize": (fc.normalize, {"x": X, "truncate_dim": 20}),
    "quantize": (fc.quantize, {"x": X, "precision": "int8_row"}),
    "pool": (fc.pool, {"tokens": TOKENS, "mask": MASK, "mode": "mean", "normalize": True, "truncate_dim": 20}),
}


@pytest.fixture(params=isas())
def isa(request: pytest.FixtureRequest) -> Iterator[None]:
    from fastembed_core import _core

    before = _core.isa()
    _core.select_isa(request.param)
    yield
    _core.select_isa(before)


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From its call on no contract can reach a backend: what is answered then is answered directly."""

    def run(op: str, *args: Any, **kwargs: Any) -> Any:
        raise AssertionError(f"{op} went through its contract")

    return lambda: monkeypatch.setattr(dispatch, "run", run)


def test_every_direct_way_is_tested() -> None:
    from fastembed_core import _core

    assert {f"direct_{op}" for op in CALLS} == {name for name in dir(_core) if name.startswith("direct_")}


@pytest.mark.parametrize("values", cases.VALUES)
@pytest.mark.parametrize("pairing", PAIRINGS, ids=str)
@pytest.mark.usefixtures("isa")
def test_the_bits_of_the_long_way(pairing: cases.Pairing, values: str, alone: Callable[[], None]) -> None:
    """To the last NaN: of few rows and many, of ties and of k beyond them."""
    shapes = [(1, 3, 1), (3, 70, 9), (2, 33, 130)]
    given = [(*cases.operands(pairing, *shape, values), metric) for shape in shapes for metric in pairing.metrics]

    def answers(**how: Any) -> Iterator[Any]:
        for q, x, metric in given:
            for k in (1, 10, 500):
                yield fc.topk(q, x, k, metric=metric, **how)
            yield fc.similarity(q, x, metric, **how)
            yield fc.similarity_paired(q, x[: len(q)], metric, **how)
            for dim in (None, 1):
                yield fc.normalize(x, truncate_dim=dim, **how)
            yield fc.normalize(x[0], eps=1e-3, **how)
            for precision in (*ROW_PRECISIONS, *BIT_PRECISIONS):
                codes = fc.quantize(x, precision, **how)
                assert (codes.precision, codes.dim, codes.ranges) == (precision, x.shape[1], None)
                yield codes.data if codes.scale is None else (codes.data, codes.scale)

    expected = list(answers(backend="cpu"))
    alone()
    for actual, bits in zip(answers(), expected, strict=True):
        np.testing.assert_array_equal(*(np.concatenate([part.view(np.uint8).ravel() for part in parts(x)]) for x in (actual, bits)))
        assert [(part.dtype, part.shape) for part in parts(actual)] == [(part.dtype, part.shape) for part in parts(bits)]


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "attention"])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.float64])
@pytest.mark.usefixtures("isa")
def test_the_bits_of_pooling(dtype: Any, mode: str, alone: Callable[[], None]) -> None:
    """Under masks of every type, of tokens that lie in a longer batch, with NaN where the mask is 0."""
    tokens = np.where(MASK[..., None] == 1, TOKENS, np.nan).astype(dtype)
    masks = [MASK.astype(kind) for kind in (bool, np.uint8, np.int16, np.int32, np.uint64)] + [np.repeat(MASK, 2, 0)[::2], 0 * MASK]
    given = [(view, mask) for view in (tokens, np.repeat(tokens, 2, 0)[::2], tokens[::-1]) for mask in masks]
    how = [{}, {"normalize": True}, {"truncate_dim": 5, "normalize": False, "precision": "float32"}]
    expected = [fc.pool(*operands, mode=mode, **more, backend="cpu") for operands in given for more in how]
    whole = fc.pool(TOKENS, backend="cpu")
    alone()
    for actual, bits in zip((fc.pool(*operands, mode=mode, **more) for operands in given for more in how), expected, strict=True):
        cases.assert_same(actual, bits)
    cases.assert_same(fc.pool(TOKENS), whole)


def parts(answer: Any) -> tuple[np.ndarray, ...]:
    return answer if isinstance(answer, tuple) else (answer,)


@pytest.mark.parametrize("layout", cases.LAYOUTS)
def test_rows_where_they_lie(layout: str, alone: Callable[[], None]) -> None:
    moved = [cases.LAYOUTS[layout](x) for x in (Q, X)]
    expected = fc.topk(Q, X, 5, backend="cpu"), fc.similarity(Q, X, backend="cpu"), fc.normalize(X, backend="cpu")
    alone()
    actual = fc.topk(*moved, 5), fc.similarity(*moved), fc.normalize(moved[1])
    for one, other in zip(actual, expected, strict=True):
        cases.assert_same(one, other)


def test_nothing_outside_the_rows_is_read(alone: Callable[[], None]) -> None:
    keep: list[cases.Guarded] = []
    alone()
    for side in ("start", "end"):
        q, x = (cases.guarded(rows, keep, side) for rows in (Q, X))
        cases.assert_same(fc.topk(q, x, 5), fc.topk(Q, X, 5))
        cases.assert_same(fc.similarity(q, x), fc.similarity(Q, X))
        cases.assert_same(fc.normalize(x), fc.normalize(X))


def test_a_corpus_searches_as_topk_does(alone: Callable[[], None]) -> None:
    ids = RNG.permutation(400)[:40]
    plain, named, gone = fc.Corpus(X), fc.Corpus(X, ids=ids, metric="l2"), fc.Corpus(X)
    gone.remove([7])
    halves, codes = fc.Corpus(X, "bfloat16"), fc.Corpus(X, "int8_row", metric="ip")
    long_way = [corpus.search(Q, 4, backend="cpu") for corpus in (gone, halves, codes)]
    for corpus, expected in zip((gone, halves, codes), long_way, strict=True):
        cases.assert_same(corpus.search(Q, 4), expected)
    with pytest.raises(ValueError, match="the corpus: got dimension 33, expected 5"):
        plain.search(Q[:, :5], 4)
    alone()
    cases.assert_same(plain.search(Q, 4), fc.topk(Q, X, 4))
    scores, rows = fc.topk(Q, X, 4, metric="l2")
    cases.assert_same(named.search(Q, 4), (scores, ids[rows]))
    for how in ({"mask": np.ones(40, bool)}, {"exclude": "self"}, {"stats": True}, {"backend": "cpu"}):
        with pytest.raises(AssertionError, match="went through its contract"):
            plain.search(Q, 4, **how)


def direct(op: str, *args: Any, **kwargs: Any) -> Any:
    found = dispatch.direct(op)
    assert found is not None
    return found(*args, **kwargs)


@pytest.mark.parametrize("op", CALLS)
def test_arguments_by_place_and_by_name(op: str) -> None:
    call, given = CALLS[op]
    expected = call(**given, backend="cpu")
    same(direct(op, **given, out=None, backend=None), expected)
    by_place = {"normalize": 1, "quantize": 2, "pool": 2}.get(op, 3)
    names = list(given)
    for n in range(by_place + 1):
        same(direct(op, *(given[name] for name in names[:n]), **{name: given[name] for name in names[n:]}), expected)


def same(actual: Any, expected: Any) -> None:
    if isinstance(expected, fc.Codes):
        actual, expected = ((codes.data.view(np.uint8), codes.scale.view(np.uint8)) for codes in (actual, expected))
        assert all(np.array_equal(*pair) for pair in zip(actual, expected, strict=True))
    else:
        cases.assert_same(actual, expected)


ARRAYS: dict[str, Callable[[np.ndarray], Any]] = {
    "a list": lambda x: x.tolist(),
    "integers": lambda x: x.astype(np.int8),
    "another byte order": lambda x: x.astype(x.dtype.newbyteorder()),
    "elements apart": lambda x: np.repeat(x, 2, -1)[..., ::2],
    "columns first": np.asfortranarray,
    "a subclass": lambda x: x.view(np.recarray),
    "one dimension more": lambda x: x[None],
    "no rows": lambda x: x[:0],
    "no elements": lambda x: x[..., :0],
    "too many rows": lambda x: np.broadcast_to(x[:1], (1 << 17, *x.shape[1:])),
    "None": lambda x: None,
}


@pytest.mark.parametrize("op", CALLS)
def test_what_is_not_plain_is_left_to_the_contract(op: str) -> None:
    _, given = CALLS[op]
    assert direct(op, **given) is not None
    arrays = [name for name, value in given.items() if isinstance(value, np.ndarray) and name != "mask"]
    for name in arrays:
        for what, change in ARRAYS.items():
            assert direct(op, **given | {name: change(given[name])}) is None, f"{name}: {what}"
        assert direct(op, **{key: value for key, value in given.items() if key != name}) is None
    strange: dict[str, list[Any]] = {
        "k": [0, -1, True, 2.0, np.int64(2), 1 << 70, None],
        "metric": ["dot", "IP", "hamming", b"ip", 1],
        "truncate_dim": [0, 34, -1, True, 2.0, 1 << 70],
        "eps": [-1.0, 0.0, float("nan"), float("inf"), 1, "1"],
        "precision": ["float16", "int8", "uint8", "INT8_ROW", 1] if op == "pool" else ["int8", "uint8", "float32", "bits", None],
        "mode": ["attention", "sum", 1],
        "normalize": [0, 1, "yes"],
        "mask": [MASK[:2], MASK[:, :3], MASK[None], MASK + 1, -MASK, MASK.astype(np.float32), MASK.T.copy().T, MASK.tolist()],
    }
    taken = {
        "topk": ("k", "metric"),
        "normalize": ("truncate_dim", "eps"),
        "quantize": ("precision",),
        "pool": ("mode", "normalize", "truncate_dim", "precision", "mask"),
    }.get(op, ("metric",))
    for name in taken:
        for value in strange[name]:
            assert direct(op, **given | {name: value}) is None, f"{name}: {value!r}"
    for name, value in (("out", X), ("backend", "cpu"), ("nothing", None), ("nothing", 1)):
        assert direct(op, **given, **{name: value}) is None
    assert direct(op, *given.values(), *given.values()) is None
    assert direct(op, given[arrays[0]], **given) is None  # one argument twice
    assert direct(op) is None
    with pytest.raises(TypeError, match="unexpected keyword argument 'nothing'"):
        CALLS[op][0](**given, nothing=None)
    with pytest.raises(TypeError, match="multiple values for argument"):
        CALLS[op][0](given[arrays[0]], **given)


def test_operands_that_do_not_fit_each_other() -> None:
    assert direct("topk", Q, X[:, :5], 3) is None
    assert direct("similarity", Q, X[:, :5]) is None
    assert direct("similarity_paired", Q, X) is None


def test_results_are_their_callers_own() -> None:
    """Written, they change neither their operands nor the results of another call."""
    q, x = Q.copy(), X.copy()
    first, second = fc.normalize(x), fc.normalize(x)
    first[...] = 0
    cases.assert_same(second, fc.normalize(X, backend="cpu"))
    scores, rows = fc.topk(q, x, 3)
    for array in (first, scores, rows):
        assert array.flags.owndata
        assert array.flags.writeable
    assert np.array_equal(q, Q)
    assert np.array_equal(x, X)


def test_who_is_asked_by_name_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    assert dispatch.direct("topk") is not None
    assert dispatch.direct("maxsim") is None
    for name in ("reference", "auto"):
        with fc.use_backend(name):
            assert dispatch.direct("topk") is None
    try:
        monkeypatch.setenv("FASTEMBED_CORE_BACKEND", "numpy")
        dispatch._from_environment.cache_clear()
        assert dispatch.direct("topk") is None
    finally:
        dispatch._from_environment.cache_clear()
