"""The differentiable path: canonical values, the derivatives of the formulas, and nothing lost on the way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cases
import numpy as np
import pytest

import fastembed_core as fc

torch = pytest.importorskip("torch")

METRICS = cases.FLOAT_METRICS


def tensors(*shapes: tuple[int, int], dtype: Any = None) -> list[Any]:
    rng = cases.rng_of("gradients", *shapes)
    return [torch.from_numpy(rng.standard_normal(shape)).to(dtype or torch.float32).requires_grad_() for shape in shapes]


def formula(a: Any, b: Any, metric: str) -> Any:
    """The scores of rows that broadcast, as a user would write them."""
    if metric == "ip":
        return (a * b).sum(-1)
    if metric == "cosine":
        return torch.nn.functional.cosine_similarity(a, b, dim=-1)
    squared = (a - b).square().sum(-1)
    return squared.sqrt() if metric == "l2" else squared


def assert_gradients(ours: Any, plain: Callable[..., Any], inputs: list[Any]) -> None:
    """`ours` has the derivative of plain(*inputs in float64), for a random direction."""
    weight = torch.from_numpy(cases.rng_of("weight").standard_normal(tuple(ours.shape)))
    got = torch.autograd.grad((ours.double() * weight).sum(), inputs)
    wide = [x.detach().double().requires_grad_() for x in inputs]
    expected = torch.autograd.grad((plain(*wide) * weight).sum(), wide)
    for g, e, x in zip(got, expected, inputs, strict=True):
        assert g.dtype == x.dtype
        assert torch.allclose(g.double(), e, rtol=1e-5 if x.dtype == torch.float32 else 1e-2, atol=1e-5), (g, e)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_similarity(metric: str, dtype: Any) -> None:
    a, b = tensors((5, 7), (6, 7), dtype=dtype)
    scores = fc.similarity(a, b, metric)
    cases.assert_same(scores, fc.similarity(a.detach(), b.detach(), metric, backend="torch"))
    assert_gradients(scores, lambda p, q: formula(p[:, None], q[None], metric), [a, b])


@pytest.mark.parametrize("metric", METRICS)
def test_gradcheck(metric: str) -> None:
    """Numeric derivatives: wide steps, for float64 operands are rounded to float32 and so are scores."""
    a, b = tensors((3, 5), (4, 5), dtype=torch.float64)
    for call in (lambda p, q: fc.similarity(p, q, metric), lambda p, q: fc.similarity_paired(p, q[:3], metric)):
        assert torch.autograd.gradcheck(call, (a, b), eps=1e-2, atol=2e-2, rtol=2e-2, nondet_tol=0)


@pytest.mark.parametrize("metric", METRICS)
def test_paired(metric: str) -> None:
    a, b = tensors((6, 7), (6, 7))
    scores = fc.similarity_paired(a, b, metric)
    cases.assert_same(scores, fc.similarity_paired(a.detach(), b.detach(), metric, backend="torch"))
    assert_gradients(scores, lambda p, q: formula(p, q, metric), [a, b])


@pytest.mark.parametrize("metric", METRICS)
def test_topk(metric: str) -> None:
    a, b = tensors((4, 9), (60, 9))
    scores, indices = fc.topk(a, b, 5, metric=metric)
    cases.assert_same((scores, indices), fc.topk(a.detach(), b.detach(), 5, metric=metric, backend="reference"))
    assert scores.requires_grad
    assert not indices.requires_grad
    assert_gradients(scores, lambda p, q: formula(p[:, None], q[indices], metric), [a, b])


@pytest.mark.parametrize("metric", METRICS)
def test_rescore(metric: str) -> None:
    a, b = tensors((4, 9), (30, 9))
    ids = cases.rng_of("ids").integers(-1, 30, (4, 6))
    scores, indices = fc.rescore(a, b, ids, 4, metric=metric)
    cases.assert_same((scores, indices), fc.rescore(a.detach(), b.detach(), ids, 4, metric=metric, backend="reference"))
    filled = (indices >= 0).double()
    assert_gradients(scores.nan_to_num(posinf=0, neginf=0), lambda p, q: formula(p[:, None], q[indices], metric) * filled, [a, b])


@pytest.mark.parametrize(("kind", "metric"), [("int8_row", m) for m in METRICS] + [("uint8", m) for m in METRICS] + [("ubinary", "ip")])
def test_float_queries_against_codes(kind: str, metric: str) -> None:
    import oracle

    queries, corpus = cases.operands(cases.Pairing("f32", kind, (metric,)), 3, 20, 8)
    a = torch.tensor(queries, requires_grad=True)
    values = torch.from_numpy(oracle.values64(corpus))
    scores, indices = fc.topk(a, corpus, 4, metric=metric)
    cases.assert_same((scores, indices), fc.topk(queries, corpus, 4, metric=metric, backend="reference"))
    assert_gradients(scores, lambda p: formula(p[:, None], values[indices], metric), [a])
    assert_gradients(fc.similarity(a, corpus, metric), lambda p: formula(p[:, None], values[None], metric), [a])


def test_either_operand_alone() -> None:
    a, b = tensors((3, 5), (9, 5))
    for queries, corpus in ((a, b.detach()), (a, b.detach().numpy()), (a.detach(), b), (a.detach().numpy(), b)):
        for result in (
            fc.topk(queries, corpus, 2)[0],
            fc.similarity(queries, corpus),
            fc.rescore(queries, corpus, np.zeros((3, 1), int))[0],
        ):
            assert isinstance(result, torch.Tensor)
            assert result.requires_grad
            result.sum().backward()
    assert a.grad is not None
    assert b.grad is not None


def test_no_gradient_where_none_is_asked_for() -> None:
    a, b = tensors((3, 5), (9, 5))
    with torch.no_grad():
        assert not fc.topk(a, b, 2)[0].requires_grad
        assert not fc.topk(a, b, 2, backend="numpy")[0].requires_grad
    with torch.inference_mode():
        assert not fc.similarity(a, b).requires_grad
    assert not fc.topk(a.detach(), b.detach(), 2)[0].requires_grad


@pytest.mark.parametrize("name", ["reference", "numpy", "numba", "cpu"])
def test_a_backend_without_gradients_says_so(name: str) -> None:
    from conftest import Column

    reason = Column(name).lacks("topk")
    if reason:
        pytest.skip(reason)
    a, b = tensors((3, 5), (9, 5))
    with pytest.raises(TypeError, match=f"backend: {name} keeps no gradients"):
        fc.topk(a, b, 2, backend=name)
    with fc.use_backend(name), pytest.raises(TypeError, match="keeps no gradients"):
        fc.topk(a, b, 2)


def test_where_a_formula_has_no_derivative_it_is_zero() -> None:
    """The cosine of a zero row and the distance of a row from itself: zero, and not the NaN that spreads."""
    x = torch.zeros(2, 3)
    x[1] = 1
    for metric in METRICS:
        for call in (lambda p: fc.similarity(p, p.detach(), metric), lambda p: fc.topk(p, p.detach(), 2, metric=metric)[0]):  # noqa: B023
            a = x.clone().requires_grad_()
            call(a).sum().backward()
            assert a.grad.isfinite().all(), metric


def test_unfilled_places_pass_nothing_back() -> None:
    a, b = tensors((3, 5), (9, 5))
    poisoned = b.detach().clone()
    poisoned[0] = torch.nan  # the row that a careless gather reads for a place no row fills
    poisoned.requires_grad_()
    mask = np.zeros(9, bool)
    mask[4] = True
    scores, indices = fc.topk(a, poisoned, 3, metric="ip", mask=mask)
    assert indices[:, 1:].eq(-1).all()
    scores[:, 0].sum().backward()
    assert torch.equal(a.grad, b.detach()[4].expand(3, 5))
    assert poisoned.grad[4].isfinite().all()
    assert not poisoned.grad[[0, 1, 2]].any()


def test_second_derivatives() -> None:
    a, b = tensors((3, 5), (4, 5))
    first = torch.autograd.grad(fc.similarity(a, b, "sqeuclidean").sum(), a, create_graph=True)[0]
    second = torch.autograd.grad(first.sum(), a)[0]
    assert torch.allclose(second, torch.full_like(a, 8.0))


def test_out_keeps_the_graph() -> None:
    a, b = tensors((3, 5), (4, 5))
    out = torch.zeros(3, 4)
    fc.similarity(a, b, "ip", out=out)
    out.sum().backward()
    assert torch.allclose(a.grad, b.detach().sum(0).expand(3, 5))


def test_autocast_and_default_types_change_nothing() -> None:
    """Settings that round what a certificate takes for float32."""
    x = torch.from_numpy(cases.rng_of("autocast").standard_normal((3000, 33)).astype(np.float32))
    expected = fc.topk(x[:9], x, 5, backend="reference")
    default, precision = torch.get_default_dtype(), torch.get_float32_matmul_precision()
    try:
        for dtype in (torch.float16, torch.float64):
            torch.set_default_dtype(dtype)
            cases.assert_same(fc.topk(x[:9], x, 5, backend="torch"), expected)
        torch.set_default_dtype(default)
        for setting in ("high", "medium"):
            torch.set_float32_matmul_precision(setting)
            cases.assert_same(fc.topk(x[:9], x, 5, backend="torch"), expected)
    finally:
        torch.set_default_dtype(default)
        torch.set_float32_matmul_precision(precision)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cases.assert_same(fc.topk(x[:9], x, 5, backend="torch"), expected)
