"""The torch modules: they give what the operations give, train, and are torch's own where theirs have a counterpart."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import fastembed_core as fc  # noqa: E402
from fastembed_core import nn  # noqa: E402
from fastembed_core.ops.pool import MODES  # noqa: E402


def tokens_of(dtype: Any = torch.float32) -> tuple[Any, Any]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(4, 9, 8, generator=generator).to(dtype), torch.arange(9) < torch.tensor([9, 1, 5, 3])[:, None]


# --- Pooling --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("mode", MODES)
def test_pooling(mode: str, dtype: Any) -> None:
    x, mask = tokens_of(dtype)
    torch.manual_seed(0)
    module = nn.Pooling(mode, embedding_dim=8, num_queries=2, truncate_dim=5, normalize=True)
    query = None if module.query is None else module.query.detach()
    with torch.no_grad():
        expected = fc.pool(x, mask, mode=mode, query=query, truncate_dim=5, normalize=True)
        got = module(x, mask)
    assert got.dtype == dtype and got.shape == (4, 5)
    torch.testing.assert_close(got, expected.to(dtype), rtol=0, atol=0 if dtype == torch.float32 else 1e-3)
    trained = module(x.requires_grad_(), mask)
    assert trained.requires_grad
    torch.testing.assert_close(trained.detach(), got, rtol=0, atol={torch.float32: 2e-6}.get(dtype, 1e-2))
    flat, ends = x.detach()[mask], np.concatenate([[0], np.cumsum(mask.sum(dim=1).numpy())])
    with torch.no_grad():
        torch.testing.assert_close(module(flat, cu_seqlens=ends), got, rtol=0, atol=0)


def test_attention_is_torch_s() -> None:
    x, mask = tokens_of()
    module = nn.Pooling("attention", embedding_dim=8, num_queries=3)
    expected = torch.nn.functional.scaled_dot_product_attention(module.query.expand(4, 3, 8), x, x, attn_mask=mask[:, None])
    torch.testing.assert_close(module(x, mask).reshape(4, 3, 8), expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("mode", MODES)
def test_pooling_gradcheck(mode: str) -> None:
    """Through float32: the steps are wide enough for its rounding and short enough for the curvature."""
    x, mask = tokens_of(torch.float64)
    module = nn.Pooling(mode, embedding_dim=8, normalize=True).double()
    parameters = tuple(module.parameters())
    assert len(parameters) == (mode == "attention")

    def call(states: Any, *_: Any) -> Any:
        return module(states, mask)

    assert torch.autograd.gradcheck(call, (x.requires_grad_(), *parameters), eps=4e-3, atol=5e-3, rtol=5e-3, nondet_tol=0.0)


def test_pooling_learns() -> None:
    """Attention finds the one token of each sequence that carries the answer."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(256, 12, 16, generator=generator)
    marked = torch.randint(0, 12, (256,), generator=generator)
    x[..., 0] = 0
    x[torch.arange(256), marked, 0] = 4
    target = x[torch.arange(256), marked]
    module = nn.Pooling("attention", embedding_dim=16)
    optimizer = torch.optim.Adam(module.parameters(), lr=0.1)
    losses = []
    for _ in range(120):
        optimizer.zero_grad()
        loss = (module(x) - target).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.02 * losses[0]
    other = nn.Pooling("attention", embedding_dim=16)
    other.load_state_dict(module.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(other(x), module(x), rtol=0, atol=0)


def test_pooling_refuses() -> None:
    with pytest.raises(ValueError, match="^" + re.escape("mode: got 'average', expected one of mean")):
        nn.Pooling("average")
    with pytest.raises(ValueError, match=r"^embedding_dim: got None for mode 'attention', expected the elements of a token$"):
        nn.Pooling("attention")


# --- EmbeddingBag ---------------------------------------------------------------------------------------------------

IDS = torch.tensor([1, 5, 5, 9, 0, 3, 2, 7, 1, 1])
STARTS = torch.tensor([0, 0, 4, 9])


def pair(**how: Any) -> tuple[Any, Any]:
    torch.manual_seed(0)
    theirs = torch.nn.EmbeddingBag(10, 12, **how)
    ours = nn.EmbeddingBag(10, 12, **how)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("how", [{}, {"padding_idx": 5}, {"include_last_offset": True}, {"max_norm": 1.0}, {"sparse": True}], ids=str)
@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_embedding_bag(mode: str, how: dict[str, Any], dtype: Any) -> None:
    if mode == "max" and how.get("sparse"):
        pytest.skip("torch has no sparse max")
    ours, theirs = (module.to(dtype) for module in pair(mode=mode, **how))
    starts = torch.cat([STARTS, torch.tensor([10])]) if how.get("include_last_offset") else STARTS
    calls: list[tuple[Any, ...]] = [(IDS, starts), (IDS.int(), starts.int()), (IDS.reshape(5, 2),)]
    if mode == "sum":
        calls.append((IDS, starts, torch.linspace(-1, 2, 10).to(dtype)))
    atol = {torch.float32: 1e-6, torch.float64: 0, torch.float16: 4e-3, torch.bfloat16: 4e-2}[dtype]
    for call in calls:
        with torch.no_grad():
            expected, got = theirs(*call), ours(*call)
        assert got.dtype == dtype
        torch.testing.assert_close(got, expected, rtol=0, atol=atol)
    theirs(IDS, starts).sum().backward()
    ours(IDS, starts).sum().backward()
    got, expected = ours.weight.grad.to_dense(), theirs.weight.grad.to_dense()
    torch.testing.assert_close(got, expected, rtol=0, atol=0)


def test_embedding_bag_runs_our_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, _ = pair(mode="max")
    monkeypatch.setattr(torch.nn.EmbeddingBag, "forward", None)
    with torch.no_grad():
        assert ours(IDS, STARTS).shape == (4, 12)


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_embedding_bag_gradcheck(mode: str) -> None:
    ours, _ = pair(mode=mode)
    ours = ours.double()
    assert torch.autograd.gradcheck(lambda w: torch.func.functional_call(ours, {"weight": w}, (IDS, STARTS)), (ours.weight,))


@pytest.mark.parametrize("wrong", [(IDS.float(), STARTS), (IDS,), (IDS.reshape(5, 2), STARTS), (IDS, STARTS, torch.ones(10))], ids=str)
def test_embedding_bag_refuses_as_torch(wrong: tuple[Any, ...]) -> None:
    ours, theirs = pair(mode="max")
    with torch.no_grad():
        with pytest.raises(Exception, match=r"\S") as expected:
            theirs(*wrong)
        with pytest.raises(type(expected.value)) as got:
            ours(*wrong)
    assert str(got.value) == str(expected.value)


@pytest.mark.parametrize("precision", ["int8_row", "int4_row"])
@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_coded_rows(mode: str, precision: str) -> None:
    ours, _ = pair(mode=mode, padding_idx=5)
    coded = ours.coded(precision)
    rows = fc.dequantize(fc.quantize(ours.weight.detach(), precision))
    expected = torch.nn.functional.embedding_bag(IDS, rows, STARTS, mode=mode, padding_idx=5)
    torch.testing.assert_close(coded(IDS, STARTS), expected, rtol=0, atol=2e-6)
    assert not list(coded.parameters()) and set(coded.state_dict()) == {"data", "scale"}
    assert coded.data.nbytes == 10 * (12 if precision == "int8_row" else 6)
    if mode == "sum":
        weights = torch.linspace(-1, 2, 10)
        expected = torch.nn.functional.embedding_bag(IDS, rows, STARTS, mode=mode, padding_idx=5, per_sample_weights=weights)
        torch.testing.assert_close(coded(IDS, STARTS, weights), expected, rtol=0, atol=4e-6)
    else:
        with pytest.raises(ValueError, match=r"^per_sample_weights: got a tensor for mode"):
            coded(IDS, STARTS, torch.ones(10))
    other = nn.EmbeddingBag(10, 12, mode=mode, padding_idx=5).coded(precision)
    other.load_state_dict(coded.state_dict())
    torch.testing.assert_close(other(IDS, STARTS), coded(IDS, STARTS), rtol=0, atol=0)


def test_coded_refuses() -> None:
    with pytest.raises(ValueError, match=r"^precision: got 'int8', expected one of int8_row, int4_row$"):
        nn.EmbeddingBag(10, 12).coded("int8")
    with pytest.raises(ValueError, match=r"^bag: got one with max_norm"):
        nn.EmbeddingBag(10, 12, max_norm=1.0).coded()
