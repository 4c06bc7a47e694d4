"""Corpus: the bits of topk whatever stands beside the rows, ids that stay, and changes that searches never see half done."""

from __future__ import annotations

import pathlib
import pickle
import threading
import tracemalloc
from copy import copy as shallow_copy
from copy import deepcopy
from typing import Any

import cases
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastembed_core as fc
from fastembed_core import scan_codes

SCANS: tuple[str | None, ...] = ("auto", "int8", "int4", None) if scan_codes.available() else ("auto", None)


def rows(n: int, d: int, *key: Any) -> np.ndarray:
    return cases.rng_of("corpus", *key).standard_normal((n, d)).astype(np.float32)


@pytest.mark.op("topk", reference=True)
@pytest.mark.parametrize("pairing", cases.FEW_PAIRINGS, ids=str)
def test_it_is_topk(backend: str, pairing: cases.Pairing) -> None:
    for metric in pairing.metrics:
        for values in ("normal", "ties", "nan"):
            queries, x = cases.operands(pairing, 5, 300, 33, values)
            expected = fc.topk(queries, x, 7, metric=metric, backend="reference")
            for copy in (True, False):
                corpus = fc.Corpus(x, metric=metric, copy=copy)
                cases.assert_same(corpus.search(queries, 7, backend=backend), expected, f"{pairing} {metric} {values}")


@pytest.mark.op("topk")
@pytest.mark.parametrize("values", cases.VALUES)
@pytest.mark.parametrize("kind", ["f32", "f16", "bf16"])
def test_codes_beside_the_rows_change_no_bit(backend: str, kind: str, values: str) -> None:
    for metric in cases.FLOAT_METRICS:
        queries, x = cases.operands(cases.Pairing(kind, kind, cases.FLOAT_METRICS), 9, 1500, 48, values)
        expected = fc.topk(queries, x, 10, metric=metric, backend="numpy")
        for scan in SCANS:
            corpus = fc.Corpus(x, scan=scan, metric=metric)
            for few in (1, 9):
                result = corpus.search(queries[:few], 10, backend=backend)
                cases.assert_same(result, (expected[0][:few], expected[1][:few]), f"{kind} {metric} {values} scan={scan}")


@pytest.mark.parametrize("precision", ["float32", "float16", "bfloat16", "int8_row", "int4_row", "int8", "uint8", "binary", "ubinary"])
def test_precisions_are_quantize_s(precision: str) -> None:
    x = rows(400, 40)
    stored: Any = x
    if precision in ("float16", "bfloat16"):
        stored = cases.floats("f16" if precision == "float16" else "bf16", x.astype(np.float64))
    elif precision != "float32":
        stored = fc.quantize(x, precision)
    metrics = ("cosine", "ip") if "binary" in precision else cases.FLOAT_METRICS
    for metric in metrics:
        corpus = fc.Corpus(x, precision, metric=metric)
        assert corpus.precision == precision
        cases.assert_same(corpus.search(x[:4], 9), fc.topk(x[:4], stored, 9, metric=metric))
    if "binary" in precision:
        for metric in cases.BIT_METRICS:
            corpus = fc.Corpus(x, precision, metric=metric)
            expected = fc.topk(fc.quantize(x[:4], precision), stored, 9, metric=metric)
            cases.assert_same(corpus.search(x[:4], 9), expected)
            cases.assert_same(corpus.search(fc.quantize(x[:4], precision), 9), expected)


def test_a_mapped_file_becomes_codes_block_by_block(tmp_path: pathlib.Path) -> None:
    for dtype in (np.float32, np.float64, np.float16):
        path = tmp_path / f"{np.dtype(dtype).name}.npy"
        np.save(path, rows(40_000, 64).astype(dtype))
        mapped = np.load(path, mmap_mode="r")
        for precision in ("int8_row", "ubinary", "float16"):
            tracemalloc.start()
            corpus = fc.Corpus(mapped, precision, scan=None, metric="cosine", copy=False)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            held = corpus.statistics()["row_bytes"]
            assert peak < held + 40_000 * 64 * 4 * 0.3, f"{dtype} {precision}: {peak} bytes for {held}"


class Model:
    """A corpus as two lists."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.rows: list[np.ndarray] = []
        self.following = 0

    def append(self, x: np.ndarray, ids: list[int] | None) -> list[int]:
        new = list(range(self.following, self.following + len(x))) if ids is None else ids
        self.ids += new
        self.rows += list(x)
        self.following = max([self.following, *(i + 1 for i in new)])
        return new

    def remove(self, ids: list[int]) -> None:
        kept = [i for i, own in enumerate(self.ids) if own not in ids]
        self.ids, self.rows = [self.ids[i] for i in kept], [self.rows[i] for i in kept]

    def matrix(self, d: int) -> np.ndarray:
        return np.array(self.rows, np.float32).reshape(len(self.rows), d)

    def search(self, q: np.ndarray, k: int, metric: str, **how: Any) -> tuple[np.ndarray, np.ndarray]:
        scores, places = fc.topk(q, self.matrix(q.shape[1]), k, metric=metric, backend="reference", **how)
        return scores, np.where(places < 0, -1, np.array([*self.ids, 0])[places])


def agree(corpus: fc.Corpus, model: Model, q: np.ndarray, metric: str, rng: np.random.Generator) -> None:
    n, d = len(model.ids), q.shape[1]
    assert len(corpus) == n
    assert corpus.ids.tolist() == model.ids
    cases.assert_same(corpus.vectors, model.matrix(d))
    cases.assert_same(corpus.search(q, 5), model.search(q, 5, metric))
    for _, mask in cases.masks(len(q), n, rng):
        cases.assert_same(corpus.search(q, 3, mask=mask), model.search(q, 3, metric, mask=mask))
    cases.assert_same(corpus.search(q, 3, exclude="self"), model.search(q, 3, metric, exclude="self"))
    if n:
        places = rng.integers(-1, n, (len(q), 4))
        named = np.where(places < 0, -1, np.array(model.ids)[places])
        cases.assert_same(corpus.search(q, 3, exclude=named), model.search(q, 3, metric, exclude=places))
        some = rng.integers(0, n, 5)
        cases.assert_same(corpus.get(np.array(model.ids)[some]), model.matrix(d)[some])


@settings(max_examples=60)
@given(data=st.data())
def test_any_sequence_of_changes_is_the_list_s(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    metric = data.draw(st.sampled_from(cases.FLOAT_METRICS))
    rng = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    d, n = 12, data.draw(st.integers(0, 40))
    path = tmp_path_factory.mktemp("corpus") / "saved"
    model, q = Model(), rng.standard_normal((3, d)).astype(np.float32)
    x = rng.standard_normal((n, d)).astype(np.float32)
    ids = rng.permutation(200)[:n].tolist() if data.draw(st.booleans()) else None
    corpus = fc.Corpus(x, metric=metric, ids=ids, scan=data.draw(st.sampled_from(SCANS)))
    model.append(x, ids)
    for _ in range(data.draw(st.integers(1, 8))):
        change = data.draw(st.sampled_from(["append", "append with ids", "remove", "compact", "save and load", "map"]))
        if change.startswith("append"):
            m = data.draw(st.integers(0, 20))
            more = rng.standard_normal((m, d)).astype(np.float32)
            free = [i for i in rng.permutation(400).tolist() if i not in model.ids][:m] if change == "append with ids" else None
            assert corpus.append(more, free).tolist() == model.append(more, free)
        elif change == "remove":
            gone = [i for i in model.ids if rng.random() < 0.4]
            corpus.remove(gone)
            model.remove(gone)
        elif change == "compact":
            corpus.compact()
            assert corpus.statistics()["removed"] == 0
        else:
            corpus.save(path)
            corpus = fc.Corpus.load(path, mmap=change == "map")
        agree(corpus, model, q, metric, rng)


@pytest.mark.parametrize("precision", ["float16", "int8_row", "int4_row", "uint8", "ubinary"])
def test_appended_rows_are_coded_as_the_first_were(precision: str) -> None:
    x = rows(90, 24)
    whole = fc.quantize(x, precision, ranges=fc.calibrate(x[:50]) if precision == "uint8" else None) if precision != "float16" else None
    corpus = fc.Corpus(x[:50], precision, metric="ip")
    corpus.append(x[50:80])
    corpus.append(whole[80:] if whole is not None else x[80:].astype(np.float16))
    expected = fc.topk(x[:5], x.astype(np.float16) if whole is None else whole, 20, metric="ip")
    cases.assert_same(corpus.search(x[:5], 20), expected)


def test_an_empty_corpus_takes_ranges_and_centers_from_its_first_rows() -> None:
    x = rows(60, 16)
    for precision in (None, "int8"):
        corpus = fc.Corpus(x[:0], precision, metric="l2")
        assert corpus.search(x[:2], 3)[0].shape == (2, 0)
        corpus.append(x)
        cases.assert_same(corpus.search(x[:2], 3), fc.Corpus(x, precision, metric="l2").search(x[:2], 3))
        assert corpus.statistics()["scan"] == fc.Corpus(x, precision, metric="l2").statistics()["scan"]


def test_ids_of_removed_rows_are_free_but_not_given_out() -> None:
    corpus = fc.Corpus(rows(4, 3), ids=[7, 3, 9, 1])
    corpus.remove([9])
    assert corpus.append(rows(2, 3)).tolist() == [10, 11]
    assert corpus.append(rows(1, 3), [9]).tolist() == [9]
    assert corpus.ids.tolist() == [7, 3, 1, 10, 11, 9]
    assert corpus.get([9, 7]).shape == (2, 3)
    assert len(corpus) == 6


def test_borrowed_memory_is_the_caller_s_until_it_grows() -> None:
    x = rows(30, 8)
    borrowed, copied = fc.Corpus(x, copy=False, scan=None), fc.Corpus(x, scan=None)
    assert np.shares_memory(borrowed.vectors, x)
    assert not np.shares_memory(copied.vectors, x)
    before = x.copy()
    borrowed.append(rows(5, 8, "more"))
    borrowed.remove([0, 1])
    cases.assert_same(x, before)


@pytest.mark.parametrize("metric", cases.FLOAT_METRICS)
def test_a_cascade_rescores_what_codes_rank_first(metric: str) -> None:
    x = rows(3000, 64)
    q = x[:20] + 0.3 * rows(20, 64, "noise")
    corpus = fc.Corpus(x, metric=metric)
    exact = corpus.search(q, 10)
    scores, ids, done = corpus.search(q, 10, exact=False, rescore=5, stats=True)
    found = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(ids, exact[1], strict=True)])
    assert found > 0.99
    cases.assert_same((scores, ids), fc.rescore(q, x, ids, metric=metric))
    if scan_codes.available():
        assert done == {"scanned": 20 * 3000, "rescored": 20 * 50, "scan": "int8"}
        assert corpus.search(q, 10, exact=False, rescore=1, mask=np.arange(3000) >= 2990)[1].min() >= 2990


@pytest.mark.op("topk", reference=True)
def test_stats_say_what_was_done(backend: str) -> None:
    x = rows(6000, 32)
    for scan in SCANS:
        corpus = fc.Corpus(x, scan=scan)
        scores, ids, done = corpus.search(x[:3], 5, stats=True, backend=backend)
        cases.assert_same((scores, ids), fc.topk(x[:3], x, 5))
        assert done.keys() == {"scanned", "rescored", "scan"}
        assert done["scan"] in ("float", "int8", "int4")
        assert 3 * 6000 <= done["scanned"] <= 2 * 3 * 6000
        assert 15 <= done["rescored"] <= 2 * 3 * 6000
        if backend not in ("reference", "numba"):
            assert done["rescored"] < done["scanned"] / 10


def test_statistics() -> None:
    corpus = fc.Corpus(rows(10, 6), "int8_row", metric="ip", ids=np.arange(10) * 2)
    corpus.remove([4])
    assert corpus.statistics() == {
        "rows": 9,
        "removed": 1,
        "dim": 6,
        "precision": "int8_row",
        "metric": "ip",
        "scan": (),
        "row_bytes": 100,
        "scan_bytes": 0,
        "id_bytes": 80,
    }
    assert (corpus.dim, corpus.metric, corpus.precision, len(corpus)) == (6, "ip", "int8_row", 9)
    assert repr(corpus) == "Corpus(9 x 6, int8_row, ip)"


def test_searches_see_the_corpus_as_it_was_when_they_began() -> None:
    """A writer appends, removes and compacts pairs of rows; each search finds both of a pair or neither."""
    d, pairs = 16, 60
    x = rows(pairs, d)
    corpus = fc.Corpus(np.repeat(x[:20], 2, 0), metric="l2")
    held = list(range(20))
    done, failures = threading.Event(), []

    def read() -> None:
        while not done.is_set():
            scores, ids = corpus.search(x[::3], 2)
            whole = (scores[:, 0] == scores[:, 1]) & (ids[:, 1] == ids[:, 0] + 1) & (ids[:, 0] % 2 == 0)
            if not whole.all():
                failures.append((scores, ids))

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    rng = np.random.default_rng(0)
    for step in range(500):
        new = int(rng.integers(20, pairs))
        assert corpus.append(np.repeat(x[new : new + 1], 2, 0)).tolist() == [2 * (20 + step), 2 * (20 + step) + 1]
        held.append(20 + step)
        if step % 2:
            gone = held.pop(int(rng.integers(len(held))))
            corpus.remove([2 * gone, 2 * gone + 1])
        if step % 20 == 19:
            corpus.compact()
    done.set()
    for reader in readers:
        reader.join()
    assert not failures
    assert corpus.ids.tolist() == [i for pair in held for i in (2 * pair, 2 * pair + 1)]


def test_writers_wait_for_each_other() -> None:
    corpus = fc.Corpus(rows(1, 4))
    given: list[int] = []

    def write() -> None:
        for _ in range(50):
            given.extend(corpus.append(rows(2, 4)).tolist())

    writers = [threading.Thread(target=write) for _ in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert sorted(given) == list(range(1, 401))
    assert len(corpus) == 401
    assert np.array_equal(np.sort(corpus.ids), np.arange(401))


def test_tensors_in_and_out() -> None:
    torch = pytest.importorskip("torch")
    x = torch.from_numpy(rows(50, 8))
    corpus = fc.Corpus(x.bfloat16(), ids=torch.arange(50) + 100)
    scores, ids = corpus.search(x[:3], 4)
    assert isinstance(scores, torch.Tensor) and isinstance(ids, torch.Tensor)
    expected = fc.topk(x[:3], x.bfloat16(), 4)
    cases.assert_same((scores, ids), (expected[0].numpy(), expected[1].numpy() + 100))
    cases.assert_same(corpus.vectors, x.bfloat16().float().numpy())
    with pytest.raises(TypeError, match=r"^x: got a tensor that requires grad"):
        fc.Corpus(x.clone().requires_grad_())
    with pytest.raises(TypeError, match=r"^queries: got a tensor that requires grad"):
        corpus.search(x.clone().requires_grad_(), 3)


X = np.arange(24, dtype=np.float32).reshape(6, 4)
CORPUS = fc.Corpus(X)
CODED = fc.Corpus(X, "int8_row", metric="ip")


@pytest.mark.parametrize(
    ("argument", "error", "call"),
    [
        ("x", TypeError, lambda: fc.Corpus([[1.0]])),
        ("x", TypeError, lambda: fc.Corpus(X.astype(np.int64))),
        ("x", ValueError, lambda: fc.Corpus(X[0])),
        ("precision", ValueError, lambda: fc.Corpus(X, "int3")),
        ("precision", ValueError, lambda: fc.Corpus(fc.quantize(X, "int8_row"), "ubinary", metric="ip")),
        ("scan", ValueError, lambda: fc.Corpus(X, scan="int2")),
        ("scan", ValueError, lambda: fc.Corpus(X, "int8_row", metric="ip", scan="int8")),
        ("metric", TypeError, lambda: fc.Corpus(X, "int8_row")),
        ("metric", ValueError, lambda: fc.Corpus(X, metric="nearness")),
        ("metric", TypeError, lambda: fc.Corpus(X, metric="hamming")),
        ("metric", TypeError, lambda: fc.Corpus(X, "ubinary", metric="l2")),
        ("ids", ValueError, lambda: fc.Corpus(X, ids=[1, 2])),
        ("ids", ValueError, lambda: fc.Corpus(X, ids=[1, 2, 3, 4, 5, 1])),
        ("ids", ValueError, lambda: fc.Corpus(X, ids=[1, 2, 3, 4, 5, -1])),
        ("ids", TypeError, lambda: fc.Corpus(X, ids=[1.0, 2, 3, 4, 5, 6])),
        ("x", ValueError, lambda: CORPUS.append(X[:, :3])),
        ("x", TypeError, lambda: CORPUS.append(X.astype(np.int8))),
        ("x", TypeError, lambda: CODED.append(fc.quantize(X, "int4_row"))),
        ("ids", ValueError, lambda: CORPUS.append(X[:1], [3])),
        ("ids", ValueError, lambda: CORPUS.remove([0, 6])),
        ("ids", ValueError, lambda: CORPUS.remove([-1])),
        ("ids", TypeError, lambda: CORPUS.remove(["a"])),
        ("ids", ValueError, lambda: CORPUS.get(3)),
        ("queries", ValueError, lambda: CORPUS.search(X[0], 1)),
        ("the corpus", ValueError, lambda: CORPUS.search(X[:, :3], 1)),
        ("k", ValueError, lambda: CORPUS.search(X, -1)),
        ("mask", ValueError, lambda: CORPUS.search(X, 1, mask=np.ones(5, bool))),
        ("exclude", ValueError, lambda: CORPUS.search(X, 1, exclude=np.zeros(5, int))),
        ("exclude", ValueError, lambda: CORPUS.search(X, 1, exclude=np.full(6, -2))),
        ("rescore", ValueError, lambda: CORPUS.search(X, 1, rescore=3)),
        ("rescore", ValueError, lambda: CORPUS.search(X, 1, exact=False, rescore=0)),
        ("rescore", ValueError, lambda: CODED.search(X, 1, exact=False, rescore=3)),
    ],
)
def test_bad_input(argument: str, error: type[Exception], call: Any) -> None:
    with pytest.raises(error, match=rf"^{argument}: got ") as caught:
        call()
    assert "\n" not in str(caught.value)
    assert len(CORPUS) == len(CODED) == 6


def test_a_corpus_is_not_pickled_or_copied() -> None:
    """Two that share memory would append to the same place."""
    for take in (pickle.dumps, shallow_copy, deepcopy):
        with pytest.raises(TypeError, match=r"^corpus: got a Corpus to pickle or copy, expected save and load"):
            take(CORPUS)


def test_what_is_not_there_removes_nothing_and_excludes_nothing() -> None:
    corpus = fc.Corpus(X)
    with pytest.raises(ValueError, match=r"^ids: got 6, which no row has"):
        corpus.remove([0, 6])
    assert len(corpus) == 6
    cases.assert_same(corpus.search(X, 2, exclude=np.full((6, 1), 99)), corpus.search(X, 2))


def test_a_place_too_small_changes_nothing() -> None:
    pytest.importorskip("torch")
    import torch

    from fastembed_core.corpus_device import Place

    corpus = fc.Corpus(X)
    with pytest.raises(ValueError, match=r"^memory: got 10, expected at least 512 bytes"):
        corpus._move(Place(torch.device("meta"), 10))
    assert corpus.device == "cpu"
    corpus.append(X)
    cases.assert_same(corpus.search(X, 2), fc.topk(X, np.concatenate([X, X]), 2))
