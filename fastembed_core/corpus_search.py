"""One search of a corpus: queries against a snapshot, exact or by codes first, and rows as the ids they have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from . import dispatch
from .arrays import Origin, float32_of, to_host
from .checks import count_of
from .codes import Codes
from .fp_state import ieee
from .metrics import BIT_METRICS
from .operands import Mask, Rows, exclude_of, mask_of, rows_of
from .ops._search import deliver
from .ops.quantize import quantize
from .ops.scores import Score, score_of
from .ops.topk import topk
from .snapshot import Snapshot, integers

CASCADE = 4  # candidates a place, where exact=False does not say


def search(
    snapshot: Snapshot, queries: Any, k: int, exact: bool, rescore: int | None, mask: Any, exclude: Any, stats: bool, backend: str | None
) -> tuple[Any, Any, dict[str, Any]]:
    """Scores, ids, and with `stats` what was done: see `Corpus.search`."""
    there = snapshot.on_device
    p = _prepare(queries, snapshot)
    k = min(count_of(k, "k"), snapshot.count)
    allowed = _mask(mask, p.q.n, snapshot)
    excluded = _exclude(exclude, p.q.n, snapshot)
    per_place = _per_place(exact, rescore, snapshot)
    done: dict[str, Any] = {}
    if per_place is None or not p.q.n or not k:
        if there is not None:
            scores, rows = there.topk(p.q, k, p.score, allowed, excluded, done if stats else None, backend)
        else:
            how = (k, p.score, allowed, excluded, done) if stats else (k, p.score, allowed, excluded)
            scores, rows = dispatch.run("topk", p.q, snapshot.rows, *how, backend=backend)
    else:
        candidates = _candidates(p, snapshot, k * per_place, allowed, excluded, backend)
        where = "cpu" if there is None else str(there.place.device)
        ids = to_host(candidates, "rows") if there is None else candidates
        scores, rows = dispatch.run("rescore", p.q, p.x, ids, k, p.score, device=where, backend=backend)
        if stats:
            done = {"scanned": p.q.n * snapshot.count, "rescored": int((ids >= 0).sum()), "scan": _coarse(p.x)}
    return (*_delivered(scores, rows, p, snapshot), done)


@dataclass(frozen=True)
class _Prepared:
    """Queries against a snapshot."""

    given: Any  # as the caller gave them, or on the corpus' device
    q: Rows
    x: Rows  # what of the rows lies where they are searched
    score: Score
    origin: Origin


def _prepare(queries: Any, snapshot: Snapshot) -> _Prepared:
    metric, there = snapshot.layout.metric, snapshot.on_device
    q, origin = rows_of(queries, "queries", None, copy_inner=True)
    home = "cpu" if there is None else str(there.place.device)
    if origin.device not in ("cpu", home):
        where = "host memory, where the corpus is" if there is None else f"{home}, where the corpus is, or host memory"
        raise ValueError(f"queries: got an array on {origin.device}, expected {where}")
    if q.is_torch and q.data.requires_grad:
        raise TypeError("queries: got a tensor that requires grad, expected a plain one, for a corpus keeps no gradients")
    if metric in BIT_METRICS:
        queries = quantize(queries, snapshot.layout.precision) if q.is_float else queries
        q, _ = rows_of(queries, "queries", metric, copy_inner=True)
    score = score_of(q, snapshot.rows, metric, ("queries", "the corpus"))
    if there is None:
        return _Prepared(queries, q, snapshot.rows, score, origin)
    there.used()
    q = q.to_torch(home)
    return _Prepared(q.data, q, there.rows, score, origin)


def _delivered(scores: Any, rows: Any, p: _Prepared, snapshot: Snapshot) -> tuple[Any, Any]:
    """Scores and ids as the queries came."""
    if snapshot.on_device is None:
        ids = snapshot.ids_at(to_host(rows, "rows"))
    else:
        ids = snapshot.on_device.ids_at(rows)
        if p.origin.device == "cpu":
            scores, ids = scores.cpu(), ids.cpu()
    return deliver(scores, None, p.origin), deliver(ids, None, p.origin)


def _mask(mask: Any, q: int, snapshot: Snapshot) -> Mask | None:
    """A mask over the rows that are there as one over all rows, with the removed ones struck out."""
    there = snapshot.on_device
    allowed = mask_of(mask, q, snapshot.count, "cpu" if there is None else str(there.place.device))
    if there is not None:
        return there.mask(allowed)
    if snapshot.live is None or snapshot.alive is None:
        return allowed
    if allowed is None:
        return Mask(snapshot.alive, False, snapshot.n)
    given = allowed.block(slice(0, 1) if allowed.shared else slice(0, q), 0, snapshot.count)
    full = np.zeros((len(given), snapshot.n), bool)
    full[:, snapshot.live] = given
    return Mask(full[0] if allowed.shared else full, False, snapshot.n)


def _exclude(exclude: Any, q: int, snapshot: Snapshot) -> np.ndarray | None:
    """Ids not to return as rows; an id that no row has excludes nothing."""
    if exclude is None:
        return None
    if isinstance(exclude, str):
        own = exclude_of(exclude, q, snapshot.count)
        return own if own is None or snapshot.live is None else np.where(own < 0, -1, snapshot.live[own] if snapshot.count else -1)
    ids = integers(exclude, "exclude")
    if ids.ndim not in (1, 2) or ids.shape[0] != q:
        raise ValueError(f"exclude: got shape {ids.shape}, expected ({q},) or ({q}, E)")
    if ids.size and ids.min() < -1:
        raise ValueError(f"exclude: got {ids.min()}, expected ids, or -1 for none")
    rows = snapshot.rows_of(ids)
    return np.ascontiguousarray(rows[:, None] if rows.ndim == 1 else rows)


def _coarse(rows: Rows) -> str:
    """The codes a cascade ranks by: the finer of those there are."""
    names = [codes.precision for codes in rows.scan]
    return "int8" if "int8" in names else names[0]


def _per_place(exact: bool, rescore: Any, snapshot: Snapshot) -> int | None:
    """Candidates for each place of a cascade, None for an exact search."""
    if rescore is not None and (exact or not snapshot.layout.is_float):
        why = "with exact=True" if exact else f"for a corpus of {snapshot.layout.precision} codes"
        raise ValueError(f"rescore: got {rescore} {why}, expected exact=False and float rows to rescore by")
    places = CASCADE if rescore is None else count_of(rescore, "rescore", least=1)
    there = snapshot.on_device
    return None if exact or not (snapshot.rows if there is None else there.rows).scan else places


def _candidates(p: _Prepared, snapshot: Snapshot, count: int, mask: Mask | None, exclude: np.ndarray | None, backend: str | None) -> Any:
    """(Q, count) rows by codes alone. A common center moves all scores of a query alike, or, for distances, both sides."""
    coded = next(codes for codes in p.x.scan if codes.precision == _coarse(p.x))
    rows = Codes(coded.arrays["codes"], f"{coded.precision}_row", snapshot.layout.dim, coded.arrays["scale"])
    packed = None if mask is None else mask.data
    how: dict[str, Any] = {"mask": packed, "exclude": exclude, "backend": backend}
    if p.score.similarity:  # codes on both sides: sums of integers
        return topk(quantize(p.given, "int8_row"), rows, count, metric="ip", **how)[1]
    with ieee(), np.errstate(all="ignore"):
        shifted = (p.q.data.float() if p.q.is_torch else float32_of(p.q.data, p.q.kind)) - coded.center
    return topk(shifted, rows, count, metric="l2", **how)[1]
