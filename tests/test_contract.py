"""What every cell of a search promises besides its answer: DESIGN's promises, each by its cause and none by a clock."""

from __future__ import annotations

import itertools
from typing import Any

import cases
import numpy as np
import pytest
from programs import run_python

import fastembed_core as fc
from fastembed_core import threads

pytestmark = pytest.mark.op("topk")

SEARCHES = ("similarity", "similarity_paired", "topk", "rescore", "range_search")
IN_RANGE = {"cosine": 0.0, "ip": 0.0, "l2": 8.0, "sqeuclidean": 64.0, "hamming": 8, "jaccard": 0.7}  # some rows are, some are not


def call(op: str, queries: Any, corpus: Any, metric: str, backend: str) -> Any:
    """One search operation with ordinary further arguments."""
    if op == "topk":
        return fc.topk(queries, corpus, 4, metric=metric, backend=backend)
    if op == "rescore":
        n = len(corpus)
        ids = cases.rng_of("rescore", n).integers(-1, n, (len(queries), 5))
        return fc.rescore(queries, corpus, ids, metric=metric, backend=backend)
    if op == "range_search":
        return fc.range_search(queries, corpus, IN_RANGE[metric], metric=metric, backend=backend)[1:]
    if op == "similarity":
        return fc.similarity(queries, corpus, metric, backend=backend)
    return fc.similarity_paired(queries, corpus[: len(queries)], metric, backend=backend)


def every(*ops: str) -> pytest.MarkDecorator:
    """The test once for each operation, skipped where a backend lacks it."""
    return pytest.mark.parametrize("op", [pytest.param(op, id=op) for op in ops or SEARCHES])


@pytest.fixture
def search(backend: str, op: str, request: pytest.FixtureRequest) -> str:
    """The operation under test, which the backend has."""
    from conftest import Column

    column: Column = request.node.callspec.params["backend"]
    reason = column.lacks(op)
    if reason:
        pytest.skip(reason)
    return op


@every()
def test_types_and_shapes(backend: str, search: str) -> None:
    for pairing, metric in cases.SCORED:
        queries, corpus = cases.operands(pairing, 3, 9, 16)
        result = call(search, queries, corpus, metric, backend)
        scores = result[0] if isinstance(result, tuple) else result
        integers = pairing.query in ("i8", "u8", "int8", "uint8")
        expected = np.int32 if metric == "hamming" or (integers and metric in ("ip", "sqeuclidean")) else np.float32
        assert type(scores) is np.ndarray
        assert scores.dtype == expected, (pairing, metric)
        shapes = {"similarity": (3, 9), "similarity_paired": (3,), "topk": (3, 4), "rescore": (3, 5), "range_search": scores.shape}
        assert scores.shape == shapes[search]
        if isinstance(result, tuple):
            assert (result[1].dtype, result[1].shape) == (np.int64, scores.shape)


@every()
def test_the_same_on_any_number_of_threads(backend: str, search: str) -> None:
    for pairing, metric in cases.FEW_SCORED:
        queries, corpus = cases.operands(pairing, 19, 8000, 48)
        results = []
        for n in (1, 2, 3):
            with threads.limit(n):
                results.append(call(search, queries, corpus, metric, backend))
        for result in results[1:]:
            cases.assert_same(result, results[0], f"{pairing} {metric}")


@every("topk", "rescore")
def test_the_same_however_queries_are_batched(backend: str, search: str) -> None:
    for pairing, metric in cases.FEW_SCORED:
        queries, corpus = cases.operands(pairing, 21, 3000, 24, "duplicates")
        ids = cases.rng_of("batch").integers(-1, 3000, (21, 30))

        def run(part: slice) -> Any:
            if search == "topk":
                return fc.topk(queries[part], corpus, 6, metric=metric, backend=backend)  # noqa: B023
            return fc.rescore(queries[part], corpus, ids[part], 6, metric=metric, backend=backend)  # noqa: B023

        whole = run(slice(0, 21))
        for lo, hi in ((0, 1), (5, 6), (3, 20), (16, 21)):
            cases.assert_same(run(slice(lo, hi)), (whole[0][lo:hi], whole[1][lo:hi]), f"{pairing} {metric} {lo}:{hi}")


@every()
def test_inputs_stay_as_they_were(backend: str, search: str) -> None:
    for pairing, metric in cases.FEW_SCORED:
        read_only = cases.operands(pairing, 5, 40, 19)  # writing to these would raise
        before = call(search, *read_only, metric, backend)
        writable = [cases.laid_out(x, np.copy) for x in read_only]
        cases.assert_same(call(search, *writable, metric, backend), before)
        for was, now in zip(read_only, writable, strict=True):
            data = [x.data if isinstance(x, fc.Codes) else x for x in (was, now)]
            assert data[0].tobytes() == data[1].tobytes()


@every()
@pytest.mark.parametrize(("side", "gap"), [("end", 0), ("end", 3), ("start", 0)])
def test_nothing_is_read_outside_the_rows(backend: str, search: str, side: str, gap: int) -> None:
    """Every array lies against a page that may not be touched; a read past its end, or before its start, ends the process."""
    for pairing in cases.PAIRINGS:
        for d, metric in itertools.product((1, 17, 31, 100), pairing.metrics[:: 2 if len(pairing.metrics) > 2 else 1]):
            queries, corpus = cases.operands(pairing, 4, 23, d)
            keep: list[cases.Guarded] = []
            guarded = [cases.guarded(x, keep, side, gap) for x in (queries, corpus)]
            cases.assert_same(call(search, *guarded, metric, backend), call(search, queries, corpus, metric, backend), f"{pairing} D={d}")


def test_a_guard_page_guards() -> None:
    """The helper itself: one byte past the end of a guarded array is a crash."""
    code = """
import sys; sys.path.insert(0, {tests!r})
import ctypes, cases, numpy as np
guard = cases.Guarded(np.ones((3, 5), np.float32), {side!r})
address = guard.array.ctypes.data + ({offset})
print(ctypes.string_at(guard.array.ctypes.data, 60) == guard.array.tobytes(), flush=True)
ctypes.string_at(address, 1)
print("sur" + "vived")
"""
    from pathlib import Path

    for side, offset in (("end", 60), ("start", -1)):
        with pytest.raises(AssertionError, match="True") as caught:
            run_python(code.format(tests=str(Path(__file__).parent), side=side, offset=offset))
        assert "survived" not in str(caught.value)
