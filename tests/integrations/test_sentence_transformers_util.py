"""The host's ``util`` functions under their own names, beside the host's results on real embeddings."""

from __future__ import annotations

import inspect
import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
torch = pytest.importorskip("torch")
pytest.importorskip("sentence_transformers", minversion="6.0")

from sentence_transformers import util  # noqa: E402
from sentence_transformers.util import quantization as host_quantization  # noqa: E402

from fastembed_core.integrations import sentence_transformers as ours  # noqa: E402

DATA = Path(os.environ.get("FASTEMBED_CORE_DATA") or Path(__file__).parents[3] / "shared" / "data")


@pytest.fixture(scope="module")
def real() -> tuple[np.ndarray, np.ndarray]:
    """SciFact: 300 queries, 5,183 documents."""
    if not (DATA / "emb").is_dir():
        pytest.skip(f"no data folder at {DATA}; FASTEMBED_CORE_DATA names one")
    return np.load(DATA / "emb" / "scifact_queries_test.npy"), np.load(DATA / "emb" / "scifact_corpus.npy")


@pytest.fixture(scope="module")
def sentences() -> np.ndarray:
    """The STS benchmark's sentences, many of them paraphrases."""
    if not (DATA / "emb").is_dir():
        pytest.skip(f"no data folder at {DATA}; FASTEMBED_CORE_DATA names one")
    return np.load(DATA / "emb" / "stsb_sents.npy")


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


@pytest.mark.parametrize("name", ours.__all__[2:])
def test_signatures(name: str) -> None:
    """Every parameter has the host's name, place and default."""
    if name == "paraphrase_mining":
        return  # takes them all through keywords, tested below
    theirs = inspect.signature(getattr(host_quantization if name.startswith("semantic_search_") else util, name)).parameters
    mine = inspect.signature(getattr(ours, name)).parameters
    assert [(p.name, p.kind, p.default) for p in mine.values()] == [(p.name, p.kind, p.default) for p in theirs.values()]


def same_hits(got: Any, expected: Any, atol: float = 2e-6) -> None:
    """Equal scores in every place; where ids differ their scores are equal up to rounding."""
    assert len(got) == len(expected)
    for mine, theirs in zip(got, expected, strict=True):
        assert len(mine) == len(theirs)
        assert all(set(hit) == {"corpus_id", "score"} and type(hit["corpus_id"]) is int and type(hit["score"]) is float for hit in mine)
        scale = max([abs(hit["score"]) for hit in theirs], default=1.0)
        np.testing.assert_allclose([h["score"] for h in mine], [h["score"] for h in theirs], rtol=0, atol=atol * max(1.0, scale))
        place = {hit["corpus_id"]: hit["score"] for hit in theirs}
        last = theirs[-1]["score"] if theirs else 0
        for hit in mine:
            assert abs(hit["score"] - place.get(hit["corpus_id"], last)) <= atol * max(1.0, scale)


# --- semantic search ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("score", [util.cos_sim, util.dot_score, util.euclidean_sim, util.manhattan_sim])
def test_semantic_search(real: tuple[np.ndarray, np.ndarray], score: Any) -> None:
    queries, corpus = (torch.from_numpy(part) for part in real)
    for how in ({}, {"top_k": 100, "corpus_chunk_size": 999, "query_chunk_size": 7}):
        got = ours.semantic_search(queries, corpus, score_function=score, **how)
        # The host's euclidean distances come from differences of products.
        same_hits(got, util.semantic_search(queries, corpus, score_function=score, **how), 1e-5 if "eucl" in score.__name__ else 2e-6)


@pytest.mark.filterwarnings("ignore:Sparse:UserWarning")  # the host's own
def test_kinds_of_embeddings(real: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
    queries, corpus = real[0][:5], real[1][:400]
    np.save(tmp_path / "x.npy", corpus)
    expected = util.semantic_search(queries, corpus, top_k=7)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    for q, x in (
        (queries, mapped),
        (list(queries), list(corpus)),
        ([torch.from_numpy(q) for q in queries], torch.from_numpy(corpus)),
        (queries.tolist(), corpus),
        (queries.astype(np.float64), corpus.astype(np.float64)),
        (torch.from_numpy(queries).to_sparse(), torch.from_numpy(corpus).to_sparse()),
        (np.asfortranarray(queries), np.asfortranarray(corpus)),
        (torch.from_numpy(queries).requires_grad_(), torch.from_numpy(corpus)),
    ):
        same_hits(ours.semantic_search(q, x, top_k=7), expected)
    same_hits(ours.semantic_search(queries[0], corpus, top_k=500), util.semantic_search(queries[0], corpus, top_k=500))
    half = torch.from_numpy(corpus).half()
    same_hits(ours.semantic_search(half[:4], half), util.semantic_search(half[:4], half))
    assert ours.semantic_search(queries, corpus, score_function=lambda a, b: -util.dot_score(a, b))[0][0]["score"] > -0.5
    with pytest.raises(RuntimeError):
        util.semantic_search(queries, corpus[:, :5])
    with pytest.raises(RuntimeError):
        ours.semantic_search(queries, corpus[:, :5])


def test_equal_rows_in_order() -> None:
    corpus = np.repeat(random(3, 16), 20, axis=0)
    hits = ours.semantic_search(corpus[25], corpus, top_k=30)[0]
    assert [hit["corpus_id"] for hit in hits[:20]] == list(range(20, 40))


@pytest.mark.parametrize("score", [util.cos_sim, util.dot_score, util.euclidean_sim])
def test_paraphrase_mining(sentences: np.ndarray, score: Any) -> None:
    x = torch.from_numpy(sentences[:2500])
    for how in ({}, {"max_pairs": 1000, "query_chunk_size": 700}, {"top_k": 3, "max_pairs": 5000}):
        got = ours.paraphrase_mining_embeddings(x, score_function=score, **how)
        expected = util.paraphrase_mining_embeddings(x, score_function=score, **how)
        assert len(got) == len(expected)
        atol = 2e-3 if score is util.euclidean_sim else 2e-6
        np.testing.assert_allclose([pair[0] for pair in got], [pair[0] for pair in expected], rtol=0, atol=atol)
        mine, theirs = ({(i, j) for _, i, j in pairs} for pairs in (got, expected))
        assert all(type(s) is float and type(i) is int and i < j for s, i, j in got) and len(mine) == len(got)
        assert len(mine & theirs) >= 0.999 * len(mine)  # the rest is equal up to rounding, at the edge of max_pairs or of top_k


class Model:
    """What `paraphrase_mining` asks of a model."""

    def __init__(self, vectors: np.ndarray) -> None:
        self.vectors = torch.from_numpy(vectors)
        self.asked: list[dict[str, Any]] = []

    def encode(self, sentences: list[str], **how: Any) -> Any:
        self.asked.append(how)
        return self.vectors[: len(sentences), : how.get("truncate_dim")]


def test_paraphrase_mining_of_texts(sentences: np.ndarray) -> None:
    model, texts = Model(sentences), ["text"] * 300
    for how in ({"top_k": 5, "max_pairs": 50}, {"batch_size": 8, "truncate_dim": 64, "prompt": "query: ", "max_pairs": 50}):
        got, expected = ours.paraphrase_mining(model, texts, **how), util.paraphrase_mining(model, texts, **how)
        assert [pair[1:] for pair in got] == [pair[1:] for pair in expected]
        mine, theirs = ({name: value for name, value in asked.items() if value is not None} for asked in model.asked[-2:])
        assert mine == theirs
    with pytest.raises(TypeError):
        ours.paraphrase_mining(model, texts, top=3)


@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_community_detection(sentences: np.ndarray, kind: str) -> None:
    x = sentences if kind == "numpy" else torch.from_numpy(sentences)
    for how in ({"min_community_size": 5}, {"threshold": 0.6, "min_community_size": 20, "batch_size": 500}, {"threshold": 0.99}):
        got, expected = ours.community_detection(x, **how), util.community_detection(x, **how)
        assert [len(group) for group in got] == [len(group) for group in expected]
        assert [group[0] for group in got] == [group[0] for group in expected]
        assert [set(group) for group in got] == [set(group) for group in expected]
        assert all(type(i) is int for group in got for i in group)
    assert got == [] or how["threshold"] == 0.99


def test_small_communities() -> None:
    assert ours.community_detection([]) == [] and ours.community_detection(random(5, 8)) == []
    x = np.repeat(random(2, 8), 12, axis=0)
    for values in (x, x.astype(np.float64)):
        got, expected = ours.community_detection(values), util.community_detection(values)
        assert [set(group) for group in got] == [set(group) for group in expected] == [set(range(12)), set(range(12, 24))]
        assert [group[0] for group in got] == [group[0] for group in expected]


# --- codes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["float32", "int8", "uint8", "binary", "ubinary"])
def test_quantize_embeddings(real: tuple[np.ndarray, np.ndarray], precision: str) -> None:
    _, x = real
    for values in (
        x[:, :97],
        torch.from_numpy(x),
        torch.from_numpy(x).half(),
        torch.from_numpy(x).bfloat16(),
        list(x[:300]),
        x.astype(np.float64),
    ):
        got, expected = ours.quantize_embeddings(values, precision), util.quantize_embeddings(values, precision)
        assert type(got) is np.ndarray and got.dtype == expected.dtype
        np.testing.assert_array_equal(got, expected)
    ranges = np.stack([x.min(axis=0), x.max(axis=0)]) * 0.9
    for how in ({"ranges": ranges}, {"ranges": ranges.astype(np.float64)}, {"calibration_embeddings": x[:50]}):
        np.testing.assert_array_equal(ours.quantize_embeddings(x[:9], precision, **how), util.quantize_embeddings(x[:9], precision, **how))
    np.testing.assert_array_equal(ours.quantize_embeddings(x[0], precision, ranges), util.quantize_embeddings(x[0], precision, ranges))
    documents = [x[:40], x[40:41], x[:0], x[41:200]]
    for got, expected in zip(ours.quantize_embeddings(documents, precision), util.quantize_embeddings(documents, precision), strict=True):
        np.testing.assert_array_equal(got, expected)
    assert ours.quantize_embeddings([], precision) == []


def test_quantize_refuses_as_the_host() -> None:
    for wrong, how in ((random(1, 8), "int8"), (random(200, 8), "int4"), (np.zeros((3, 4), np.int8), "binary")):
        with pytest.raises(Exception, match=r"\S") as theirs:
            util.quantize_embeddings(wrong, how)
        with pytest.raises(type(theirs.value), match=r"\S") as mine:
            ours.quantize_embeddings(wrong, how)
        assert str(mine.value) == str(theirs.value)


@pytest.mark.parametrize("rescore", [True, False])
@pytest.mark.parametrize(
    ("engine", "precision"),
    [
        *(("faiss", precision) for precision in ("float32", "uint8", "ubinary")),
        *(("usearch", precision) for precision in ("float32", "int8", "binary", "ubinary")),
    ],
)
def test_search_of_codes(real: tuple[np.ndarray, np.ndarray], engine: str, precision: str, rescore: bool) -> None:
    pytest.importorskip(engine)
    queries, corpus = real[0][:40], real[1]
    search = f"semantic_search_{engine}"
    ranges = np.stack([corpus.min(axis=0), corpus.max(axis=0)])
    coded = util.quantize_embeddings(corpus, precision, ranges)
    for q in (queries, queries[:1], util.quantize_embeddings(queries, precision, ranges)):
        how = {"corpus_precision": precision, "top_k": 8, "ranges": ranges, "rescore": rescore, "rescore_multiplier": 100}
        (got, seconds), (expected, _) = (getattr(module, search)(q, coded, **how) for module in (ours, host_quantization))
        assert seconds > 0 and len(got) == len(expected)
        for mine, theirs in zip(got, expected, strict=True):
            a, b = ([hit["score"] for hit in hits] for hits in (mine, theirs))
            np.testing.assert_allclose(a, b, rtol=2e-6, atol=1e-5 if engine == "usearch" else 1e-6)
    got, expected = (getattr(module, search)(queries, coded, **how)[0] for module in (ours, host_quantization))
    same = [h["corpus_id"] == e["corpus_id"] for a, b in zip(got, expected, strict=True) for h, e in zip(a, b, strict=True)]
    assert (precision.endswith("binary") and not rescore) or np.mean(same) > 0.999  # Hamming distances have ties


def test_an_index_of_one_s_own(real: tuple[np.ndarray, np.ndarray]) -> None:
    faiss = pytest.importorskip("faiss")
    queries, corpus = real
    index = faiss.IndexFlatIP(corpus.shape[1])
    index.add(corpus)
    got = ours.semantic_search_faiss(queries, corpus_index=index, output_index=True, rescore=False)
    assert got[2] is index
    same_hits(got[0], ours.semantic_search_faiss(queries, corpus, rescore=False)[0])
    with pytest.raises(ValueError, match="corpus_precision must be"):
        ours.semantic_search_faiss(queries, corpus, corpus_precision="int8")
    with pytest.raises(ValueError, match="Either corpus_embeddings"):
        ours.semantic_search_usearch(queries)


# --- late interaction -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tokens() -> tuple[list[np.ndarray], list[np.ndarray]]:
    """WikiQA: the token matrices of 60 questions and 500 sentences."""
    path = DATA / "emb" / "maxsim_wikiqa.npz"
    if not path.exists():
        pytest.skip(f"{path.name} is not here; FASTEMBED_CORE_DATA names the folder that holds emb/")
    with np.load(path, allow_pickle=False) as stored:
        parts = {name: stored[name] for name in stored.files}
    sides = ((parts[f"{side}_tokens"].astype(np.float32), parts[f"{side}_offsets"]) for side in "qd")
    queries, documents = ([x[a:b] for a, b in pairwise(ends)] for x, ends in sides)
    return queries, documents


NAMES = ("maxsim", "mean_maxsim", "maxsim_pairwise", "mean_maxsim_pairwise")


@pytest.mark.parametrize("name", NAMES)
def test_maxsim(tokens: tuple[list[np.ndarray], list[np.ndarray]], name: str) -> None:
    queries, documents = tokens
    documents = documents[: len(queries)] if "pairwise" in name else documents
    mine, theirs = getattr(ours, name), getattr(util, name)
    lists = [torch.from_numpy(q) for q in queries], [torch.from_numpy(d) for d in documents]
    expected = theirs(*lists)
    for q, d in ((queries, documents), lists):
        got = mine(q, d)
        assert got.dtype == torch.float32
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
    padded = [torch.nn.utils.rnn.pad_sequence(side, batch_first=True) for side in lists]
    masks = [torch.arange(p.shape[1]) < torch.tensor([len(x) for x in side])[:, None] for p, side in zip(padded, lists, strict=True)]
    torch.testing.assert_close(mine(*padded), expected, rtol=1e-5, atol=1e-5)  # rows of zeros are padding
    torch.testing.assert_close(mine(*[p + 1 for p in padded], *masks), theirs(*[p + 1 for p in padded], *masks), rtol=1e-5, atol=1e-4)
    numbers = [mask.float().numpy() for mask in masks]
    torch.testing.assert_close(mine(*[p.numpy() for p in padded], *numbers), expected, rtol=1e-5, atol=1e-5)
    half = [p.half() for p in padded]
    torch.testing.assert_close(mine(*half, *masks), theirs(*half, *masks), rtol=2e-3, atol=2e-2)
    weights = masks[0] / 2  # weigh the tokens of queries
    torch.testing.assert_close(mine(*padded, weights, masks[1]), theirs(*padded, weights, masks[1]), rtol=1e-5, atol=1e-5)
    coded = [ours.quantize_embeddings(list(side), "int8") for side in tokens]
    coded[1] = coded[1][: len(documents)]
    torch.testing.assert_close(mine(*coded), theirs(*coded), rtol=1e-6, atol=0.5)
    if "pairwise" not in name:
        torch.testing.assert_close(mine(queries[0], documents[0]), theirs(queries[0], documents[0]), rtol=1e-5, atol=1e-5)


@pytest.mark.filterwarnings("ignore:.*scoreable token.*")
@pytest.mark.parametrize("name", NAMES)
def test_sets_without_tokens(name: str) -> None:
    mine, theirs = getattr(ours, name), getattr(util, name)
    sides = [torch.from_numpy(random(n, 8, seed=n)) for n in (4, 0, 2)], [torch.from_numpy(random(n, 8, seed=n)) for n in (0, 3, 5)]
    torch.testing.assert_close(mine(*sides), theirs(*sides), rtol=1e-6, atol=1e-6)
    for empty in (([], sides[1][:0]), (sides[0][:0], [])):
        torch.testing.assert_close(mine(*empty), theirs(*empty))
    a, b = torch.from_numpy(random(2, 3, 8)), torch.from_numpy(random(2, 4, 8))
    masks = torch.tensor([[1, 1, 0], [0, 0, 0]]).bool(), torch.tensor([[0, 0, 0, 0], [1, 0, 1, 1]]).bool()
    torch.testing.assert_close(mine(a, b, *masks), theirs(a, b, *masks), rtol=1e-6, atol=1e-6)


def test_maxsim_gradients() -> None:
    a, b = (torch.from_numpy(random(2, 3, 8, seed=s)).requires_grad_() for s in (1, 2))
    ours.maxsim(a, b).sum().backward()
    mine = a.grad.clone()
    a.grad = None
    util.maxsim(a, b).sum().backward()
    torch.testing.assert_close(mine, a.grad, rtol=0, atol=0)
