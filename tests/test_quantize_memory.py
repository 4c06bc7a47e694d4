"""quantize and memory: rows wherever they lie, nothing read or written past them, nothing copied."""

from __future__ import annotations

import pathlib
import tracemalloc
from collections.abc import Iterator
from typing import Any

import cases
import numpy as np
import pytest
from test_quantize import assert_same, vectors

import fastembed_core as fc
from fastembed_core.codes import DIM_PRECISIONS, PRECISIONS, STORAGE, code_width


@pytest.fixture(params=["scalar", "avx2", "avx512", "avx512icl", "avx512bf16", "neon"])
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each level of the extension that this machine runs."""
    core = pytest.importorskip("fastembed_core._core")
    if request.param not in core.isas():
        pytest.skip(f"this build or this machine has no {request.param}")
    before = core.isa()
    core.select_isa(request.param)
    yield request.param
    core.select_isa(before)


@pytest.mark.op("quantize", "calibrate", reference=True)
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("layout", [*cases.LAYOUTS, "fortran", "every other element", "foreign byte order", "memory mapped"])
def test_layouts(backend: str, precision: str, layout: str, tmp_path: pathlib.Path) -> None:
    for kind in ("f32", "bf16"):
        for n, d in ((5, 33), (4, 1), (2, 16)):
            x = vectors(kind, n, d)
            y = {
                **cases.LAYOUTS,
                "fortran": cases.fortran,
                "every other element": lambda a: np.repeat(a, 2, 1)[:, ::2],
                "foreign byte order": lambda a: a if a.dtype.name == "bfloat16" else a.astype(a.dtype.newbyteorder()),
                "memory mapped": lambda a: cases.mapped(a, tmp_path),
            }[layout](x)
            assert_same(fc.quantize(y, precision, backend=backend), fc.quantize(x, precision, backend=backend))


@pytest.mark.op("quantize", "dequantize", reference=True)
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("layout", ["truncated", "unaligned", "reversed", "every other element", "fortran"])
def test_outputs_and_codes_of_any_layout(backend: str, precision: str, layout: str) -> None:
    def empty(shape: tuple[int, int], dtype: Any) -> np.ndarray:
        zeros = np.zeros(shape, dtype)
        if layout == "every other element":
            return np.zeros((shape[0], 2 * shape[1]), dtype)[:, ::2]
        return cases.fortran(zeros) if layout == "fortran" else cases.LAYOUTS[layout](zeros)

    x = vectors("f32", 6, 21)
    expected = fc.quantize(x, precision, backend=backend)
    out = empty((6, code_width(precision, 21)), STORAGE[precision])
    codes = fc.quantize(x, precision, out=out, backend=backend)
    assert codes.data is out
    assert_same(codes, expected)
    values = empty((6, 21), np.float32)
    assert fc.dequantize(expected, out=values, backend=backend) is values
    cases.assert_same(values, fc.dequantize(expected, backend=backend))
    if layout in cases.LAYOUTS:
        cases.assert_same(fc.dequantize(codes, backend=backend), fc.dequantize(expected, backend=backend))


@pytest.mark.parametrize("side", ["end", "start"])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_nothing_outside_the_rows_is_touched(isa: str, precision: str, side: str) -> None:
    for kind in cases.FLOATS:
        for d in (1, 3, 7, 8, 15, 17, 31, 33, 65, 130):
            keep: list[cases.Guarded] = []
            x = vectors(kind, 3, d)
            y = cases.guarded(x, keep, side, row_gap=x.itemsize)
            expected = fc.quantize(x, precision, backend="reference")
            out = cases.guarded(np.zeros_like(expected.data), keep, side)
            got = fc.quantize(y, precision, out=out, backend="cpu")
            assert_same(got, expected)
            values = cases.guarded(np.zeros((3, d), np.float32), keep, side)
            fc.dequantize(cases.guarded(got, keep, side), out=values, backend="cpu")
            cases.assert_same(values, fc.dequantize(expected, backend="reference"))
            cases.assert_same(fc.calibrate(y, backend="cpu"), fc.calibrate(x, backend="reference"))


@pytest.mark.op("quantize", "calibrate")
@pytest.mark.parametrize("precision", PRECISIONS)
def test_no_copy_of_a_large_operand(backend: str, precision: str) -> None:
    x = np.ones((20_000, 400), np.float32)[:, :300]
    out = np.empty((20_000, code_width(precision, 300)), STORAGE[precision])
    fc.quantize(x[:8], precision, out=out[:8], backend=backend)  # what loads on first use
    tracemalloc.start()
    try:
        fc.quantize(x, precision, out=out, backend=backend)
        fc.calibrate(x, backend=backend)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20


@pytest.mark.op("quantize", "dequantize", reference=True)
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("shape", [(0, 9), (4, 0), (0, 0)])
def test_empty(backend: str, precision: str, shape: tuple[int, int]) -> None:
    codes = fc.quantize(np.empty(shape, np.float32), precision, backend=backend)
    assert codes.shape == shape
    if codes.ranges is not None or precision not in DIM_PRECISIONS:
        assert fc.dequantize(codes, backend=backend).shape == shape
