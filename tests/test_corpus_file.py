"""The file of a Corpus: what is saved comes back to the bit, and what is damaged is refused in one sentence."""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cases
import numpy as np
import pytest
from programs import run_python

import fastembed_core as fc
from fastembed_core import corpus_file

HEADER = corpus_file.HEADER
X = cases.rng_of("corpus file").standard_normal((37, 20)).astype(np.float32)
PRECISIONS = ("float32", "float16", "bfloat16", "int8_row", "int4_row", "int8", "uint8", "binary", "ubinary")


def state(corpus: fc.Corpus) -> tuple[Any, ...]:
    """All that a corpus is: description, ids, stored bytes."""
    vectors = corpus.vectors
    data = vectors.data.tobytes() if isinstance(vectors, fc.Codes) else vectors.tobytes()
    ranges = vectors.ranges.tobytes() if isinstance(vectors, fc.Codes) and vectors.ranges is not None else None
    what = {key: value for key, value in corpus.statistics().items() if not key.endswith("_bytes")}
    answers = [part.tobytes() for part in corpus.search(X[:2], 5)]
    return what, corpus.ids.tolist(), data, ranges, answers


def corpora() -> list[fc.Corpus]:
    """Every precision; with and without ids, removed rows, codes beside the rows, and rows at all."""
    found = []
    for precision in PRECISIONS:
        metrics = ("ip", "hamming") if "binary" in precision else ("cosine", "l2")
        found += [fc.Corpus(X, precision, metric=metric) for metric in metrics]
    with_ids = fc.Corpus(X, metric="sqeuclidean", ids=np.arange(37) * 3 + 2**40)
    with_ids.remove(with_ids.ids[::5])
    return [*found, with_ids, fc.Corpus(X[:0]), fc.Corpus(X[:1], "int8_row", metric="ip"), fc.Corpus(fc.quantize(X, "int8"), metric="ip")]


@pytest.mark.parametrize("mmap", [True, False])
def test_what_is_saved_comes_back(tmp_path: Path, mmap: bool) -> None:
    for i, corpus in enumerate(corpora()):
        path = tmp_path / str(i)
        corpus.save(path)
        loaded = fc.Corpus.load(path, mmap=mmap, verify=True)
        assert state(loaded) == state(corpus)
        assert loaded.append(X[:2]).tolist() == corpus.append(X[:2]).tolist()
        assert state(loaded) == state(corpus)
        before = path.read_bytes()
        fc.Corpus.load(path).save(path)  # over the file it is mapped from
        assert path.read_bytes() == before


def test_sections_lie_aligned_and_in_place(tmp_path: Path) -> None:
    path = tmp_path / "corpus"
    fc.Corpus(X, ids=np.arange(37)).save(path)
    loaded = fc.Corpus.load(path)
    assert loaded.vectors.ctypes.data % 64 == 0
    assert not loaded.vectors.flags.writeable
    description, _ = parts_of(path.read_bytes())
    assert [s["offset"] % 64 for s in description["sections"]] == [0] * len(description["sections"])
    data = next(s for s in description["sections"] if s["name"] == "data")
    assert path.read_bytes()[data["offset"] :][: data["length"]] == X.tobytes()


def test_a_save_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "corpus"
    fc.Corpus(X).save(path)
    before = path.read_bytes()
    for name in ("_write_array", "_aligned"):
        with monkeypatch.context() as patched:
            patched.setattr(corpus_file, name, lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                fc.Corpus(X[:3]).save(path)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(OSError, match="No space left"):
            fc.Corpus(X[:3]).save(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["corpus"]


WITHOUT = """
import sys; sys.modules['fastembed_core._core'] = None
import numpy as np, fastembed_core as fc
x = np.load({rows!r})
corpus = fc.Corpus.load({path!r}, verify=True)
for more in (x[:0], x[:5]):
    corpus.append(more)
    answer, plain = corpus.search(x[:3], 9), fc.topk(x[:3], corpus.vectors, 9, metric="l2", backend="reference")
    assert all(a.tobytes() == b.tobytes() for a, b in zip(answer, plain))
corpus.save({path!r})
print(fc.Corpus(x).statistics()["scan"], fc.Corpus.load({path!r}).statistics()["scan"])
"""


def test_a_file_with_codes_is_read_without_the_extension(tmp_path: Path) -> None:
    fc.Corpus(X, metric="l2").save(tmp_path / "corpus")
    np.save(tmp_path / "rows.npy", X)
    assert run_python(WITHOUT.format(path=str(tmp_path / "corpus"), rows=str(tmp_path / "rows.npy"))) == "() ()\n"


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        fc.Corpus.load(tmp_path / "nothing")
    with pytest.raises(IsADirectoryError):
        fc.Corpus.load(tmp_path)
    path = tmp_path / "other"
    for content in (b"", b"FEC", b"FECORPUS", b"PK\x03\x04" + bytes(100), b"\x93NUMPY" + bytes(100), bytes(1000), os.urandom(1000)):
        path.write_bytes(content)
        refused(path)


def refused(path: Path, mmap: bool = True) -> str:
    with pytest.raises(ValueError, match="no corpus that can be read, ") as caught:
        fc.Corpus.load(path, mmap=mmap, verify=True)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


def parts_of(content: bytes) -> tuple[dict[str, Any], int]:
    """The description and where it begins."""
    offset, length = struct.unpack_from("<QQ", content, 16)
    return json.loads(content[offset : offset + length]), offset


def assembled(content: bytes, description: Any, **header: Any) -> bytes:
    """The file with another description, all checksums right: what only the checks of its meaning can refuse."""
    _, offset = parts_of(content)
    text = description if isinstance(description, bytes) else json.dumps(description).encode()
    fields = {"magic": b"FECORPUS", "version": 1, "crc": zlib.crc32(text), "offset": offset, "length": len(text)}
    fields |= {"size": offset + len(text)} | header
    head = HEADER.pack(*fields.values(), 0)[:-4]
    return head + struct.pack("<I", zlib.crc32(head)) + content[64:offset] + text


def saved(folder: Path) -> tuple[Path, bytes, tuple[Any, ...]]:
    """A small corpus with every kind of section, its file's bytes, and what it is."""
    corpus = fc.Corpus(X[:, :9], metric="l2", ids=np.arange(37) * 2)
    corpus.remove([4, 8])
    path = folder / "corpus"
    corpus.save(path)
    return path, path.read_bytes(), meaning(corpus)


def meaning(corpus: fc.Corpus) -> tuple[Any, ...]:
    answers = corpus.search(X[:3, :9], 6)
    return corpus.statistics(), corpus.ids.tolist(), corpus.vectors.tobytes(), *(part.tobytes() for part in answers)


def test_every_mutation_is_refused_or_harmless(tmp_path: Path) -> None:
    """Bits flipped, bytes overwritten, ranges zeroed, copied and cut out, files cut off and extended: 4,000 of them."""
    path, content, whole = saved(tmp_path)
    rng = np.random.default_rng(0)
    _, described = parts_of(content)

    def at(lo: int = 0, hi: int = len(content)) -> int:
        return int(rng.integers(lo, hi))

    def flip(data: bytearray, place: int) -> None:
        data[place] ^= 1 << at(0, 8)

    def zero(data: bytearray, place: int) -> None:
        data[place : place + at(1, 200)] = bytes(0)

    def overwrite(data: bytearray, place: int) -> None:
        n = min(at(1, 40), len(data) - place)
        data[place : place + n] = rng.bytes(n)

    def move(data: bytearray, place: int) -> None:
        other, n = at(), at(1, 500)
        data[place : place + n] = data[other : other + n]

    def cut(data: bytearray, place: int) -> None:
        del data[place:]

    def extend(data: bytearray, place: int) -> None:
        data += rng.bytes(at(1, 100))

    changes: tuple[Callable[[bytearray, int], None], ...] = (flip, zero, overwrite, move, cut, extend)
    refusals = 0
    for i in range(4000):
        data = bytearray(content)
        place = at(0, 64) if i % 4 == 0 else at(described, len(content)) if i % 4 == 1 else at()
        changes[i % 6](data, place)
        path.write_bytes(data)
        try:
            loaded = fc.Corpus.load(path, mmap=bool(i % 2), verify=True)
        except ValueError:
            refused(path, mmap=bool(i % 2))
            refusals += 1
        else:
            assert meaning(loaded) == whole, (i, place)
    assert refusals > 3400  # what is left fell into padding or changed nothing


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    path, content, _ = saved(tmp_path)
    for size in [*range(200), *range(200, len(content), 97), *range(len(content) - 300, len(content))]:
        path.write_bytes(content[:size])
        refused(path, mmap=bool(size % 2))


HUGE = (-1, -(2**63), 2**31, 2**32, 2**62, 2**63, 2**64, 10**30, 1e300, True, None, "37", [], {})


def test_numbers_that_lie_are_refused(tmp_path: Path) -> None:
    """Lengths and places overwritten in a description whose checksums are right."""
    path, content, _ = saved(tmp_path)
    description, _ = parts_of(content)
    path.write_bytes(assembled(content, description))
    fc.Corpus.load(path, verify=True)  # the helper itself keeps a good file good
    for field in ("rows", "dim", "next_id"):
        for value in (*HUGE, description[field] + 1):
            if field == "next_id" and type(value) is int and 0 <= value <= 2**63:
                continue
            path.write_bytes(assembled(content, description | {field: value}))
            refused(path, mmap=isinstance(value, int))
    for i, section in enumerate(description["sections"]):
        for field in ("offset", "length", "crc32"):
            for value in (*HUGE, section[field] + 1, section[field] + 64):
                path.write_bytes(assembled(content, changed(description, i, **{field: value})))
                refused(path)
        for value in ([], [-1], [2**40], [2**63, 2**63], None, 37):
            path.write_bytes(assembled(content, changed(description, i, shape=value)))
            refused(path)
        for value in ("<f8", "|O", "<U4", "V100000000000", None, 3):
            path.write_bytes(assembled(content, changed(description, i, dtype=value)))
            refused(path)


def changed(description: dict[str, Any], i: int, **fields: Any) -> dict[str, Any]:
    sections = [dict(section) for section in description["sections"]]
    sections[i] |= fields
    return description | {"sections": sections}


def test_sections_in_the_wrong_place_are_refused(tmp_path: Path) -> None:
    path, content, _ = saved(tmp_path)
    description, _ = parts_of(content)
    sections = description["sections"]
    for i in range(len(sections)):
        for j in range(len(sections)):
            if i != j:
                swapped = list(sections)
                swapped[i], swapped[j] = swapped[j], swapped[i]
                path.write_bytes(assembled(content, description | {"sections": swapped}))
                refused(path)
                taken = changed(description, i, offset=sections[j]["offset"], crc32=sections[j]["crc32"])
                path.write_bytes(assembled(content, taken))
                refused(path)
        path.write_bytes(assembled(content, description | {"sections": sections[:i] + sections[i + 1 :]}))
        if sections[i]["name"] in ("ids", "alive"):  # a corpus without is a corpus too
            fc.Corpus.load(path, verify=True)
        else:
            refused(path)


def test_descriptions_that_describe_nothing_are_refused(tmp_path: Path) -> None:
    path, content, _ = saved(tmp_path)
    description, offset = parts_of(content)
    for text in (b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"rows": NaN}', json.dumps({"rows": 1}).encode()):
        path.write_bytes(assembled(content, text))
        refused(path)
    for field, values in {
        "precision": ("int3", "int8_row", None, ["float32"]),
        "metric": ("nearness", None, 3, "cosine"),  # cosine codes have no bias
        "scan": ("int8", ["int8", "int8"], ["int2"], [["int8"]], None, []),
        "sections": (None, {}, [1], "data"),
    }.items():
        for value in values:
            if fc.Corpus(X).statistics()["scan"] == () and (field, value) in (("scan", []), ("metric", "cosine")):
                continue  # without the extension there are no codes to be missed
            path.write_bytes(assembled(content, description | {field: value}))
            refused(path)
    for fields in ({"version": 2}, {"magic": b"FECORPUT"}, {"crc": 0}, {"offset": 0}, {"offset": 2**63}, {"length": 2**63}):
        path.write_bytes(assembled(content, description, **fields))
        refused(path)
    path.write_bytes(assembled(content, description, size=offset))
    assert "bytes of" in refused(path)


def test_the_largest_id_there_is(tmp_path: Path) -> None:
    corpus = fc.Corpus(X[:2], ids=[7, 2**63 - 1])
    corpus.save(tmp_path / "corpus")
    loaded = fc.Corpus.load(tmp_path / "corpus")
    assert loaded.ids.tolist() == [7, 2**63 - 1]
    with pytest.raises(ValueError, match="the next free id"):
        loaded.append(X[:1])


def test_rows_without_elements_are_counted_by_their_ids(tmp_path: Path) -> None:
    """Nothing in such a file but ids would contradict any number of rows."""
    path = tmp_path / "corpus"
    corpus = fc.Corpus(X[:, :0])
    corpus.save(path)
    assert state_of_nothing(fc.Corpus.load(path)) == state_of_nothing(corpus)
    description, _ = parts_of(path.read_bytes())
    lying = description | {"rows": 2**62, "sections": [changed(description, 0, shape=[2**62, 0])["sections"][0]]}
    path.write_bytes(assembled(path.read_bytes(), lying))
    refused(path)


def state_of_nothing(corpus: fc.Corpus) -> tuple[Any, ...]:
    return len(corpus), corpus.ids.tolist(), corpus.vectors.shape


def test_a_newer_version_is_named(tmp_path: Path) -> None:
    path, content, _ = saved(tmp_path)
    path.write_bytes(assembled(content, parts_of(content)[0], version=7))
    assert "of version 7 and this is for version 1" in refused(path)


def test_checksums_of_sections_are_compared_where_asked(tmp_path: Path) -> None:
    path, content, _ = saved(tmp_path)
    description, _ = parts_of(content)
    for section in description["sections"]:
        damaged = bytearray(content)
        damaged[section["offset"]] ^= 1
        path.write_bytes(damaged)
        assert f"its {section['name']} is damaged" in refused(path)
        with pytest.raises(ValueError, match="is damaged"):
            fc.Corpus.load(path, mmap=False)
        fc.Corpus.load(path)  # a mapped file is not read before it is searched
