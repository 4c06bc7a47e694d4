"""Our own calls, and whether an answer is right: the reference is asked about a few queries or rows of each workload."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np

import fastembed_core as fec
from fastembed_core import dispatch
from fastembed_core.codes import Codes
from fastembed_core.metrics import is_similarity
from fastembed_core.operands import Rows, rows_of

from .workloads import Case, Workload

BACKENDS = ("cpu", "numpy", "torch", "numba")
_SAMPLE = 3  # queries whose answers are checked
_BLOCK = 16_384  # rows widened at once
_BEST = 100  # candidates a query has at least a few times as many of

# The call of each operation on a workload's operands.
CALLS: dict[str, Callable[[SimpleNamespace, str | None], Any]] = {
    "topk": lambda o, backend: fec.topk(o.queries, o.corpus, o.k, metric=o.metric, mask=o.mask, backend=backend),
    "range_search": lambda o, backend: fec.range_search(o.queries, o.corpus, o.threshold, metric=o.metric, backend=backend),
    "assign": lambda o, backend: fec.assign(o.queries, o.corpus, metric=o.metric, backend=backend),
    "similarity": lambda o, backend: fec.similarity(o.queries, o.corpus, o.metric, backend=backend),
    "pool": lambda o, backend: fec.pool(
        o.tokens, o.mask, mode=o.mode, query=o.query, normalize=True, precision=o.precision, backend=backend
    ),
    "normalize": lambda o, backend: fec.normalize(o.x, out=o.out, backend=backend),
    "quantize": lambda o, backend: fec.quantize(o.x, o.precision, ranges=o.ranges, out=o.out, backend=backend),
    "embedding_bag": lambda o, backend: fec.embedding_bag(o.table, o.ids, o.offsets, backend=backend),
    "maxsim": lambda o, backend: fec.maxsim(o.query, o.tokens, document_offsets=o.offsets, k=o.k, backend=backend),
}


def missing(workload: Workload, backend: str) -> str | None:
    """Why a backend cannot run a workload's operation, None where it can."""
    record, cell = dispatch.get_backend(backend), dispatch.ENGINES.get(workload.op, workload.op)
    if workload.op not in CALLS or cell not in record.ops:
        return f"{backend} has no {workload.op}"
    if reason := record.missing():
        return reason
    try:
        record.cell(cell)
    except (ImportError, AttributeError) as error:
        return f"{backend} has no {workload.op} ({error})"
    return None


def prepare(workload: Workload, case: Case, backend: str | None) -> Callable[[], Any]:
    """The call to time; what a user would build once is built here. A backend that is chosen anyway is not asked for by name."""
    call, o = CALLS[workload.op], case.operands
    if backend == dispatch.CPU_ORDER[0] and dispatch.direct(workload.op) is not None:
        backend = None
    if getattr(o, "scan", None):
        corpus = fec.Corpus(o.corpus, scan=o.scan, metric=o.metric, copy=False)
        return lambda: corpus.search(o.queries, o.k, backend=backend)
    return lambda: call(o, backend)


def _floats(x: Rows) -> np.ndarray:
    """The rows' elements as float32, without their scales; a bit is -1 or 1."""
    if x.kind in ("f32", "f16", "i8"):
        return x.data.astype(np.float32, copy=False)
    if x.kind == "bits":
        return np.unpackbits(x.data.view(np.uint8) ^ np.uint8(x.flip), axis=1)[:, : x.dim].astype(np.float32) * 2 - 1
    from fastembed_core.backends.reference._scores import code_values

    return code_values(x).astype(np.float32)


class Wrong(Exception):
    """An answer that is not the right one."""


class Judge:
    """What the reference says about a few queries or rows of one workload."""

    def __init__(self, workload: Workload, case: Case):
        self.op, self.o = workload.op, case.operands
        checks = {"topk": self._topk, "assign": self._assigned, "range_search": self._within, "maxsim": self._maxsim}
        self._check = checks.get(self.op, self._arrays)
        if self.op in ("topk", "assign", "range_search"):
            self._expect_search()
        elif self.op == "maxsim":
            documents = range(min(_SAMPLE, len(self.o.offsets) - 1))
            q, ends = self.o.query.astype(np.float64), self.o.offsets
            scores = [(self.o.tokens[ends[i] : ends[i + 1]].astype(np.float64) @ q.T).max(0).sum() for i in documents]
            self.expected: Any = np.array(scores)
        else:
            few = SimpleNamespace(**vars(self.o))
            if self.op == "embedding_bag":
                few.offsets = few.offsets[:9]
                few.ids = few.ids[: few.offsets[-1]]
                few.table, few.ids = few.table[np.unique(few.ids)], np.unique(few.ids, return_inverse=True)[1]
            for name in ("tokens", "mask", "x", "out", "queries"):
                if getattr(few, name, None) is not None:
                    setattr(few, name, getattr(few, name)[:8].copy())
            self.expected = CALLS[self.op](few, "reference")

    def check(self, answer: Any, *, ours: bool, exact: bool = True) -> float:
        """The recall of an answer (1 for whole arrays); Wrong where it is not what it must be."""
        return self._check(answer, ours, exact)

    def _expect_search(self) -> None:
        o = self.o
        self.rows = sorted({0, len(o.queries) // 2, len(o.queries) - 1})[:_SAMPLE]
        self.queries = o.queries[np.array(self.rows)]
        self.mask = None if o.mask is None else o.mask if o.mask.ndim == 1 else o.mask[self.rows]
        few = min(4 * max(o.k, _BEST), len(o.corpus))
        candidates = np.union1d(self._likely(few), np.arange(few))  # among nothing but equals the first are the answer
        if self.op == "range_search":
            ends, scores, found = fec.range_search(self.queries, o.corpus[candidates], o.threshold, metric=o.metric, backend="reference")
            self.expected = [(scores[a:b], candidates[found[a:b]]) for a, b in pairwise(ends)]
            return
        scores, found = self._reference_topk(candidates)
        self.expected = scores, np.where(found < 0, -1, candidates[found])

    def _likely(self, k: int) -> np.ndarray:
        """The k rows nearest each sampled query, by a plain scan of all rows in float32."""
        o = self.o
        q, x = rows_of(self.queries, "queries", o.metric)[0], rows_of(o.corpus, "corpus", o.metric)[0]
        near = o.metric in ("l2", "sqeuclidean")
        center = _floats(x[:_BLOCK]).mean(0) if near else np.float32(0)  # far from the origin float32 tells no distances apart

        def products_with(block: np.ndarray) -> np.ndarray:
            return a @ block.T - (np.square(block).sum(1) / 2 if near else np.float32(0))

        a = _floats(q) - center
        products = np.concatenate([products_with(_floats(x[start : start + _BLOCK]) - center) for start in range(0, x.n, _BLOCK)], axis=1)
        if x.scale is not None:
            products *= x.scale
        if self.mask is not None:
            products = np.where(self.mask, products, -np.inf)
        return np.argpartition(products, -k, 1)[:, -k:]

    def _reference_topk(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mask = None if self.mask is None else self.mask[..., ids]
        return fec.topk(self.queries, self.o.corpus[ids], self.o.k, metric=self.o.metric, mask=mask, backend="reference")

    def _topk(self, answer: Any, ours: bool, exact: bool) -> float:
        scores, indices = self.expected
        if ours:
            got_scores, got = answer[0][self.rows], answer[1][self.rows]
            if not (np.array_equal(got, indices) and got_scores.tobytes() == scores.tobytes()):
                raise Wrong("scores or indices are not the reference's, bit for bit")
            return 1.0
        got = np.asarray(answer)[self.rows].astype(np.int64)
        reached = []
        for i, ids in enumerate(got):  # by score, so that any of the rows tied for the last place counts
            ids = np.unique(ids[ids >= 0])
            s = fec.similarity(self.queries[i : i + 1], self.o.corpus[ids], self.o.metric, backend="reference")[0]
            worst = scores[i, -1]
            reached.append((s >= worst if is_similarity(self.o.metric) else s <= worst).sum() / self.o.k)
        recall = float(np.mean(reached))
        if exact and recall < 0.95:
            raise Wrong(f"recall {recall:.2f}")
        return recall

    def _assigned(self, answer: Any, ours: bool, exact: bool) -> float:
        return self._topk((answer[1][:, None], answer[0][:, None]) if ours else np.reshape(answer, (-1, 1)), ours, exact)

    def _within(self, answer: Any, ours: bool, exact: bool) -> float:
        ends, scores, indices = answer if ours else (answer[0], None, answer[1])
        reached = []
        for i, (expected_scores, expected) in zip(self.rows, self.expected, strict=True):
            part = slice(int(ends[i]), int(ends[i + 1]))
            if ours and not (np.array_equal(indices[part], expected) and scores[part].tobytes() == expected_scores.tobytes()):
                raise Wrong("scores or indices are not the reference's, bit for bit")
            either = len(np.union1d(indices[part], expected))
            reached.append(len(np.intersect1d(indices[part], expected)) / either if either else 1.0)
        recall = float(np.mean(reached))
        if exact and recall < 0.95:
            raise Wrong(f"{recall:.2f} of the rows found here or by the reference are found by both")
        return recall

    def _maxsim(self, answer: Any, ours: bool, exact: bool) -> float:
        if self.o.k is not None:
            o = self.o
            scores, rows = (part[0] for part in answer)
            ends = o.offsets
            tokens = np.concatenate([o.tokens[ends[i] : ends[i + 1]] for i in rows])
            lengths = np.concatenate([[0], np.cumsum(np.diff(ends)[rows])])
            expected = fec.maxsim(o.query, tokens, document_offsets=lengths, backend="reference")[0]
            if scores.tobytes() != expected.tobytes() or (np.diff(scores) > 0).any():
                raise Wrong("scores are not the reference's, bit for bit, in descending order")
            return 1.0
        if exact and not np.allclose(np.ravel(answer)[: len(self.expected)], self.expected, rtol=1e-4):
            raise Wrong("scores differ from the float64 ones by more than 1e-4 of their size")
        return 1.0

    def _arrays(self, answer: Any, ours: bool, exact: bool) -> float:
        got, expected = (np.asarray(x.data if isinstance(x, Codes) else x) for x in (answer, self.expected))
        got = got[: len(expected)]
        if got.shape != expected.shape:
            raise Wrong(f"shape {got.shape}, expected {expected.shape}")
        if expected.dtype.kind == "f":
            tolerance = 2e-6 if ours else 1e-4
            if not np.allclose(got, expected, rtol=tolerance, atol=tolerance * np.abs(expected).max()):
                raise Wrong(f"differs from the reference by {np.abs(got - expected).max():.1e}")
        elif self.op == "pool":  # a float within its ulps of an edge may round to the next code
            if exact and np.abs(got.astype(int) - expected).max() > 1:
                raise Wrong("codes more than one step from the reference's")
        elif ours or exact:
            differing = float((got != expected).mean())
            if differing > (0 if ours else 1e-3):
                raise Wrong(f"{differing:.1%} of the codes are not the reference's")
        return 1.0
