"""Bad input of a search gets one sentence that names the argument: what came, what is accepted."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastembed_core as fc

Q = np.ones((2, 8), np.float32)
X = np.ones((5, 8), np.float32)
I8, U8 = X.astype(np.int8), X.astype(np.uint8)
BITS = fc.quantize(X, "ubinary")
ROWS = fc.quantize(X, "int8_row")


def refused(error: type[Exception], says: str, call: Callable[[], Any]) -> None:
    with pytest.raises(error) as caught:
        call()
    message = str(caught.value)
    assert re.search(says, message), message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("error", "says", "queries", "corpus", "arguments"),
    [
        (TypeError, "^queries: got list, expected", [[1.0]], X, {}),
        (TypeError, "^corpus: got NoneType, expected", Q, None, {}),
        (ValueError, r"^queries: got shape \(8,\), expected 2", Q[0], X, {}),
        (ValueError, r"^corpus: got shape \(1, 5, 8\), expected 2", Q, X[None], {}),
        (ValueError, "^corpus: got dimension 7, expected 8", Q, X[:, :7], {}),
        (TypeError, "^queries: got int64", Q.astype(np.int64), X, {}),
        (TypeError, "^corpus: got complex64", Q, X.astype(np.complex64), {}),
        (TypeError, "^corpus: got bool", Q, X > 0, {}),
        (TypeError, "^queries: got object", Q.astype(object), X, {}),
        (ValueError, "^corpus: got a foreign byte order", Q, X.astype(">f4"), {}),
        (ValueError, "^corpus: got a stride of", Q, np.ones((8, 5), np.float32).T, {}),
        (TypeError, "^metric: got none for packed bits", BITS, BITS, {}),
        (TypeError, "^metric: got none for int8 ", I8, I8, {}),
        (TypeError, "^metric: got none for int8_row", Q, ROWS, {}),
        (ValueError, "^metric: got 'cosin' .did you mean 'cosine'", Q, X, {"metric": "cosin"}),
        (TypeError, "^metric: got int, expected", Q, X, {"metric": 3}),
        (TypeError, "^metric: got 'hamming' for float32", Q, X, {"metric": "hamming"}),
        (TypeError, "^metric: got 'l2' for float32 and packed bits", Q, BITS, {"metric": "l2"}),
        (TypeError, "^metric: got 'ip' for packed bits", BITS, BITS, {"metric": "ip"}),
        (TypeError, "^queries and corpus: got int8 and uint8", I8, U8, {"metric": "ip"}),
        (TypeError, "^queries and corpus: got int8 and float32", I8, X, {"metric": "ip"}),
        (TypeError, "^queries and corpus: got int8_row codes and int8", ROWS, I8, {"metric": "ip"}),
        (TypeError, "^corpus: got uint8 bits against int8 bits", I8, U8, {"metric": "hamming"}),
        (TypeError, "^k: got float, expected", Q, X, {"k": 2.0}),
        (TypeError, "^k: got bool, expected", Q, X, {"k": True}),
        (ValueError, "^k: got -1, expected", Q, X, {"k": -1}),
        (TypeError, "^mask: got int64, expected", Q, X, {"mask": np.ones(5, np.int64)}),
        (ValueError, r"^mask: got bool of shape \(4,\), expected", Q, X, {"mask": np.ones(4, bool)}),
        (ValueError, r"^mask: got uint8 of shape \(5,\), expected", Q, X, {"mask": np.ones(5, np.uint8)}),
        (ValueError, "^exclude: got 'me', expected", Q, X, {"exclude": "me"}),
        (ValueError, "^exclude: got row 5, expected -1 to 4", Q, X, {"exclude": np.array([0, 5])}),
        (ValueError, r"^exclude: got shape \(3,\), expected", Q, X, {"exclude": np.zeros(3, np.int64)}),
        (TypeError, "^exclude: got float32, expected", Q, X, {"exclude": np.zeros(2, np.float32)}),
        (ValueError, "^out: got 1 arrays, expected 2", Q, X, {"out": np.empty((2, 3))}),
        (ValueError, "^out: got float64 of shape", Q, X, {"out": (np.empty((2, 3)), np.empty((2, 3), np.int64))}),
        (ValueError, "^backend: got 'gpu', expected", Q, X, {"backend": "gpu"}),
    ],
)
def test_topk(error: type[Exception], says: str, queries: Any, corpus: Any, arguments: dict[str, Any]) -> None:
    refused(error, says, lambda: fc.topk(queries, corpus, **{"k": 3, **arguments}))


@pytest.mark.parametrize(
    ("error", "says", "candidates"),
    [
        (ValueError, "^candidates: got row 5, expected -1 to 4", np.array([[0, 5], [1, 2]])),
        (ValueError, "^candidates: got row -2, expected -1 to 4", np.array([[0, -2], [1, 2]])),
        (TypeError, "^candidates: got float64, expected", np.zeros((2, 2))),
        (ValueError, r"^candidates: got shape \(3, 2\), expected", np.zeros((3, 2), np.int64)),
        (ValueError, "^candidates: got a tuple of 3, expected", (np.zeros(3, np.int64),) * 3),
        (ValueError, "^candidates: got indptr from 0 to 2, expected it to rise from 0 to 3", (np.array([0, 1, 2]), np.zeros(3, np.int64))),
        (ValueError, "^candidates: got indptr", (np.array([0, 4, 3]), np.zeros(3, np.int64))),
    ],
)
def test_rescore(error: type[Exception], says: str, candidates: Any) -> None:
    refused(error, says, lambda: fc.rescore(Q, X, candidates))


def test_similarity_paired_wants_as_many_rows() -> None:
    refused(ValueError, "^b: got 5 rows, expected 2 as in a", lambda: fc.similarity_paired(Q, X))


@pytest.mark.parametrize(("kind", "metric", "limit"), [("int8", "ip", 131_071), ("uint8", "ip", 33_025), ("int8", "sqeuclidean", 33_025)])
def test_sums_that_could_leave_int32(kind: str, metric: str, limit: int) -> None:
    low = np.full((1, limit), np.iinfo(kind).min or np.iinfo(kind).max, kind)
    exact = int((low.astype(np.int64) ** 2).sum())
    assert fc.topk(low, low, 1, metric="ip")[0][0, 0] == exact
    long = np.zeros((1, limit + 1), kind)
    refused(ValueError, f"expected at most {limit} so that sums fit int32", lambda: fc.topk(long, long, 1, metric=metric))


@pytest.mark.parametrize(
    ("error", "says", "make"),
    [
        (ValueError, "^precision: got 'int3'", lambda: fc.Codes(I8, "int3", 8)),
        (TypeError, "^data: got float32 for int8 codes", lambda: fc.Codes(X, "int8", 8)),
        (ValueError, r"^data: got shape \(5, 8\) for ubinary codes of dim 8, expected \(N, 1\)", lambda: fc.Codes(U8, "ubinary", 8)),
        (ValueError, "^scale: got None for int8_row codes", lambda: fc.Codes(I8, "int8_row", 8)),
        (ValueError, r"^scale: got float32 of shape \(4,\)", lambda: fc.Codes(I8, "int8_row", 8, np.ones(4, np.float32))),
        (ValueError, "^scale: got an array for int8 codes", lambda: fc.Codes(I8, "int8", 8, np.ones(5, np.float32))),
        (ValueError, "^ranges: got float64 of shape", lambda: fc.Codes(I8, "int8", 8, None, np.ones((2, 8)))),
    ],
)
def test_codes(error: type[Exception], says: str, make: Callable[[], Any]) -> None:
    refused(error, says, make)


def test_threads() -> None:
    refused(ValueError, "^threads: got 0, expected", lambda: fc.set_num_threads(0))
    refused(TypeError, "^threads: got float, expected", lambda: fc.set_num_threads(1.5))  # type: ignore[arg-type]
