"""pool and memory: nothing read or written past a row, nothing copied."""

from __future__ import annotations

import gc
import tracemalloc

import cases
import numpy as np
import pytest
from test_pool import DIMS, PRECISIONS, arguments, same, tokens_of

import fastembed_core as fc


@pytest.mark.parametrize("kind", cases.FLOATS)
def test_no_read_or_write_past_the_end(backend: str, kind: str) -> None:
    """Every array ends where memory ends; rows lie an odd number of bytes apart."""
    if backend != "cpu":
        pytest.skip("only compiled kernels can read past an end")
    for d in DIMS:
        for gap, side in ((0, "end"), (3, "end"), (0, "start")):
            x, keep = tokens_of(kind, 3, 5, d), []
            rows = cases.guarded(x.reshape(15, d), keep, side, gap)
            step = rows.strides[0]
            tight = np.lib.stride_tricks.as_strided(rows, x.shape, (5 * step, step, x.itemsize))
            mask = cases.guarded(np.arange(15).reshape(3, 5) % 7 != 3, keep, side)
            for mode in ("mean", "max", "lasttoken", "attention", "weightedmean"):
                how = arguments(mode, d, heads=3)
                if mode == "attention":
                    how["query"] = cases.guarded(how["query"], keep, side)
                if mode == "weightedmean":
                    how["token_weights"] = cases.guarded(np.ones((3, 5), np.float32), keep, side)
                expected = fc.pool(x, mask, **how, backend=backend)
                same(fc.pool(tight, mask, **how, out=cases.guarded(np.empty_like(expected), keep, side), backend=backend), expected)


def test_codes_stay_inside_their_rows() -> None:
    for precision in PRECISIONS:
        for d in DIMS:
            x, keep = tokens_of("f32", 3, 5, d), []
            ranges = np.stack([np.zeros(d), np.ones(d)]) if precision in ("int8", "uint8") else None
            expected = fc.pool(x, precision=precision, ranges=ranges)
            for side in ("end", "start"):
                out = cases.guarded(np.zeros_like(expected.data), keep, side)
                same(fc.pool(x, precision=precision, ranges=ranges, out=out), expected)


def test_tokens_are_read_in_place() -> None:
    base = np.zeros((16, 2, 200, 96), np.float16)
    for x in (base[:, 0], base[::2, 1, ::-1], base[..., :64][:, 0]):
        fc.pool(x, normalize=True)
        gc.collect()
        tracemalloc.start()
        fc.pool(x, normalize=True, precision="int8_row")
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < x.nbytes / 8, "a copy of the tokens was made"
