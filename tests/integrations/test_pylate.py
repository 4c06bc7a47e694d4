"""PyLate's scores and ours. PyLate pins an older sentence-transformers: this runs in an environment of its own."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("pylate")

from pylate import rank, retrieve  # noqa: E402
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


# --- the index ----------------------------------------------------------------------------------------------------------


def documents(n: int = 60) -> list[np.ndarray]:
    """Of 1 to 40 tokens; the fourth repeats the third. Their elements are positive, so that PyLate's padding never is a maximum."""
    lengths = np.random.default_rng(1).integers(1, 41, n)
    made = [tokens(int(length), 16, seed=i).abs().numpy() for i, length in enumerate(lengths)]
    made[3] = made[2]
    return made


def best(query: Any, chosen: dict[str, np.ndarray], k: int) -> list[dict[str, Any]]:
    """By PyLate's own scores: it ranks what it is given."""
    found = rank.rerank(
        documents_ids=[list(chosen)], queries_embeddings=[query], documents_embeddings=[[torch.from_numpy(x) for x in chosen.values()]]
    )
    return found[0][:k]


def same_ranking(got: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    np.testing.assert_allclose([hit["score"] for hit in got], [hit["score"] for hit in expected], rtol=1e-5)
    assert [hit["id"] for hit in got if hit["id"] not in ("d2", "d3")] == [hit["id"] for hit in expected if hit["id"] not in ("d2", "d3")]


@pytest.mark.parametrize("kind", [lambda x: x, list, lambda x: x.numpy(), lambda x: list(x.numpy()), lambda x: x.tolist()])
def test_a_retriever_runs_on_it(kind: Any) -> None:
    stored = {f"d{i}": x for i, x in enumerate(documents())}
    queries = tokens(4, 8, 16, seed=99).abs()
    index = ours.Flat()
    assert index.add_documents(list(stored)[:20], list(stored.values())[:20]) is index
    index.add_documents(documents_ids=list(stored)[20:], documents_embeddings=[torch.from_numpy(x) for x in list(stored.values())[20:]])
    retriever = retrieve.ColBERT(index=index)
    for k in (1, 7, 500):
        for query, got in zip(queries, retriever.retrieve(queries_embeddings=kind(queries), k=k), strict=True):
            same_ranking(got, best(query, stored, k))
    for subset in (["d5", "d7", "d9", "none"], [["d1"], ["d2", "d4"], [], ["d59"]]):
        for i, got in enumerate(retriever.retrieve(queries_embeddings=kind(queries), k=3, subset=subset)):
            allowed = subset if isinstance(subset[0], str) else subset[i]
            chosen = {name: x for name, x in stored.items() if name in allowed}
            same_ranking(got, best(queries[i], chosen, 3) if chosen else [])


def test_documents_come_and_go() -> None:
    stored = documents()
    query = tokens(8, 16, seed=99).abs()
    index = ours.Flat()
    assert index(query) == [[]] and len(index) == 0
    index.add_documents([f"d{i}" for i in range(60)], stored)
    top = index(query, k=3)[0]
    assert [hit["id"] for hit in index(stored[2] * 9, k=60)[0] if hit["id"] in ("d2", "d3")] == ["d2", "d3"]
    index.remove_documents([top[0]["id"], "never there"])
    assert index(query, k=2)[0] == top[1:] and len(index) == 59
    index.update_documents(["d7"], [stored[7][:1]])
    assert index.get_documents_embeddings([["d7"], []])[0][0].shape == (1, 16)
    index.add_documents("alone", stored[0])
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        assert {hit["id"] for hit in index(query.to(dtype), k=100)[0]} >= {"alone"}
    for wrong, message in (
        (lambda: index.add_documents(["x"], [np.ones((2, 5))]), r"got \[5, 16\] elements a token"),
        (lambda: index.add_documents(["x", "y"], [np.ones((2, 16))]), "got 1 for 2 ids"),
        (lambda: index([np.ones(16)]), r"queries_embeddings: got shapes \(16,\), expected a matrix of tokens each"),
        (lambda: index([np.ones((2, 16))], subset=[["d1"], ["d2"]]), "subset: got 2 lists for 1 queries"),
    ):
        with pytest.raises(ValueError, match=message):
            wrong()
