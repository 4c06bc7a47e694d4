"""MTEB: retrieval tasks of the data folder's texts and judgements, by embeddings made beforehand, so that searching is what is timed."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np

from .. import operands
from .comparison import Comparison, host

# Documents, queries and judgements under raw/, the embeddings of the first two under emb/.
SETS = {
    "scifact": ("scifact_corpus", "scifact_queries_test", "scifact_qrels_test"),
    "wikiqa": ("wikiqa_corpus", "wikiqa_queries", "wikiqa_qrels"),
}


class Stored:
    """An encoder as MTEB wants one, whose embeddings were made beforehand and are found by their text."""

    def __init__(self, rows: dict[str, np.ndarray], function: str = "cosine") -> None:
        from mteb.models.model_meta import ModelMeta
        from sentence_transformers import util

        self.rows = rows
        self._similarity = util.SimilarityFunction.to_similarity_fn(function)
        self._pairwise = util.SimilarityFunction.to_similarity_pairwise_fn(function)
        self.mteb_model_meta = ModelMeta.create_empty({"similarity_fn_name": function})

    def encode(self, inputs: Any, **kwargs: Any) -> np.ndarray:
        return np.stack([self.rows[text] for batch in inputs for text in batch["text"]])

    def similarity(self, a: Any, b: Any) -> Any:
        return self._similarity(a, b)

    def similarity_pairwise(self, a: Any, b: Any) -> Any:
        return self._pairwise(a, b)


def retrieval_task(name: str, folder: Path, scale: float = 1.0) -> tuple[Any, dict[str, np.ndarray]]:
    """One of `SETS` as a task of MTEB's own retrieval class, all or a share of it, and the embeddings of its texts."""
    import mteb
    from datasets import Dataset

    corpus, asked, judgements = SETS[name]
    records, questions = _records(folder, corpus), _records(folder, asked)
    documents = [{"id": r["_id"], "title": r.get("title", ""), "text": r["text"]} for r in records]
    questions = [{"id": r["_id"], "text": r["text"]} for r in questions]
    judged: dict[str, dict[str, int]] = {}
    with gzip.open(folder / "raw" / f"{judgements}.tsv.gz", "rt") as file:
        for line in list(file)[1:]:
            query, document, grade = line.split()
            judged.setdefault(query, {})[document] = int(grade)
    rows = {f"{d['title']} {d['text']}".strip(): v for d, v in zip(documents, np.load(folder / "emb" / f"{corpus}.npy"), strict=True)}
    rows |= {q["text"]: v for q, v in zip(questions, np.load(folder / "emb" / f"{asked}.npy"), strict=True)}

    questions = questions[: max(10, int(scale * len(questions)))]
    judged = {question["id"]: judged[question["id"]] for question in questions if question["id"] in judged}
    relevant = {document for grades in judged.values() for document in grades}
    documents = sorted(documents, key=lambda d: d["id"] not in relevant)[: max(len(relevant), int(scale * len(documents)))]

    class Local(type(mteb.get_task("SciFact"))):  # type: ignore[misc]
        def load_data(self, **kwargs: Any) -> None:
            parts = {"corpus": Dataset.from_list(documents), "queries": Dataset.from_list(questions)}
            self.dataset = {"default": {"test": {**parts, "relevant_docs": judged, "top_ranked": None}}}
            self.data_loaded = True

    return Local(), rows


def _records(folder: Path, name: str) -> list[dict[str, Any]]:
    path = folder / "raw" / f"{name}.jsonl.gz"
    if not path.is_file():
        raise operands.NotHere(f"no {path.name} under the data folder; FASTEMBED_CORE_DATA names it")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def scores(task: Any, model: Any) -> dict[str, float]:
    """Every score that MTEB gives a model on the task, but those that are no number on few queries."""
    import mteb

    result = mteb.evaluate(model, task, cache=None, co2_tracker=False, show_progress_bar=False, encode_kwargs={"batch_size": 512})
    return {name: value for name, value in result.task_results[0].scores["test"][0].items() if isinstance(value, float) and value == value}


def evaluating(name: str, scale: float) -> Comparison:
    from datasets import disable_progress_bars

    from fastembed_core.integrations.mteb import SearchEncoderWrapper

    disable_progress_bars()
    task, rows = retrieval_task(name, operands.data_folder(), scale)
    model = Stored(rows)
    return Comparison(
        lambda: scores(task, model),
        lambda: scores(task, SearchEncoderWrapper(model)),
        lambda a, b: len(a) > 40 and a.keys() == b.keys() and all(abs(a[key] - b[key]) < 1e-6 for key in a),
    )


@host("MTEB: SciFact, all of `mteb.evaluate` but the model, 300 queries, 5,183 documents, 1,000 hits each")
def mteb_scifact(scale: float) -> Comparison:
    return evaluating("scifact", scale)


@host("MTEB: WikiQA likewise, 1,242 queries, 26,196 documents")
def mteb_wikiqa(scale: float) -> Comparison:
    return evaluating("wikiqa", scale)
