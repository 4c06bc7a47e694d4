"""An MTEB retrieval task on real data: the scores of MTEB's own search, and of its faiss index."""

from __future__ import annotations

import gzip
import inspect
import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("mteb")

import mteb
import torch
from datasets import Dataset
from mteb.models import SearchEncoderWrapper
from mteb.models.model_meta import ModelMeta, ScoringFunction
from mteb.models.models_protocols import EncoderProtocol
from mteb.models.search_encoder_index import FaissSearchIndex
from mteb.models.search_encoder_index.search_backend_protocol import IndexEncoderSearchProtocol

from fastembed_core.integrations.mteb import FastIndex

FUNCTIONS = [ScoringFunction.COSINE, ScoringFunction.DOT_PRODUCT, ScoringFunction.EUCLIDEAN]


def similarity(name: ScoringFunction, a: Any, b: Any) -> torch.Tensor:
    a, b = (torch.as_tensor(x, dtype=torch.float32) for x in (a, b))
    if name is ScoringFunction.EUCLIDEAN:
        return -torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")
    if name is ScoringFunction.COSINE:
        a, b = (torch.nn.functional.normalize(x, dim=-1) for x in (a, b))
    return a @ b.T


class Stored:
    """An encoder whose embeddings were made beforehand, found by their text."""

    def __init__(self, rows: dict[str, np.ndarray], function: ScoringFunction = ScoringFunction.COSINE) -> None:
        self.rows, self.function = rows, function
        self.mteb_model_meta = ModelMeta.create_empty({"similarity_fn_name": function})

    def encode(self, inputs: Any, **kwargs: Any) -> np.ndarray:
        return np.stack([self.rows[text] for batch in inputs for text in batch["text"]])

    def similarity(self, a: Any, b: Any) -> torch.Tensor:
        return similarity(self.function, a, b)

    def similarity_pairwise(self, a: Any, b: Any) -> torch.Tensor:
        return self.similarity(a, b).diagonal()


def records(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


@pytest.fixture(scope="module")
def scifact(data: Path) -> tuple[Any, Stored]:
    """MTEB's own SciFact task with its documents, queries and judgements from the data folder; and MiniLM's embeddings of them."""
    corpus, queries = records(data / "raw" / "scifact_corpus.jsonl.gz"), records(data / "raw" / "scifact_queries_test.jsonl.gz")
    judged: dict[str, dict[str, int]] = {}
    with gzip.open(data / "raw" / "scifact_qrels_test.tsv.gz", "rt") as file:
        for line in list(file)[1:]:
            query, document, grade = line.split()
            judged.setdefault(query, {})[document] = int(grade)
    documents = [{"id": r["_id"], "title": r.get("title", ""), "text": r["text"]} for r in corpus]
    rows = {f"{d['title']} {d['text']}".strip(): v for d, v in zip(documents, np.load(data / "emb" / "scifact_corpus.npy"), strict=True)}
    rows |= {q["text"]: v for q, v in zip(queries, np.load(data / "emb" / "scifact_queries_test.npy"), strict=True)}

    class Local(type(mteb.get_task("SciFact"))):  # type: ignore[misc]
        def load_data(self, **kwargs: Any) -> None:
            self.dataset = {
                "default": {
                    "test": {
                        "corpus": Dataset.from_list(documents),
                        "queries": Dataset.from_list([{"id": q["_id"], "text": q["text"]} for q in queries]),
                        "relevant_docs": judged,
                        "top_ranked": None,
                    }
                }
            }
            self.data_loaded = True

    return Local(), Stored(rows)


def scores(task: Any, model: Any) -> dict[str, Any]:
    result = mteb.evaluate(model, task, cache=None, co2_tracker=False, show_progress_bar=False, encode_kwargs={"batch_size": 512})
    return {k: v for k, v in result.task_results[0].scores["test"][0].items() if isinstance(v, float)}


@pytest.mark.filterwarnings("ignore")  # what the evaluation of a task warns about is the host's own
def test_a_retrieval_task_scores_the_same(scifact: Any) -> None:
    task, model = scifact
    expected = scores(task, model)
    got = scores(task, SearchEncoderWrapper(model, index_backend=FastIndex(model)))
    assert len(expected) > 40 and got == pytest.approx(expected, abs=1e-6)
    assert got["ndcg_at_10"] == pytest.approx(0.6451, abs=5e-4)  # the data folder's own figure


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
    model = Stored({}, function)
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
    model = Stored({}, function)
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
        FastIndex(Stored({}, ScoringFunction.MAX_SIM))
