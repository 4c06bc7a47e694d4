"""normalize and memory: rows wherever they lie, in place and into other arrays, nothing read or written past them, nothing copied."""

from __future__ import annotations

import pathlib
import tracemalloc

import cases
import numpy as np
import pytest
from test_normalize import assert_same_bits, isas, vectors

import fastembed_core as fc


@pytest.mark.op("normalize", reference=True)
@pytest.mark.parametrize("layout", [*cases.LAYOUTS, "fortran", "every other element", "foreign byte order", "one row repeated"])
@pytest.mark.parametrize("kind", cases.FLOATS)
def test_layouts(backend: str, layout: str, kind: str) -> None:
    for n, d in ((5, 33), (4, 1), (1, 16)):
        x = vectors(kind, n, d)
        if layout in cases.LAYOUTS:
            y = cases.LAYOUTS[layout](x)
        elif layout == "fortran":
            y = cases.fortran(x)
        elif layout == "every other element":
            y = np.repeat(x, 2, 1)[:, ::2]
        elif layout == "foreign byte order":
            if kind == "bf16":
                continue
            y = x.astype(x.dtype.newbyteorder())
        else:
            x = np.repeat(x[:1], n, 0)
            y = np.broadcast_to(x[:1], x.shape)
        assert_same_bits(fc.normalize(y, backend=backend), fc.normalize(x, backend=backend))


@pytest.mark.op("normalize", reference=True)
def test_memory_mapped_rows(backend: str, tmp_path: pathlib.Path) -> None:
    x = vectors("f32", 7, 100)
    assert_same_bits(np.asarray(fc.normalize(cases.mapped(x, tmp_path), backend=backend)), fc.normalize(x, backend=backend))


@pytest.mark.op("normalize", reference=True)
@pytest.mark.parametrize("shape", [(12,), (2, 3, 12), (2, 3, 4, 5), (0, 5), (3, 0), (2, 0, 3), (0,)])
def test_any_number_of_axes(backend: str, shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    flat = x.reshape(-1, shape[-1]) if x.size else np.empty((0, 1), np.float32)
    assert_same_bits(fc.normalize(x, backend=backend), fc.normalize(flat, backend=backend).reshape(shape) if x.size else x)


@pytest.mark.op("normalize", reference=True)
def test_token_states_without_their_first_token(backend: str) -> None:
    x = np.random.default_rng(1).standard_normal((3, 5, 17)).astype(np.float32)
    for part in (x[:, 1:], x[:, :, :9], x.transpose(1, 0, 2), x[::-1, ::2], x.transpose(0, 2, 1)):
        assert_same_bits(fc.normalize(part, backend=backend), fc.normalize(part.copy(), backend=backend))


@pytest.mark.op("normalize", reference=True)
@pytest.mark.parametrize("kind", ["f32", "f16", "bf16"])
def test_in_place(backend: str, kind: str) -> None:
    x = vectors(kind, 8, 30)
    expected = fc.normalize(x, backend=backend)
    whole = x.copy()
    assert fc.normalize(whole, out=whole, backend=backend) is whole
    assert_same_bits(whole, expected)
    wide = np.pad(x, ((0, 0), (0, 3)), constant_values=7)
    fc.normalize(wide, truncate_dim=30, out=wide[:, :30], backend=backend)
    assert_same_bits(wide[:, :30], expected)
    assert (wide[:, 30:] == 7).all()


@pytest.mark.op("normalize", reference=True)
def test_out_may_overlap_x_in_any_way(backend: str) -> None:
    for source, target in (
        (slice(0, 6), slice(1, 7)),
        (slice(1, 7), slice(0, 6)),
        (slice(0, 6), slice(5, None, -1)),
    ):
        memory = vectors("f32", 7, 12)
        expected = fc.normalize(memory[source].copy(), backend=backend)
        out = memory[target]
        fc.normalize(memory[source], out=out, backend=backend)
        assert_same_bits(out, expected)


@pytest.mark.op("normalize", reference=True)
@pytest.mark.parametrize("layout", ["reversed", "every other element", "fortran", "unaligned", "truncated", "foreign byte order"])
def test_out_of_any_layout(backend: str, layout: str) -> None:
    x = vectors("f32", 6, 20)
    expected = fc.normalize(x, backend=backend)
    out = {
        "reversed": np.zeros((6, 20), np.float32)[::-1],
        "every other element": np.zeros((6, 40), np.float32)[:, ::2],
        "fortran": np.zeros((6, 20), np.float32, order="F"),
        "unaligned": cases.unaligned(np.zeros((6, 20), np.float32)),
        "truncated": cases.truncated(np.zeros((6, 20), np.float32)),
        "foreign byte order": np.zeros((6, 20), np.dtype(np.float32).newbyteorder()),
    }[layout]
    assert fc.normalize(x, out=out, backend=backend) is out
    assert_same_bits(out.astype(np.float32), expected)


@pytest.mark.parametrize("kind", cases.FLOATS)
@pytest.mark.parametrize("side", ["end", "start"])
def test_nothing_outside_the_rows_is_touched(kind: str, side: str) -> None:
    core = pytest.importorskip("fastembed_core._core")
    before = core.isa()
    try:
        for isa in isas():
            core.select_isa(isa)
            for d in (1, 3, 7, 8, 15, 17, 31, 33, 65, 130):
                keep: list[cases.Guarded] = []
                x = vectors(kind, 3, d)
                expected = fc.normalize(x, backend="cpu")
                y = cases.guarded(x, keep, side, row_gap=x.itemsize)
                out = cases.guarded(np.zeros_like(expected), keep, side)
                assert_same_bits(fc.normalize(y, out=out, backend="cpu"), expected)
    finally:
        core.select_isa(before)


@pytest.mark.op("normalize")
def test_no_copy_of_a_large_operand(backend: str) -> None:
    wide = np.ones((20_000, 400), np.float32)
    rows = wide[:, :300]
    out = np.empty((20_000, 300), np.float32)
    fc.normalize(rows[:8], out=out[:8], backend=backend)  # what loads on first use
    tracemalloc.start()
    try:
        fc.normalize(rows, out=out, backend=backend)
        fc.normalize(np.asfortranarray(out)[:, ::-1], out=out, backend=backend)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < rows.nbytes + (16 << 20)  # of which the test's own Fortran copy is rows.nbytes
