"""gensim on real GloVe vectors and the word2vec analogies, with and without us."""

from __future__ import annotations

import gzip
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

gensim = pytest.importorskip("gensim")

from gensim.models import FastText, KeyedVectors, Word2Vec  # noqa: E402

from fastembed_core.integrations import gensim as ours  # noqa: E402

DATA = Path(os.environ.get("FASTEMBED_CORE_DATA") or Path(__file__).parents[3] / "shared" / "data")


@pytest.fixture(scope="module")
def glove() -> Any:
    if not (DATA / "raw").is_dir():
        pytest.skip(f"no data folder at {DATA}; FASTEMBED_CORE_DATA names one")
    vectors = np.load(DATA / "raw" / "glove50d_5k_vectors.npy")
    with gzip.open(DATA / "raw" / "glove50d_5k_words.txt.gz", "rt", encoding="utf-8") as file:
        words = file.read().split("\n")[: len(vectors)]
    kv = KeyedVectors(vectors.shape[1])
    kv.add_vectors(words, vectors)
    return kv


@pytest.fixture(scope="module")
def questions() -> str:
    return str(DATA / "raw" / "questions-words.txt.gz")


def both(kv: Any, call: Callable[[Any], Any]) -> tuple[Any, Any]:
    ours.restore(kv)
    before = call(kv)
    try:
        return before, call(ours.accelerate(kv))
    finally:
        ours.restore(kv)


def same(after: Any, before: Any) -> None:
    assert [word for word, _ in after] == [word for word, _ in before]
    assert all(type(word) is str and type(score) is float for word, score in after)
    np.testing.assert_allclose([s for _, s in after], [s for _, s in before], rtol=0, atol=1e-6)


VECTOR = np.random.default_rng(0).standard_normal(50, np.float32)


@pytest.mark.parametrize(
    "how",
    [
        {"positive": ["king", "woman"], "negative": ["man"]},
        {"positive": "paris", "topn": 50},
        {"positive": ["paris", "france"], "topn": 3, "restrict_vocab": 700},
        {"positive": [("good", 2.0), ("bad", 0.5)], "negative": [("war", -0.3), "city"]},
        {"positive": ["good"], "clip_start": 100, "clip_end": 900, "topn": 7},
        {"positive": ["good"], "clip_start": 4000},
        {"positive": VECTOR},
        {"positive": [VECTOR, "city"], "negative": [VECTOR * 2]},
        {"positive": 17},
        {"positive": [np.int64(3), "city"]},
        {"negative": ["war"]},
        {"positive": ["good"], "topn": 10**6},
        {"positive": ["good"], "topn": 0},
    ],
    ids=str,
)
def test_most_similar(glove: Any, how: dict[str, Any]) -> None:
    before, after = both(glove, lambda kv: kv.most_similar(**how))
    same(after, before)


def test_other_calls(glove: Any) -> None:
    for call in (
        lambda kv: kv.most_similar(["king", "woman"], ["man"], 5),
        lambda kv: kv.similar_by_word("king", topn=4, restrict_vocab=3000),
        lambda kv: kv.similar_by_key("king"),
        lambda kv: kv.similar_by_vector(VECTOR, topn=4),
        lambda kv: [("all", float(s)) for s in kv.most_similar("king", topn=None)],
    ):
        same(*reversed(both(glove, call)))
    ours.accelerate(glove)
    with pytest.raises(KeyError, match="nosuchword"):
        glove.most_similar("nosuchword")
    with pytest.raises(ValueError, match="no input"):
        glove.most_similar()
    ours.restore(glove)
    assert "most_similar" not in vars(glove)


def test_analogies(glove: Any, questions: str) -> None:
    (score, sections), (got, ours_sections) = both(glove, lambda kv: kv.evaluate_word_analogies(questions))
    assert got == score == pytest.approx(0.6460, abs=5e-5) and ours_sections == sections
    assert len(sections[-1]["correct"]) == 1942


@pytest.mark.parametrize("how", [{"restrict_vocab": 1000}, {"case_insensitive": False}, {"dummy4unknown": True, "restrict_vocab": 2000}])
def test_analogies_otherwise(glove: Any, questions: str, how: dict[str, Any], tmp_path: Path) -> None:
    with gzip.open(questions, "rt") as file:
        lines = file.read().splitlines()
    (tmp_path / "some.txt").write_text("\n".join([*lines[:300], "a line of five words", *lines[8000:8400], ": nothing in it"]))
    before, after = both(glove, lambda kv: kv.evaluate_word_analogies(str(tmp_path / "some.txt"), **how))
    assert after == before
    (tmp_path / "headless.txt").write_text("king man queen woman\n")
    with pytest.raises(ValueError, match="Missing section header before line #0"):
        ours.accelerate(glove).evaluate_word_analogies(str(tmp_path / "headless.txt"))
    ours.restore(glove)


TEXTS = [
    f"{a} likes {b} and {c}".split() for a in ("ann", "bob", "eve") for b in ("tea", "milk", "rum") for c in ("jazz", "rock", "rap")
] * 20


def test_models_that_train() -> None:
    """Vectors that training changes are searched as they are; a word fastText never saw has a vector too."""
    model = Word2Vec(TEXTS, vector_size=16, min_count=1, epochs=2, seed=1, workers=1)
    ours.accelerate(model.wv)
    first = model.wv.most_similar("tea")
    model.train(TEXTS, total_examples=len(TEXTS), epochs=20)
    second = model.wv.most_similar("tea")
    ours.restore(model.wv)
    same(second, model.wv.most_similar("tea"))
    assert [score for _, score in first] != [score for _, score in second]
    fast = FastText(TEXTS, vector_size=16, min_count=1, epochs=2, seed=1, workers=1)
    same(*reversed(both(fast.wv, lambda kv: kv.most_similar(["teas", "milk"], topn=5))))
    wide = KeyedVectors(4, dtype=np.float64)
    wide.add_vectors(["a", "b", "c"], np.random.default_rng(0).standard_normal((3, 4)))
    same(*reversed(both(wide, lambda kv: kv.most_similar("a"))))


def test_saved_without_us(glove: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file saved from accelerated vectors is read where we are not installed."""
    with caplog.at_level(logging.INFO, "fastembed_core"):
        assert ours.accelerate(glove) is glove
    assert [record.getMessage() for record in caplog.records] == ["accelerate: replaced most_similar, evaluate_word_analogies"]
    expected = glove.most_similar("king")
    glove.save(str(tmp_path / "vectors"))
    assert "most_similar" in vars(glove)
    model = Word2Vec(TEXTS, vector_size=16, min_count=1, epochs=1)
    ours.accelerate(model.wv)
    model.save(str(tmp_path / "model"))
    assert "most_similar" in vars(model.wv) and b"fastembed_core" not in (tmp_path / "model").read_bytes()
    ours.restore(glove)
    program = (
        "import sys; sys.modules['fastembed_core'] = None\n"
        "from gensim.models import KeyedVectors\n"
        "print(KeyedVectors.load(sys.argv[1]).most_similar('king')[0][0])"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, str(tmp_path / "vectors")], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == expected[0][0]


def test_methods_of_someone_s_own(caplog: pytest.LogCaptureFixture) -> None:
    vectors = KeyedVectors(4)
    vectors.add_vectors(["a", "b", "c"], np.eye(3, 4, dtype=np.float32))
    vectors.most_similar = lambda *args: "mine"
    with caplog.at_level(logging.INFO, "fastembed_core"):
        ours.accelerate(ours.accelerate(vectors))
    assert caplog.messages[-1] == "accelerate: replaced evaluate_word_analogies; left most_similar"
    assert vectors.most_similar("a") == "mine" == ours.restore(ours.restore(vectors)).most_similar("a")
    assert "save" not in vars(vectors) and "evaluate_word_analogies" not in vars(vectors)


def test_refused() -> None:
    with pytest.raises(TypeError, match=r"^vectors: got Word2Vec, expected gensim KeyedVectors \(a model's \.wv\)$"):
        ours.accelerate(Word2Vec(min_count=1))
