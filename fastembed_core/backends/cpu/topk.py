"""The k best rows: the engine of csrc/cpu/search.cpp."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import _core
from ...operands import Mask, Rows
from ...ops.scores import Score
from ...scan_codes import SCAN_PRECISIONS, ScanCodes
from ...threads import num_threads
from ._search import empty, operands


def _cost(codes: ScanCodes) -> int:
    return SCAN_PRECISIONS.index(codes.precision)


def topk(
    q: Rows, x: Rows, k: int, score: Score, mask: Mask | None, exclude: np.ndarray | None, stats: dict[str, Any] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    a, b = operands(q, x, score)
    scores, indices = empty(q, k, score)
    allowed, packed = (None, False) if mask is None else (mask.data, mask.packed)
    # The cheapest scan first; codes say something of float queries only.
    scans = sorted(x.scan, key=_cost) if x.scan and score.form == "float" else ()
    scanned, rescored, last = _core.topk(
        a, b, k, score.metric, score.form, allowed, packed, exclude, num_threads(), scores, indices, [s.operand(x.dim) for s in scans]
    )
    if stats is not None:
        stats |= {"scanned": scanned, "rescored": rescored, "scan": [*(s.precision for s in scans), "float"][last]}
    return scores, indices


direct = _core.direct_topk
