"""The command line: every subcommand's answers equal the functions', and every mistake ends as one sentence."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from programs import python_environment, run_python

import fastembed_core as fc
from fastembed_core import dispatch, threads
from fastembed_core.cli import COMMANDS, FAILED, INTERRUPTED, MISUSED, OK, _files, main, search
from fastembed_core.cli import quantize as quantize_command
from fastembed_core.codes import PRECISIONS, Codes

RNG = np.random.default_rng(7)
CORPUS = RNG.standard_normal((211, 45), dtype=np.float32)
QUERIES = RNG.standard_normal((9, 45), dtype=np.float32)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    np.save(tmp_path / "corpus.npy", CORPUS)
    np.save(tmp_path / "queries.npy", QUERIES)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def succeed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    status = main(arguments)
    captured = capsys.readouterr()
    assert (status, captured.err) == (OK, "")
    return captured.out


def fail(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = FAILED) -> str:
    """The one sentence a command line ends with."""
    assert main(arguments) == status
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"fastembed-core{'' if status == MISUSED else ' ' + arguments[0]}")
    assert captured.err.count("\n") == 1
    return captured.err


def same_codes(a: Codes, b: Codes) -> None:
    assert (a.precision, a.dim) == (b.precision, b.dim)
    np.testing.assert_array_equal(a.data, b.data)
    for name in ("scale", "ranges"):
        x, y = getattr(a, name), getattr(b, name)
        assert (x is None) == (y is None)
        if x is not None:
            np.testing.assert_array_equal(x.view(np.uint32), y.view(np.uint32))


def parsed(lines: str, k: int) -> tuple[np.ndarray, np.ndarray]:
    records = [json.loads(line) for line in lines.splitlines()]
    assert [record["query"] for record in records] == list(range(len(records)))
    shape = (len(records), k)
    return np.array([r["scores"] for r in records], np.float32).reshape(shape), np.array([r["indices"] for r in records]).reshape(shape)


def same_answers(found: tuple[np.ndarray, np.ndarray], expected: tuple[np.ndarray, np.ndarray]) -> None:
    np.testing.assert_array_equal(found[1], expected[1])
    np.testing.assert_array_equal(np.asarray(found[0], np.float32), np.asarray(expected[0], np.float32))


# --- info ----------------------------------------------------------------------------------------------------------


def test_info_names_every_backend_and_operation(capsys: pytest.CaptureFixture[str]) -> None:
    said = succeed(capsys, "info")
    assert f"fastembed-core {fc.__version__}" in said
    for backend in dispatch.backends().values():
        missing = backend.missing()
        assert f"available ({backend.describe()})" in said if missing is None else missing in said
        assert all(f"  {op}: " in said for op in backend.ops)


def test_info_says_why_there_are_so_many_threads(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert "in the affinity mask" in succeed(capsys, "info") or not hasattr(os, "sched_getaffinity")
    with threads.limit(3):
        assert "3 (set by the program)" in succeed(capsys, "info")
    monkeypatch.setenv("FASTEMBED_CORE_NUM_THREADS", "many")
    assert "got 'many', expected an integer" in fail_after_output("info", capsys)


def fail_after_output(command: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main([command]) == FAILED
    return capsys.readouterr().err


def test_info_without_the_extension() -> None:
    said = run_python("import sys; sys.modules['fastembed_core._core'] = None; from fastembed_core.cli import main; main(['info'])")
    assert re.search("not available: (the compiled|make dev has not built the) extension", said)
    assert "no compiled kernels" in said
    assert "passed over cpu" in said


# --- search --------------------------------------------------------------------------------------------------------


def test_search_prints_what_topk_returns(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = succeed(capsys, "search", "queries.npy", "corpus.npy", "--k", "7")
    same_answers(parsed(said, 7), fc.topk(QUERIES, CORPUS, 7))


@pytest.mark.parametrize("metric", ["ip", "dot", "l2", "SqEuclidean"])
def test_search_writes_what_topk_returns(folder: Path, capsys: pytest.CaptureFixture[str], metric: str) -> None:
    assert succeed(capsys, "search", "queries.npy", "corpus.npy", "--metric", metric, "-o", "out.npz", "--threads", "1") == ""
    with np.load("out.npz") as found:
        same_answers((found["scores"], found["indices"]), fc.topk(QUERIES, CORPUS, 10, metric=metric))
    succeed(capsys, "search", "queries.npy", "corpus.npy", "--metric", metric, "-o", "out.jsonl")
    same_answers(parsed(Path("out.jsonl").read_text(), 10), fc.topk(QUERIES, CORPUS, 10, metric=metric))
    assert sorted(path.name for path in folder.iterdir()) == ["corpus.npy", "out.jsonl", "out.npz", "queries.npy"]


def test_search_in_blocks_of_queries(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "QUERIES_PER_CALL", 4)
    mask = RNG.random((len(CORPUS), len(CORPUS))) < 0.5
    np.save("mask.npy", mask)
    said = succeed(capsys, "search", "corpus.npy", "corpus.npy", "-k", "5", "--exclude-self", "--mask", "mask.npy")
    same_answers(parsed(said, 5), fc.topk(CORPUS, CORPUS, 5, exclude="self", mask=mask))


@pytest.mark.parametrize("packed", [False, True])
def test_search_with_a_shared_mask(folder: Path, capsys: pytest.CaptureFixture[str], packed: bool) -> None:
    mask = np.arange(len(CORPUS)) % 3 == 0
    np.save("mask.npy", np.packbits(mask, bitorder="little") if packed else mask)
    said = succeed(capsys, "search", "queries.npy", "corpus.npy", "--mask", "mask.npy")
    same_answers(parsed(said, 10), fc.topk(QUERIES, CORPUS, 10, mask=mask))


def test_search_leaves_out_unfilled_places_and_writes_no_nan(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus = CORPUS[:4].copy()
    corpus[1] = np.nan
    np.save("few.npy", corpus)
    np.save("mask.npy", np.array([True, True, True, False]))
    lines = succeed(capsys, "search", "queries.npy", "few.npy", "--mask", "mask.npy").splitlines()
    assert len(lines) == len(QUERIES)
    for line in lines:
        record = json.loads(line)
        assert record["indices"][-1] == 1
        assert record["scores"][-1] is None
        assert len(record["indices"]) == len(record["scores"]) == 3


@pytest.mark.parametrize(
    ("precision", "metric"), [("int8_row", "ip"), ("int4_row", "cosine"), ("uint8", "l2"), ("binary", "ip"), ("ubinary", "hamming")]
)
def test_search_codes_made_on_the_way_or_before(folder: Path, capsys: pytest.CaptureFixture[str], precision: str, metric: str) -> None:
    codes = fc.quantize(CORPUS, precision)
    queries = fc.quantize(QUERIES, precision) if metric == "hamming" else QUERIES
    expected = fc.topk(queries, codes, 10, metric=metric)
    same_answers(parsed(succeed(capsys, "search", "queries.npy", "corpus.npy", "--precision", precision, "--metric", metric), 10), expected)
    succeed(capsys, "quantize", "corpus.npy", "--precision", precision, "-o", "codes.npz")
    same_answers(parsed(succeed(capsys, "search", "queries.npy", "codes.npz", "--metric", metric), 10), expected)


def test_search_codes_with_codes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    succeed(capsys, "quantize", "corpus.npy", "--precision", "int8", "-o", "codes.npz")
    succeed(capsys, "quantize", "queries.npy", "--precision", "int8", "--ranges", "codes.npz", "-o", "queries.npz")
    said = succeed(capsys, "search", "queries.npz", "codes.npz", "--metric", "ip")
    codes = fc.quantize(CORPUS, "int8")
    same_answers(parsed(said, 10), fc.topk(fc.quantize(QUERIES, "int8", ranges=codes.ranges), codes, 10, metric="ip"))


def test_search_rescored_by_the_rows(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = (
        "search",
        "queries.npy",
        "corpus.npy",
        "--precision",
        "ubinary",
        "--metric",
        "hamming",
        "--rescore",
        "corpus.npy",
        "-k",
        "3",
    )
    bits = fc.quantize(CORPUS, "ubinary")
    for extra, candidates in (((), 30), (("--candidates", "50"), 50)):
        _, ids = fc.topk(fc.quantize(QUERIES, "ubinary"), bits, candidates, metric="hamming")
        same_answers(parsed(succeed(capsys, *arguments, *extra), 3), fc.rescore(QUERIES, CORPUS, ids, 3, metric="cosine"))


def test_search_a_saved_corpus(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus = fc.Corpus(CORPUS, ids=np.arange(len(CORPUS)) * 2, metric="l2")
    corpus.remove([0, 10])
    corpus.save("corpus.fec")
    expected = corpus.search(QUERIES, 4)
    for extra in ((), ("--metric", "euclidean")):
        same_answers(parsed(succeed(capsys, "search", "queries.npy", "corpus.fec", "-k", "4", *extra), 4), expected)
    np.save("own.npy", corpus.vectors)
    same_answers(
        parsed(succeed(capsys, "search", "own.npy", "corpus.fec", "-k", "4", "--exclude-self"), 4),
        corpus.search(corpus.vectors, 4, exclude="self"),
    )
    for extra, said in (
        (("--metric", "ip"), "--metric: got ip for a corpus of l2"),
        (("--precision", "ubinary"), "--precision: got ubinary for a saved corpus"),
        (("--rescore", "corpus.npy"), "--rescore: got corpus.npy for a saved corpus"),
    ):
        assert said in fail(capsys, "search", "queries.npy", "corpus.fec", *extra)


def test_search_edges(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save("none.npy", CORPUS[:0])
    assert succeed(capsys, "search", "none.npy", "corpus.npy") == ""
    succeed(capsys, "search", "none.npy", "corpus.npy", "-o", "out.npz")
    with np.load("out.npz") as found:
        assert found["scores"].shape == found["indices"].shape == (0, 10)
    assert [json.loads(line)["indices"] for line in succeed(capsys, "search", "queries.npy", "none.npy").splitlines()] == [[]] * len(
        QUERIES
    )
    assert json.loads(succeed(capsys, "search", "queries.npy", "corpus.npy", "--k", "0").splitlines()[0])["scores"] == []
    np.save("half.npy", CORPUS.astype(np.float16))
    same_answers(parsed(succeed(capsys, "search", "queries.npy", "half.npy"), 10), fc.topk(QUERIES, CORPUS.astype(np.float16), 10))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("queries.npy", "absent.npy"), "absent.npy: No such file or directory"),
        (("queries.npy", "absent.npz"), "absent.npz: No such file or directory"),
        (("queries.npy", "."), "Is a directory"),
        (("queries.npy", "text.npy"), "corpus: text.npy is no readable .npy file"),
        (("queries.npy", "text.npz"), "corpus: text.npz holds no codes"),
        (("queries.npy", "answers.npz"), "corpus: answers.npz holds no codes"),
        (("queries.npy", "objects.npy"), "corpus: objects.npy is no readable .npy file"),
        (("queries.npy", "short.npy"), "corpus: short.npy is no readable .npy file"),
        (("queries.npy", "cube.npy"), "corpus: cube.npy holds an array of shape (2, 3, 4), expected 2 dimensions"),
        (("queries.npy", "words.npy"), "corpus: got str"),
        (("queries.npy", "narrow.npy"), "corpus: got dimension 3, expected 45 as in queries"),
        (("queries.npy", "fortran.npy"), "expected rows contiguous in native byte order"),
        (("queries.npy", "bytes.npy"), "metric: got None for float32 and int8, which have no default"),
        (("bytes.npy", "corpus.npy", "--metric", "ip"), "queries and corpus: got int8 and float32"),
        (("queries.npy", "bytes.npy", "--precision", "uint8"), "--precision: got uint8 for a corpus of int8"),
        (("queries.npy", "corpus.npy", "--k", "-1"), "k: got -1, expected an int of at least 0"),
        (("queries.npy", "corpus.npy", "--metric", "cosin"), "did you mean 'cosine'?"),
        (("queries.npy", "corpus.npy", "--mask", "narrow.npy"), "mask: got float32, expected bool"),
        (("queries.npy", "corpus.npy", "--mask", "absent.npy"), "absent.npy: No such file or directory"),
        (("queries.npy", "corpus.npy", "--threads", "0"), "threads: got 0, expected an int of 1 to 4096"),
        (("queries.npy", "corpus.npy", "--backend", "abacus"), "backend: got 'abacus', expected 'auto' or one of"),
        (("queries.npy", "corpus.npy", "--rescore", "narrow.npy"), "--rescore: got rows of shape (4, 3), expected (211, 45) as the corpus"),
        (("queries.npy", "corpus.npy", "--candidates", "9"), "--candidates: got a number without --rescore"),
        (("queries.npy", "corpus.npy", "--rescore", "corpus.npy", "--candidates", "9"), "--candidates: got 9, expected at least k = 10"),
        (("queries.npy", "corpus.npy", "-o", "out.csv"), "--output: got out.csv, expected a name ending in .npz or .jsonl"),
        (("queries.npy", "corpus.npy", "-o", "nowhere/out.npz"), "nowhere/out.npz: No such file or directory"),
        (("queries.npy", "corpus.npy", "-o", "folder.npz"), "folder.npz: Is a directory"),
    ],
)
def test_search_mistakes(folder: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], sentence: str) -> None:
    for name in ("text.npy", "text.npz"):
        Path(name).write_text("no array")
    np.savez("answers.npz", scores=CORPUS)
    np.save("objects.npy", np.array([[{}]], dtype=object), allow_pickle=True)
    np.save("cube.npy", np.zeros((2, 3, 4), np.float32))
    np.save("words.npy", np.array([["a", "b"]]))
    np.save("narrow.npy", CORPUS[:4, :3])
    np.save("fortran.npy", np.asfortranarray(CORPUS))
    np.save("bytes.npy", CORPUS.astype(np.int8))
    Path("short.npy").write_bytes(Path("corpus.npy").read_bytes()[:-8])
    Path("folder.npz").mkdir()
    before = {path.name for path in folder.iterdir()}
    assert sentence in fail(capsys, "search", *arguments)
    assert {path.name for path in folder.iterdir()} == before


def test_misuse_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert "the following arguments are required: COMMAND" in fail(capsys, status=MISUSED)
    assert "invalid choice: 'serch'" in fail(capsys, "serch", status=MISUSED)
    assert "invalid int value: 'ten'" in fail(capsys, "search", "a", "b", "--k", "ten", status=MISUSED)
    assert "unrecognized arguments: --fast" in fail(capsys, "info", "--fast", status=MISUSED)


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert succeed(capsys, "--version") == f"fastembed-core {fc.__version__}\n"
    for command in COMMANDS:
        assert command in succeed(capsys, "--help")
        assert succeed(capsys, command, "--help").startswith(f"usage: fastembed-core {command}")


# --- quantize ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.float64])
def test_quantize_block_by_block_equals_quantize(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, precision: str, dtype: type
) -> None:
    monkeypatch.setattr(quantize_command, "BLOCK_BYTES", 30 * 45 * np.dtype(dtype).itemsize)
    vectors = CORPUS.astype(dtype)
    np.save("vectors.npy", vectors)
    expected = fc.quantize(vectors, precision)
    assert succeed(capsys, "quantize", "vectors.npy", "--precision", precision, "-o", "codes.npz") == ""
    same_codes(_files.load_codes(Path("codes.npz"), "codes"), expected)
    succeed(capsys, "quantize", "vectors.npy", "--precision", precision, "-o", "codes.npy")
    np.testing.assert_array_equal(np.load("codes.npy"), expected.data)
    for name in ("scale", "ranges"):
        beside = Path(f"codes.{name}.npy")
        assert beside.exists() == (getattr(expected, name) is not None)
        if beside.exists():
            np.testing.assert_array_equal(np.load(beside), getattr(expected, name))
    assert not list(folder.glob(".*"))


def test_codes_are_mapped_not_read(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    succeed(capsys, "quantize", "corpus.npy", "-o", "codes.npz")
    codes = _files.load_codes(Path("codes.npz"), "codes")
    assert isinstance(codes.data, np.memmap)
    with zipfile.ZipFile("codes.npz") as archive:
        archive.extractall("members")
    with zipfile.ZipFile("small.npz", "w", zipfile.ZIP_DEFLATED) as archive:  # any other .npz of the same members is read too
        for member in Path("members").iterdir():
            archive.write(member, member.name)
    same_codes(_files.load_codes(Path("small.npz"), "codes"), codes)


def test_quantize_with_given_ranges(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ranges = np.stack([np.full(45, -1, np.float32), np.full(45, 2, np.float32)])
    np.save("ranges.npy", ranges)
    succeed(capsys, "quantize", "corpus.npy", "--precision", "uint8", "--ranges", "ranges.npy", "-o", "codes.npz")
    same_codes(_files.load_codes(Path("codes.npz"), "codes"), fc.quantize(CORPUS, "uint8", ranges=ranges))


def test_quantize_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save("none.npy", CORPUS[:0])
    for precision in PRECISIONS:
        succeed(capsys, "quantize", "none.npy", "--precision", precision, "-o", "codes.npz")
        same_codes(_files.load_codes(Path("codes.npz"), "codes"), fc.quantize(CORPUS[:0], precision))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("absent.npy", "-o", "out.npz"), "absent.npy: No such file or directory"),
        (("integers.npy", "-o", "out.npz"), "vectors: integers.npy holds int64 of shape (2, 3), expected floats"),
        (("flat.npy", "-o", "out.npz"), "vectors: flat.npy holds float32 of shape (45,), expected floats"),
        (("one.npy", "-o", "out.npz", "--precision", "int8"), "ranges: got None for a single row of int8 codes"),
        (("corpus.npy", "-o", "out.bin"), "--output: got out.bin, expected a name ending in .npz or .npy"),
        (("corpus.npy", "-o", "nowhere/out.npz"), "nowhere/out.npz: No such file or directory"),
        (("corpus.npy", "-o", "out.npz", "--ranges", "flat.npy"), "--ranges: got a file for int8_row, expected it with int8 or uint8"),
        (("corpus.npy", "-o", "out.npz", "--precision", "int8", "--ranges", "flat.npy"), "--ranges: flat.npy holds float32 of shape (45,)"),
        (("corpus.npy", "-o", "out.npz", "--precision", "int8", "--ranges", "rows.npz"), "--ranges: rows.npz holds no ranges"),
    ],
)
def test_quantize_mistakes(folder: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], sentence: str) -> None:
    np.save("integers.npy", np.ones((2, 3), np.int64))
    np.save("flat.npy", CORPUS[0])
    np.save("one.npy", CORPUS[:1])
    succeed(capsys, "quantize", "corpus.npy", "-o", "rows.npz")
    before = {path.name for path in folder.iterdir()}
    assert sentence in fail(capsys, "quantize", *arguments)
    assert {path.name for path in folder.iterdir()} == before


def test_a_failed_run_keeps_the_old_file(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    succeed(capsys, "quantize", "corpus.npy", "-o", "codes.npz")
    before = Path("codes.npz").read_bytes()

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(quantize_command, "write_codes", interrupted)
    assert main(["quantize", "corpus.npy", "--precision", "binary", "-o", "codes.npz"]) == INTERRUPTED
    assert capsys.readouterr().err == "fastembed-core: interrupted\n"
    assert Path("codes.npz").read_bytes() == before
    assert sorted(path.name for path in folder.iterdir()) == ["codes.npz", "corpus.npy", "queries.npy"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may write everywhere")
def test_an_unwritable_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("closed").mkdir(mode=0o500)
    assert "closed/out.npz: Permission denied" in fail(capsys, "quantize", "corpus.npy", "-o", "closed/out.npz")


# --- the program itself --------------------------------------------------------------------------------------------


def program(*arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "fastembed_core.cli", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=python_environment())


def test_the_module_runs_as_a_program(folder: Path) -> None:
    with program("search", "queries.npy", "corpus.npy", "--k", "2") as good:
        out, err = good.communicate(timeout=60)
    assert (good.returncode, err) == (OK, b"")
    same_answers(parsed(out.decode(), 2), fc.topk(QUERIES, CORPUS, 2))
    with program("search", "queries.npy", "absent.npy") as bad:
        out, err = bad.communicate(timeout=60)
    assert (bad.returncode, out) == (FAILED, b"")
    assert err == b"fastembed-core search: absent.npy: No such file or directory\n"


def test_a_closed_pipe_is_quiet(folder: Path) -> None:
    np.save("many.npy", np.tile(CORPUS, (100, 1)))
    with program("search", "many.npy", "corpus.npy", "--k", "50") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith(b'{"query": 0')
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=60) == FAILED


def test_an_interrupt_ends_with_130(folder: Path) -> None:
    os.mkfifo("pipe.npy")  # the program waits to open it, and there it is interrupted
    with program("search", "queries.npy", "pipe.npy") as process:
        writer = os.open("pipe.npy", os.O_WRONLY)  # returns once the program has opened the other end
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        os.close(writer)
    assert (process.returncode, out, err) == (INTERRUPTED, b"", b"fastembed-core: interrupted\n")


def test_the_command_line_starts_without_heavy_imports() -> None:
    code = """
import sys
from fastembed_core.cli import main
main(["search", "--help"])
assert not {"torch", "numba", "sentence_transformers", "tqdm"} & sys.modules.keys()
"""
    assert run_python(code).startswith("usage: ")
