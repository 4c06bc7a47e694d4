"""Our own calls, and whether an answer is right: the reference is asked about a few queries or rows of each workload."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

import fastembed_core as fec
from fastembed_core import dispatch
from fastembed_core.arrays import Rows, rows_of
from fastembed_core.codes import Codes

from .workloads import Case, Workload

BACKENDS = ("cpu", "numpy", "torch", "numba")
_SAMPLE = 3  # queries whose answers are checked
_BLOCK = 16_384  # rows widened at once

# The call of each operation on a workload's operands.
CALLS: dict[str, Callable[[SimpleNamespace, str], Any]] = {
    "topk": lambda o, backend: fec.topk(o.queries, o.corpus, o.k, metric=o.metric, mask=o.mask, backend=backend),
    "similarity": lambda o, backend: fec.similarity(o.queries, o.corpus, o.metric, backend=backend),
    "pool": lambda o, backend: fec.pool(
        o.tokens, o.mask, mode=o.mode, query=o.query, normalize=True, precision=o.precision, backend=backend
    ),
    "normalize": lambda o, backend: fec.normalize(o.x, out=o.out, backend=backend),
    "quantize": lambda o, backend: fec.quantize(o.x, o.precision, ranges=o.ranges, backend=backend),
}


def missing(workload: Workload, backend: str) -> str | None:
    """Why a backend cannot run a workload's operation, None where it can."""
    record = dispatch.get_backend(backend)
    if workload.op not in CALLS or workload.op not in record.ops:
        return f"{backend} has no {workload.op}"
    if reason := record.missing():
        return reason
    try:
        record.cell(workload.op)
    except (ImportError, AttributeError) as error:
        return f"{backend} has no {workload.op} ({error})"
    return None


def prepare(workload: Workload, case: Case, backend: str) -> Callable[[], Any]:
    call = CALLS[workload.op]
    return lambda: call(case.operands, backend)


def _floats(x: Rows) -> np.ndarray:
    """The rows' elements as float32, without their scales; a bit is -1 or 1."""
    if x.kind in ("f32", "f16", "i8"):
        return x.data.astype(np.float32, copy=False)
    if x.kind == "bits":
        return np.unpackbits(x.data.view(np.uint8) ^ np.uint8(x.flip), axis=1)[:, : x.dim].astype(np.float32) * 2 - 1
    from fastembed_core.backends.reference.scores import code_values

    return code_values(x).astype(np.float32)


class Wrong(Exception):
    """An answer that is not the right one."""


class Judge:
    """What the reference says about a few queries or rows of one workload."""

    def __init__(self, workload: Workload, case: Case):
        self.op, self.o = workload.op, case.operands
        self._check = {"topk": self._topk, "maxsim": self._maxsim}.get(self.op, self._arrays)
        if self.op == "topk":
            self._expect_topk()
        elif self.op == "maxsim":
            documents = range(min(_SAMPLE, len(self.o.offsets) - 1))
            scores = [
                (self.o.tokens[self.o.offsets[i] : self.o.offsets[i + 1]].astype(np.float64) @ self.o.query.T).max(0).sum()
                for i in documents
            ]
            self.expected: Any = np.array(scores)
        else:
            few = SimpleNamespace(**vars(self.o))
            for name in ("tokens", "mask", "x", "out", "queries"):
                if getattr(few, name, None) is not None:
                    setattr(few, name, getattr(few, name)[:8].copy())
            self.expected = CALLS[self.op](few, "reference")

    def check(self, answer: Any, *, ours: bool, exact: bool = True) -> float:
        """The recall of an answer (1 for whole arrays); Wrong where it is not what it must be."""
        return self._check(answer, ours, exact)

    def _expect_topk(self) -> None:
        o = self.o
        self.rows = sorted({0, len(o.queries) // 2, len(o.queries) - 1})[:_SAMPLE]
        self.queries = o.queries[np.array(self.rows)]
        self.mask = None if o.mask is None else o.mask if o.mask.ndim == 1 else o.mask[self.rows]
        candidates = np.unique(self._likely(4 * o.k))
        scores, found = self._reference_topk(candidates)
        self.expected = scores, np.where(found < 0, -1, candidates[found])

    def _likely(self, k: int) -> np.ndarray:
        """The k rows of the highest product with each sampled query, by a plain scan of all rows in float32."""
        o = self.o
        q, x = rows_of(self.queries, "queries", o.metric)[0], rows_of(o.corpus, "corpus", o.metric)[0]
        a, k = _floats(q), min(k, x.n)
        products = np.concatenate([a @ _floats(x[start : start + _BLOCK]).T for start in range(0, x.n, _BLOCK)], axis=1)
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
            reached.append((s <= worst if self.o.metric == "hamming" else s >= worst).sum() / self.o.k)
        recall = float(np.mean(reached))
        if exact and recall < 0.95:
            raise Wrong(f"recall {recall:.2f}")
        return recall

    def _maxsim(self, answer: Any, ours: bool, exact: bool) -> float:
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
