"""An MTEB retrieval task on real data: the scores of MTEB's own search, and of its faiss index."""

from __future__ import annotations

import inspect
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("mteb")

import torch
from mteb.models import search_wrappers
from mteb.models.model_meta import ModelMeta, ScoringFunction
from mteb.models.models_protocols import EncoderProtocol
from mteb.models.search_encoder_index import FaissSearchIndex
from mteb.models.search_encoder_index.search_backend_protocol import IndexEncoderSearchProtocol

from fastembed_core.integrations.mteb import FastIndex, SearchEncoderWrapper

sys.path.append(str(Path(__file__).parents[2]))  # last: an installed package stays before the source
from bench.hosts import tasks

FUNCTIONS = [ScoringFunction.COSINE, ScoringFunction.DOT_PRODUCT, ScoringFunction.EUCLIDEAN]


@pytest.fixture(scope="module")
def scifact(data: Path) -> tuple[Any, tasks.Stored]:
    """MTEB's own SciFact task with its documents, queries and judgements from the data folder; and MiniLM's embeddings of them."""
    task, rows = tasks.retrieval_task("scifact", data)
    return task, tasks.Stored(rows)


@pytest.mark.filterwarnings("ignore")  # what the evaluation of a task warns about is the host's own
def test_a_retrieval_task_scores_the_same(scifact: Any) -> None:
    task, model = scifact
    expected = tasks.scores(task, model)
    got = tasks.scores(task, SearchEncoderWrapper(model))
    assert len(expected) > 40 and got == pytest.approx(expected, abs=1e-6)
    assert got["ndcg_at_10"] == pytest.approx(0.6451, abs=5e-4)  # the data folder's own figure


@pytest.mark.filterwarnings("ignore")
def test_in_the_hosts_own_wrapper(data: Path) -> None:
    task, rows = tasks.retrieval_task("scifact", data, 0.03)
    model = tasks.Stored(rows)
    mine = tasks.scores(task, search_wrappers.SearchEncoderWrapper(model, index_backend=FastIndex(model)))
    assert len(mine) > 40 and mine == pytest.approx(tasks.scores(task, model), abs=1e-6)
    other = FastIndex(model)
    assert SearchEncoderWrapper(model, index_backend=other).index_backend is other


def test_it_has_the_protocol(scifact: Any) -> None:
    assert isinstance(scifact[1], EncoderProtocol)
    for method in ("add_documents", "search", "clear"):
        mine, protocol = (inspect.signature(getattr(cls, method)).parameters for cls in (FastIndex, IndexEncoderSearchProtocol))
        assert list(mine) == list(protocol)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor])
def test_full_search_is_the_similarity_functions_order(function: ScoringFunction, kind: Any) -> None:
    rng = np.random.default_rng(0)
    documents, queries = rng.standard_normal((90, 24), np.float32), rng.standard_normal((7, 24), np.float32)
    model = tasks.Stored({}, function)
    index = FastIndex(model)
    index.add_documents(kind(documents[:50]), [f"d{i}" for i in range(50)])
    index.add_documents(kind(documents[50:]), [f"d{i}" for i in range(50, 90)])
    values, places = index.search(kind(queries), 11, model.similarity)
    expected = model.similarity(queries, documents).topk(11, dim=1)
    assert isinstance(values, list) and isinstance(places[0][0], int)
    assert places == expected.indices.tolist()
    np.testing.assert_allclose(values, expected.values.numpy(), rtol=1e-5, atol=1e-5)
    assert len(index.search(kind(queries), 500, model.similarity)[0][0]) == 90
    index.clear()
    with pytest.raises(ValueError, match="expected add_documents first"):
        index.search(kind(queries), 3, model.similarity)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_reranking_is_the_hosts_faiss_index(function: ScoringFunction) -> None:
    pytest.importorskip("faiss")
    rng = np.random.default_rng(1)
    documents, queries = rng.standard_normal((40, 16), np.float32), rng.standard_normal((5, 16), np.float32)
    names = [f"d{i}" for i in range(40)]
    # mteb's own Euclidean reranking fails for lists of different lengths.
    lengths = [12] * 5 if function is ScoringFunction.EUCLIDEAN else [8, 9, 10, 11, 0]
    ranked = {f"q{i}": [names[j] for j in rng.permutation(40)[:length]] for i, length in enumerate(lengths)}
    model = tasks.Stored({}, function)
    results = []
    for index in (FastIndex(model), FaissSearchIndex(model)):
        index.add_documents(documents, names)
        with pytest.warns(UserWarning, match="top-ranked documents") if 0 in lengths else nullcontext():
            results.append(index.search(queries, 9, model.similarity, ranked, {i: f"q{i}" for i in range(5)}))
    (mine, places), (host, host_places) = results
    assert places == host_places and [len(p) for p in places] == [min(9, length) for length in lengths]
    for a, b in zip(mine, host, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_other_similarities_are_refused() -> None:
    with pytest.raises(ValueError, match="model: got the similarity function"):
        FastIndex(SimpleNamespace(mteb_model_meta=ModelMeta.create_empty({"similarity_fn_name": ScoringFunction.MAX_SIM})))
