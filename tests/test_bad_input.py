"""What a search cannot mean: each refused in one sentence that names the argument."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import fastembed_core as fc
from fastembed_core.ops.scores import MAX_DIM_8BIT, MAX_DIM_BITS, MAX_DIM_INT8_IP

X = np.arange(24, dtype=np.float32).reshape(6, 4)
I8, U8 = X.astype(np.int8), X.astype(np.uint8)
ROW = fc.Codes(I8, "int8_row", 4, scale=np.ones(6, np.float32))
BITS = fc.Codes(U8, "ubinary", 32)
LONG = fc.Codes(np.zeros((1, MAX_DIM_BITS // 8 + 1), np.uint8), "ubinary", MAX_DIM_BITS + 1)
RANGED = fc.Codes(I8, "int8", 4, ranges=np.stack([np.zeros(4), np.ones(4)]).astype(np.float32))
ZEROS = np.zeros((6, 2), np.float32), np.zeros((6, 2), np.int64)


class Shouting:
    """An object that is no array."""


class NoDLPack:
    """An array that says it has DLPack and then has not, as Arrow's lists do."""

    def __dlpack__(self, **how: Any) -> Any:
        raise TypeError("DataType is not compatible with DLPack spec")

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0

    def to_numpy(self) -> Any:
        return X


def refused(error: type[Exception], argument: str, call: Callable[[], Any]) -> str:
    with pytest.raises(error) as caught:
        call()
    message = str(caught.value)
    assert message.startswith(f"{argument}: "), message
    assert "\n" not in message
    assert len(message) < 300
    assert "got" in message
    return message


Case = tuple[type[Exception], str, Callable[[], Any]]

CASES: dict[str, Case] = {
    # shapes
    "one query": (ValueError, "queries", lambda: fc.topk(X[0], X, 1)),
    "three dimensions": (ValueError, "corpus", lambda: fc.topk(X, X[None], 1)),
    "a number": (ValueError, "queries", lambda: fc.topk(np.array(1, np.float32), X, 1)),
    "other dimension": (ValueError, "corpus", lambda: fc.topk(X[:, :3], X, 1)),
    "bits of another dimension": (ValueError, "corpus", lambda: fc.topk(fc.Codes(U8[:, :3], "ubinary", 24), BITS, 1, metric="hamming")),
    "other lengths in pairs": (ValueError, "b", lambda: fc.similarity_paired(X, X[:5])),
    "a of similarity": (ValueError, "a", lambda: fc.similarity(X[0], X)),
    # types
    "a list": (TypeError, "queries", lambda: fc.topk([[1.0] * 4], X, 1)),
    "no array": (TypeError, "corpus", lambda: fc.topk(X, Shouting(), 1)),
    "none": (TypeError, "corpus", lambda: fc.topk(X, None, 1)),
    "a corpus of topk": (TypeError, "corpus", lambda: fc.topk(X, fc.Corpus(X), 1)),
    "rows as objects": (TypeError, "corpus", lambda: fc.topk(X, np.array([*X, None], object)[:-1], 1)),
    "a column of floats": (TypeError, "corpus", lambda: fc.topk(X, NoDLPack(), 1)),
    "int32": (TypeError, "queries", lambda: fc.topk(X.astype(np.int32), X, 1)),
    "int64 corpus": (TypeError, "corpus", lambda: fc.topk(X, X.astype(np.int64), 1, metric="ip")),
    "bool": (TypeError, "queries", lambda: fc.topk(X > 0, X > 0, 1, metric="hamming")),
    "complex": (TypeError, "queries", lambda: fc.topk(X.astype(np.complex64), X, 1)),
    "objects": (TypeError, "corpus", lambda: fc.topk(X, X.astype(object), 1)),
    "strings": (TypeError, "corpus", lambda: fc.topk(X, X.astype("U4"), 1)),
    "float8": (TypeError, "corpus", lambda: fc.topk(X, X.astype(ml_dtypes.float8_e4m3fn), 1)),
    "masked array": (TypeError, "corpus", lambda: fc.topk(X, np.ma.masked_array(X, X > 3), 1)),
    # operands without a score
    "integer queries, float corpus": (TypeError, "queries and corpus", lambda: fc.topk(I8, X, 1, metric="ip")),
    "int8 against uint8": (TypeError, "queries and corpus", lambda: fc.topk(I8, U8, 1, metric="ip")),
    "int8_row against int8": (TypeError, "queries and corpus", lambda: fc.topk(ROW, I8, 1, metric="ip")),
    "bits against float": (TypeError, "queries and corpus", lambda: fc.topk(BITS, np.ones((1, 32), np.float32), 1, metric="ip")),
    "bits against integers": (TypeError, "queries and corpus", lambda: fc.topk(BITS, np.ones((1, 32), np.int8), 1, metric="ip")),
    "bare bits of two dtypes": (TypeError, "corpus", lambda: fc.topk(I8, U8, 1, metric="hamming")),
    # metrics
    "unknown metric": (ValueError, "metric", lambda: fc.topk(X, X, 1, metric="cosin")),
    "a metric that is no word": (TypeError, "metric", lambda: fc.topk(X, X, 1, metric=3)),  # type: ignore[arg-type]
    "none for integers": (TypeError, "metric", lambda: fc.topk(I8, I8, 1)),
    "none for codes": (TypeError, "metric", lambda: fc.similarity(X, ROW)),
    "none for bits": (TypeError, "metric", lambda: fc.topk(BITS, BITS, 1)),
    "hamming of floats": (TypeError, "metric", lambda: fc.topk(X, X, 1, metric="hamming")),
    "cosine of bits": (TypeError, "metric", lambda: fc.topk(BITS, BITS, 1, metric="cosine")),
    "distance to bits": (TypeError, "metric", lambda: fc.topk(np.ones((1, 32), np.float32), BITS, 1, metric="l2")),
    # k
    "k below zero": (ValueError, "k", lambda: fc.topk(X, X, -1)),
    "k of 2.0": (TypeError, "k", lambda: fc.topk(X, X, 2.0)),  # type: ignore[arg-type]
    "k of True": (TypeError, "k", lambda: fc.topk(X, X, True)),
    "k of numpy's True": (TypeError, "k", lambda: fc.topk(X, X, np.True_)),  # type: ignore[arg-type]
    "k of None": (TypeError, "k", lambda: fc.topk(X, X, None)),  # type: ignore[arg-type]
    "k of an array": (TypeError, "k", lambda: fc.topk(X, X, np.array([1, 2]))),  # type: ignore[arg-type]
    "k of rescore": (ValueError, "k", lambda: fc.rescore(X, X, np.zeros((6, 1), np.int64), -2)),
    # layout
    "big-endian corpus": (ValueError, "corpus", lambda: fc.topk(X, X.astype(">f4"), 1)),
    "every other element": (ValueError, "corpus", lambda: fc.topk(X[:, ::2], X[:, ::2], 1)),
    "column-major corpus": (ValueError, "corpus", lambda: fc.topk(X, np.asfortranarray(X), 1)),
    # int32
    "int8 ip too long": (ValueError, "queries", lambda: long_ip(np.int8, MAX_DIM_INT8_IP + 1)),
    "uint8 ip too long": (ValueError, "queries", lambda: long_ip(np.uint8, MAX_DIM_8BIT + 1)),
    "int8 sqeuclidean too long": (ValueError, "queries", lambda: long_ip(np.int8, MAX_DIM_8BIT + 1, "sqeuclidean")),
    "too many bits": (ValueError, "queries", lambda: fc.topk(LONG, LONG, 1, metric="hamming")),
    "tokens of too many bits": (ValueError, "queries", lambda: fc.maxsim(LONG, LONG, metric="ip", document_offsets=[0, 1])),
    # masks
    "mask too short": (ValueError, "mask", lambda: fc.topk(X, X, 1, mask=np.ones(5, bool))),
    "mask of another batch": (ValueError, "mask", lambda: fc.topk(X, X, 1, mask=np.ones((5, 6), bool))),
    "packed mask too long": (ValueError, "mask", lambda: fc.topk(X, X, 1, mask=np.ones(6, np.uint8))),
    "float mask": (TypeError, "mask", lambda: fc.topk(X, X, 1, mask=np.ones(6))),
    "int64 mask": (TypeError, "mask", lambda: fc.topk(X, X, 1, mask=np.ones(6, np.int64))),
    "row numbers as mask": (TypeError, "mask", lambda: fc.topk(X, X, 1, mask=np.array([1, 3]))),
    "list as mask": (TypeError, "mask", lambda: fc.topk(X, X, 1, mask=[True] * 6)),
    # excludes
    "exclude beyond the corpus": (ValueError, "exclude", lambda: fc.topk(X, X, 1, exclude=np.array([6, 0, 0, 0, 0, 0]))),
    "exclude below -1": (ValueError, "exclude", lambda: fc.topk(X, X, 1, exclude=np.full(6, -2))),
    "exclude beyond int64": (ValueError, "exclude", lambda: fc.topk(X, X, 1, exclude=np.full(6, 2**64 - 1, np.uint64))),
    "exclude of another batch": (ValueError, "exclude", lambda: fc.topk(X, X, 1, exclude=np.zeros(5, np.int64))),
    "exclude of floats": (TypeError, "exclude", lambda: fc.topk(X, X, 1, exclude=np.zeros(6))),
    "another word": (ValueError, "exclude", lambda: fc.topk(X, X, 1, exclude="me")),
    # candidates
    "candidate beyond the corpus": (ValueError, "candidates", lambda: fc.rescore(X, X, np.full((6, 1), 6))),
    "candidate below -1": (ValueError, "candidates", lambda: fc.rescore(X, X, np.full((6, 1), -2))),
    "candidates of another batch": (ValueError, "candidates", lambda: fc.rescore(X, X, np.zeros((5, 1), np.int64))),
    "candidates in a line": (ValueError, "candidates", lambda: fc.rescore(X, X, np.zeros(6, np.int64))),
    "candidates of floats": (TypeError, "candidates", lambda: fc.rescore(X, X, np.zeros((6, 1)))),
    "three parts": (ValueError, "candidates", lambda: fc.rescore(X, X, (np.zeros(7, int), np.zeros(0, int), None))),
    "lists of several lengths": (ValueError, "candidates", lambda: fc.rescore(X, X, [[0, 1], [1], [2], [3], [4], [5]])),
    "indptr too short": (ValueError, "candidates", lambda: fc.rescore(X, X, (np.zeros(6, int), np.zeros(0, int)))),
    "indptr that falls": (ValueError, "candidates", lambda: fc.rescore(X, X, (np.array([0, 2, 1, 2, 2, 2, 2]), np.zeros(2, int)))),
    "indptr beyond the rows": (ValueError, "candidates", lambda: fc.rescore(X, X, (np.array([0, 0, 0, 0, 0, 0, 3]), np.zeros(2, int)))),
    # outputs
    "one output of two": (ValueError, "out", lambda: fc.topk(X, X, 2, out=ZEROS[0])),
    "outputs of another shape": (ValueError, "out", lambda: fc.topk(X, X, 3, out=ZEROS)),
    "scores in float64": (ValueError, "out", lambda: fc.topk(X, X, 2, out=(ZEROS[0].astype(float), ZEROS[1]))),
    "indices in int32": (ValueError, "out", lambda: fc.topk(X, X, 2, out=(ZEROS[0], ZEROS[1].astype(np.int32)))),
    "lists as outputs": (TypeError, "out", lambda: fc.topk(X, X, 2, out=([], []))),
    "read-only output": (ValueError, "out", lambda: fc.similarity(X, X, out=np.broadcast_to(np.float32(0), (6, 6)))),
    # threads
    "no threads": (ValueError, "threads", lambda: fc.set_num_threads(0)),
    "more threads than C counts": (ValueError, "threads", lambda: fc.set_num_threads(10**12)),
    "half a thread": (TypeError, "threads", lambda: fc.set_num_threads(0.5)),  # type: ignore[arg-type]
    # backends
    "unknown backend": (ValueError, "backend", lambda: fc.topk(X, X, 1, backend="gpu")),
}


def long_ip(dtype: type, d: int, metric: str = "ip") -> Any:
    x = np.ones((1, d), dtype)
    return fc.topk(x, x, 1, metric=metric)


@pytest.mark.parametrize("case", CASES)
def test_refused_in_one_sentence(case: str) -> None:
    refused(*CASES[case])


def test_a_wrong_metric_is_guessed_at() -> None:
    assert "did you mean 'cosine'?" in refused(*CASES["unknown metric"])


WAYS = {
    "one query": "queries[None] is a row",
    "a list": "numpy.asarray makes one",
    "a corpus of topk": "its search() answers queries",
    "rows as objects": "numpy.stack makes one array of many",
    "a column of floats": "its to_numpy() makes one",
    "hamming of floats": "quantize(..., 'ubinary') makes bits of floats",
    "column-major corpus": "numpy.ascontiguousarray makes such a copy",
}


@pytest.mark.parametrize("case", WAYS)
def test_the_way_out_is_said(case: str) -> None:
    assert refused(*CASES[case]).endswith(f"; {WAYS[case]}")


def test_a_metric_is_asked_for_among_those_there_are() -> None:
    assert refused(*CASES["none for codes"]).endswith("expected one of cosine, ip, l2, sqeuclidean")
    assert refused(*CASES["none for bits"]).endswith("expected one of hamming, jaccard")
    assert refused(*CASES["none for integers"]).endswith("expected one of cosine, hamming, ip, jaccard, l2, sqeuclidean")
    assert refused(TypeError, "metric", lambda: fc.Corpus(BITS)).endswith("expected one of cosine, ip, hamming, jaccard")


def test_the_longest_rows_are_taken() -> None:
    assert long_ip(np.int8, MAX_DIM_INT8_IP)[0] == MAX_DIM_INT8_IP
    assert long_ip(np.uint8, MAX_DIM_8BIT)[0] == MAX_DIM_8BIT


def test_what_is_refused_of_a_corpus_is_copied_of_queries() -> None:
    expected = fc.topk(X, X, 2)[1].tolist()
    for queries in (X.astype(">f4"), np.asfortranarray(X), np.repeat(X, 2, 1)[:, ::2]):
        assert fc.topk(queries, X, 2)[1].tolist() == expected


def test_a_missing_operation_is_named() -> None:
    pytest.importorskip("numba")
    with pytest.raises(ValueError, match="backend: numba has no rescore"):
        fc.rescore(X, X, np.zeros((6, 1), np.int64), backend="numba")


def test_codes_say_what_they_lack() -> None:
    for error, argument, call in (
        (ValueError, "precision", lambda: fc.Codes(I8, "int7", 4)),
        (TypeError, "data", lambda: fc.Codes(X, "int8", 4)),
        (ValueError, "data", lambda: fc.Codes(I8, "int8", 5)),
        (ValueError, "scale", lambda: fc.Codes(I8, "int8_row", 4)),
        (ValueError, "scale", lambda: fc.Codes(I8, "int8", 4, scale=np.ones(6, np.float32))),
        (ValueError, "ranges", lambda: fc.Codes(I8, "int8", 4, ranges=np.ones((2, 3), np.float32))),
    ):
        refused(error, argument, call)


class TestTorch:
    """Errors that only tensors can make."""

    @pytest.fixture(autouse=True)
    def torch(self) -> Any:
        return pytest.importorskip("torch")

    def test_devices(self, torch: Any) -> None:
        meta = torch.ones(2, 4, device="meta")
        refused(ValueError, "corpus", lambda: fc.topk(X, meta, 1))
        refused(ValueError, "corpus", lambda: fc.topk(meta, X, 1))
        refused(ValueError, "mask", lambda: fc.topk(X, X, 1, mask=torch.ones(6, dtype=torch.bool, device="meta")))
        refused(ValueError, "out", lambda: fc.similarity(X, X, out=torch.ones(6, 6, device="meta")))

    def test_kinds(self, torch: Any) -> None:
        refused(TypeError, "queries", lambda: fc.topk(torch.ones(2, 4).to_sparse(), X, 1))
        refused(TypeError, "queries", lambda: fc.topk(torch.ones(2, 4, dtype=torch.int64), X, 1))
        refused(ValueError, "corpus", lambda: fc.topk(X, torch.ones(4, 6).T, 1))

    def test_gradients(self, torch: Any) -> None:
        x = torch.ones(2, 4, requires_grad=True)
        with pytest.raises(TypeError, match="backend: numpy keeps no gradients"):
            fc.topk(x, X, 1, backend="numpy")
        refused(TypeError, "out", lambda: fc.similarity(x, X, out=np.zeros((2, 6), np.float32)))
