"""PyLate's scores and ours. PyLate pins an older sentence-transformers: this runs in an environment of its own."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("pylate")

from pylate import scores as host  # noqa: E402

from fastembed_core.integrations import pylate as ours  # noqa: E402

NAMES = ("colbert_scores", "colbert_scores_pairwise", "colbert_kd_scores")


def tokens(*shape: int, seed: int = 0, dtype: Any = None) -> Any:
    x = torch.from_numpy(np.random.default_rng(seed).standard_normal(shape, np.float32))
    return torch.nn.functional.normalize(x, dim=-1).to(dtype or torch.float32)


def mask_of(*shape: int) -> Any:
    lengths = torch.from_numpy(np.random.default_rng(9).integers(0, shape[-1] + 1, shape[:-1]))
    return (torch.arange(shape[-1]) < lengths[..., None]).float()


@pytest.mark.parametrize("name", NAMES)
def test_signatures(name: str) -> None:
    theirs, mine = (inspect.signature(getattr(module, name)).parameters for module in (host, ours))
    assert [(p.name, p.default) for p in mine.values()] == [(p.name, p.default) for p in theirs.values()]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("masked", ["no masks", "queries", "documents", "both", "weights"])
def test_scores(masked: str, dtype: Any) -> None:
    """-x turns every score around, so that only the zeros of masked tokens are left as maxima."""
    q, x = tokens(5, 8, 32, seed=1, dtype=dtype), tokens(7, 20, 32, seed=2, dtype=dtype)
    q_mask = mask_of(5, 8).to(dtype) if masked in ("queries", "both", "weights") else None
    x_mask = mask_of(7, 20).to(dtype) if masked in ("documents", "both", "weights") else None
    if masked == "weights":
        q_mask = q_mask * 0.5
    atol = {torch.float32: 1e-5, torch.float64: 0, torch.float16: 1e-2, torch.bfloat16: 1e-1}[dtype]
    same_side = (x.abs(), -q.abs())  # all scores negative
    for queries, documents in ((q, x), (same_side[1], same_side[0])):
        expected = host.colbert_scores(queries, documents, q_mask, x_mask)
        got = ours.colbert_scores(queries, documents, q_mask, x_mask)
        assert got.dtype == expected.dtype
        torch.testing.assert_close(got, expected, rtol=0, atol=atol)
    candidates = torch.stack([x[:4], x[1:5], x[2:6], x[3:], x[:4]])
    c_mask = None if x_mask is None else torch.stack([x_mask[:4], x_mask[1:5], x_mask[2:6], x_mask[3:], x_mask[:4]])
    expected = host.colbert_kd_scores(q, candidates, q_mask, c_mask)
    torch.testing.assert_close(ours.colbert_kd_scores(q, candidates, q_mask, c_mask), expected, rtol=0, atol=atol)


def test_kinds() -> None:
    q, x = tokens(5, 8, 32, seed=1), tokens(5, 20, 32, seed=2)
    expected = host.colbert_scores(q, x)
    for kind in (lambda t: t.numpy(), lambda t: t.tolist(), lambda t: list(t)):
        torch.testing.assert_close(ours.colbert_scores(kind(q), kind(x)), expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(ours.colbert_scores(q, x, backend="torch"), expected, rtol=0, atol=1e-5)
    with pytest.raises(RuntimeError, match="requires CUDA"):
        ours.colbert_scores(q, x, backend="flash")
    ragged = [t[: 3 + i] for i, t in enumerate(q)], [t[: 20 - i] for i, t in enumerate(x)]
    for sides in ((q, x), ragged, (q.half(), x.half())):
        expected = host.colbert_scores_pairwise(*sides)
        torch.testing.assert_close(
            ours.colbert_scores_pairwise(*sides), expected, rtol=0, atol=2e-2 if sides[0][0].dtype == torch.half else 1e-5
        )
    for name in NAMES:
        d = x if name != "colbert_kd_scores" else x[:, None]
        grads = []
        for module in (host, ours):
            a = q.clone().requires_grad_()
            getattr(module, name)(a, d).sum().backward()
            grads.append(a.grad)
        torch.testing.assert_close(*grads, rtol=0, atol=0)
