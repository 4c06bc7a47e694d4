"""One ordinary call of every operation that reads many rows, for tests of what holds whatever is computed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import fastembed_core as fc
from fastembed_core import dispatch

Call = Callable[[np.ndarray, str], Any]


def _offsets(total: int, length: int) -> np.ndarray:
    return np.minimum(np.arange(0, total + length, length), total)


def _ids(n: int) -> np.ndarray:
    return np.arange(n)[:, None] * 7 % n


def _bag(mode: str) -> Call:
    return lambda x, backend: fc.embedding_bag(x, np.arange(len(x)) * 7 % len(x), _offsets(len(x), 70), mode=mode, backend=backend)


def _maxsim(k: int | None) -> Call:
    return lambda x, backend: fc.maxsim(x[:16], x, document_offsets=_offsets(len(x), 15), k=k, backend=backend)


def _search(scan: str | None) -> Call:
    return lambda x, backend: fc.Corpus(x, scan=scan, metric="l2", copy=False).search(x[:30], 5, backend=backend)


# Of float32 rows x and a backend's name: name -> (the operation whose cell runs, the call).
CALLS: dict[str, tuple[str, Call]] = {
    "topk": ("topk", lambda x, backend: fc.topk(x[:30], x, 5, backend=backend)),
    "rescore": ("rescore", lambda x, backend: fc.rescore(x, x, _ids(len(x)), backend=backend)),
    "range_search": ("range_search", lambda x, backend: fc.range_search(x[:30], x, 0.3, metric="cosine", backend=backend)),
    "maxsim": ("maxsim", _maxsim(None)),
    "maxsim of the k best": ("maxsim", _maxsim(5)),
    "sums of bags": ("embedding_bag", _bag("sum")),
    "maxima of bags": ("embedding_bag", _bag("max")),
    "assign": ("topk", lambda x, backend: fc.assign(x[-30:], x, backend=backend)),
    "corpus": ("topk", _search("auto" if fc.explain("topk").startswith("topk: cpu") else None)),
    "corpus without codes": ("topk", _search(None)),
}


def bits_of(answer: Any) -> bytes:
    """Every bit of an answer."""
    return b"".join(np.ascontiguousarray(part).tobytes() for part in (answer if isinstance(answer, tuple) else (answer,)))


def all_bits(x: np.ndarray, backend: str) -> dict[str, bytes]:
    """The bits of every call that the backend has."""
    ops = dispatch.get_backend(backend).ops
    return {name: bits_of(call(x, backend)) for name, (op, call) in CALLS.items() if op in ops}
