"""Rows in, rows out: normalize and quantize are one kernel."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from ._launch import blocks, launch
from ._operand import STORAGE, widened
from ._rows import TILE, Output, columns_of, emit, unit, warps_of


@triton.jit(do_not_specialize=["n"])
def _map_kernel(
    x, stride, step, out, out_stride, out_scale, ranges, n, dim,
    KIND: tl.constexpr, EPS: tl.constexpr, PRECISION: tl.constexpr, R: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    rows = tl.program_id(0).to(tl.int64) * R + tl.arange(0, R)
    valid = rows < n
    columns = tl.arange(0, C)[None, :]
    at = x + (rows * stride)[:, None] + columns.to(tl.int64) * step
    v = widened(tl.load(at, mask=valid[:, None] & (columns < dim), other=0), KIND)
    if EPS is not None:
        v = unit(v, EPS)
    emit(v, out, out_stride, out_scale, ranges, rows, valid, dim, PRECISION, R, C)


def map_rows(x: torch.Tensor, kind: str, out: Output, eps: float | None = None) -> None:
    """`out` from the rows of x (n, dim), divided by their length first where eps is given."""
    c = columns_of(out.dim)
    r = max(1, TILE // c)
    launch(
        _map_kernel, blocks(x.shape[0], r), x.view(STORAGE.get(kind, x.dtype)), x.stride(0), x.stride(1), *out.arguments,
        x.shape[0], out.dim, KIND=kind, EPS=eps, PRECISION=out.precision, R=r, C=c,
        warps=warps_of(r * c),
    )  # fmt: skip
