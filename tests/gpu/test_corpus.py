"""Corpora searched by Triton: the reference's bits, by codes beside the rows."""

from __future__ import annotations

import pathlib
from typing import Any

import cases
import numpy as np
import pytest
import torch

import fastembed_core as fc
from fastembed_core import corpus_device, scan_codes

from .operands import moved

pytestmark = pytest.mark.skipif(not scan_codes.available(), reason="needs the compiled extension, which makes codes")


@pytest.mark.parametrize(("kind", "metric"), [*(("f32", metric) for metric in cases.FLOAT_METRICS[:3]), ("bf16", "sqeuclidean")])
def test_codes_decide_nothing(device: str, doubts: list[list[int]], kind: str, metric: str) -> None:
    """And leave no query in doubt where rows differ."""
    queries, x = cases.operands(cases.Pairing(kind, kind, (metric,)), 2, 900, 40)
    corpus = fc.Corpus(x, scan="int8", metric=metric)
    *result, done = corpus.search(queries, 3, stats=True, backend="triton")
    cases.assert_same(tuple(result), fc.topk(queries, x, 3, metric=metric, backend="numpy"))
    assert done["scan"] == "int8"
    assert sum(map(sum, doubts)) == 0, doubts


def moved_there(corpus: fc.Corpus, device: str, memory: int | None = None) -> fc.Corpus:
    """As `to` does; host memory serves as a device where kernels are interpreted."""
    if device != "cpu":
        return corpus.to(device, memory=memory)
    corpus._move(corpus_device.Place(torch.device("cpu"), memory))
    return corpus


def agree(corpus: fc.Corpus, other: fc.Corpus, queries: Any, device: str, **how: Any) -> None:
    """The corpus on the device answers as the one in host memory, whatever the queries are."""
    expected = other.search(queries, 4, **how, backend="numpy")
    if not how:
        cases.assert_same(corpus.search(queries, 4, backend="triton"), expected)
    there = moved(queries, device)
    if isinstance(how.get("mask"), np.ndarray):
        how["mask"] = moved(how["mask"], device)
    scores, ids = corpus.search(there, 4, **how, backend="triton")
    assert str(scores.device) == str(ids.device) == corpus.device
    cases.assert_same((scores, ids), expected)


@pytest.mark.parametrize(
    ("metric", "precision", "memory"),
    [("l2", None, None), ("cosine", "int8_row", None), ("ip", "float16", 600), ("hamming", "ubinary", None)],
)
def test_changes_are_followed(device: str, tmp_path: pathlib.Path, metric: str, precision: str | None, memory: int | None) -> None:
    """Rows that stay on the device, and rows that pass through it."""
    x = cases.rng_of("device", metric).standard_normal((60, 9)).astype(np.float32)
    queries, rng = x[:2] + np.float32(0.1), cases.rng_of("changes", metric)
    corpora = [fc.Corpus(x[:40], precision, metric=metric, ids=np.arange(40) * 3) for _ in range(2)]
    corpus, other = moved_there(corpora[0], device, memory), corpora[1]
    for change in ("append", "remove", "compact", "append"):
        for each in (corpus, other):
            if change == "append":
                each.append(x[40:50])
            elif change == "remove":
                each.remove(each.ids[5:20])
            else:
                each.compact()
        assert (corpus.ids == other.ids).all()
        agree(corpus, other, queries, device)
        if change == "remove":
            for _, mask in [*cases.masks(2, len(other), rng)][1:3]:
                agree(corpus, other, queries, device, mask=np.ascontiguousarray(mask))
            agree(corpus, other, queries, device, exclude=other.ids[:6].reshape(2, 3))
    corpus.save(tmp_path / "saved")
    agree(moved_there(fc.Corpus.load(tmp_path / "saved"), device, memory), other, queries, device)


def test_chunks(device: str) -> None:
    """More rows than the device may hold: numbers, NaN and ties across chunks, masks and excludes cut with them."""
    queries, x = cases.operands(cases.Pairing("f32", "f32", ("ip",)), 2, 21, 9, "nan")
    x = np.concatenate([x, x[:12]])
    other = fc.Corpus(x, scan=None, metric="ip", copy=False)
    corpus = moved_there(fc.Corpus(x, scan=None, metric="ip", copy=False), device, 1152)
    assert corpus._snapshot.on_device.chunk == 8 and corpus._snapshot.on_device.resident == 16
    for _, mask in [*cases.masks(2, 33, cases.rng_of("chunks"))][:4]:
        agree(corpus, other, queries, device, mask=np.ascontiguousarray(mask))
    agree(corpus, other, queries, device, exclude="self")
    agree(corpus, other, queries, device, exclude=np.array([[3, 24], [-1, 32]]))
    done = corpus.search(queries, 4, stats=True, backend="triton")[2]
    assert done["scanned"] == 2 * 33
    for q, k in ((queries, 99), (queries[:0], 3), (queries, 0)):
        cases.assert_same(corpus.search(q, k, backend="triton"), other.search(q, k, backend="numpy"))


def test_cascades(device: str) -> None:
    x = cases.rng_of("cascade").standard_normal((80, 16)).astype(np.float32)
    for metric in ("cosine", "l2"):
        corpus = moved_there(fc.Corpus(x, metric=metric), device)
        scores, ids = corpus.search(x[:3], 5, exact=False, backend="triton")
        cases.assert_same((scores, ids), fc.rescore(x[:3], x, ids, metric=metric, backend="numpy"))
        assert (ids[:, 0] == np.arange(3)).all()


def test_a_tensor_on_the_device_makes_a_corpus_there(device: str) -> None:
    if device == "cpu":
        pytest.skip("needs a CUDA device")
    x = torch.randn(200, 8, device=device).bfloat16()
    corpus = fc.Corpus(x, metric="ip")
    assert corpus.device.startswith("cuda") and corpus.to("cpu").device == "cpu"
    cases.assert_same(corpus.to(device).search(x[:3], 5), fc.topk(x[:3], x, 5, metric="ip"))
