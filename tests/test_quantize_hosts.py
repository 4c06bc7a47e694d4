"""quantize and sentence-transformers: the same codes, bit for bit."""

from __future__ import annotations

import os
import pathlib
from typing import Any

import numpy as np
import pytest
from test_quantize import DIMS, assert_same_array, ranges_of, vectors

import fastembed_core as fc
from fastembed_core.codes import BIT_PRECISIONS, DIM_PRECISIONS


@pytest.fixture(scope="module")
def host() -> Any:
    return pytest.importorskip("sentence_transformers.util.quantization").quantize_embeddings


HOST_PRECISIONS = (*DIM_PRECISIONS, *BIT_PRECISIONS)


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
@pytest.mark.parametrize("precision", HOST_PRECISIONS)
@pytest.mark.parametrize("kind", ["f32", "f16"])
def test_equal_to_sentence_transformers(host: Any, precision: str, kind: str) -> None:
    for d in DIMS:
        for values in ("normal", "zero_rows", "subnormal", "dynamic", "ties", "offset"):
            x = vectors(kind, 12, d, values)
            if not np.isfinite(x).all():
                continue  # what float16 could not hold; a range without end has NaN quotients
            for ranges in (None, ranges_of(kind, d)) if precision in DIM_PRECISIONS else (None,):
                expected = host(x, precision, ranges=ranges)
                for backend in ("reference", None):
                    got = fc.quantize(x, precision, ranges=ranges, backend=backend)
                    assert_same_array(got.data, expected)


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
@pytest.mark.parametrize("precision", HOST_PRECISIONS)
def test_equal_to_sentence_transformers_beyond_the_numbers(host: Any, precision: str) -> None:
    ranges = np.float32([[-1] * 9, [1] * 9])
    x = np.random.default_rng(5).choice(np.float32([np.inf, -np.inf, 3e38, -3e38, 0.5, 1e-45, 0, -0.0]), (30, 9))
    expected = host(x, precision, ranges=ranges)
    given = ranges if precision in DIM_PRECISIONS else None
    assert_same_array(fc.quantize(x, precision, ranges=given).data, expected)


@pytest.mark.parametrize("precision", HOST_PRECISIONS)
def test_equal_to_sentence_transformers_on_torch_tensors(host: Any, precision: str) -> None:
    torch = pytest.importorskip("torch")
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        t = torch.randn((40, 37), generator=torch.Generator().manual_seed(4)).to(dtype)
        assert_same_array(fc.quantize(t, precision).data.numpy(), host(t, precision))


@pytest.mark.parametrize("precision", DIM_PRECISIONS)
def test_ranges_are_the_host_s(host: Any, precision: str) -> None:
    quantization = pytest.importorskip("sentence_transformers.util.quantization")
    x = vectors("f32", 150, 33)
    expected = quantization._get_quantization_ranges(x, precision, None)
    assert np.array_equal(fc.calibrate(x), expected)
    codes = fc.quantize(x, precision)
    assert np.array_equal(codes.ranges, expected)
    back = quantization._dequantize_embeddings(codes.data, precision, expected)
    assert np.array_equal(fc.dequantize(codes), back.astype(np.float32))


def test_a_single_row_without_ranges_is_refused_as_by_the_host(host: Any) -> None:
    x = vectors("f32", 1, 8)
    for precision in DIM_PRECISIONS:
        with pytest.raises(ValueError, match="from a single embedding"):
            host(x, precision)
        with pytest.raises(ValueError, match=f"ranges: got None for a single row of {precision} codes"):
            fc.quantize(x, precision)


def test_no_rows(host: Any) -> None:
    x = np.empty((0, 11), np.float32)
    for precision in HOST_PRECISIONS:
        assert_same_array(fc.quantize(x, precision).data, host(x, precision))


DATA = pathlib.Path(os.environ.get("FASTEMBED_CORE_DATA") or pathlib.Path(__file__).parents[2] / "shared" / "data")


@pytest.mark.skipif(not (DATA / "emb").is_dir(), reason=f"no data folder at {DATA}; FASTEMBED_CORE_DATA names one")
@pytest.mark.parametrize("precision", HOST_PRECISIONS)
def test_codes_of_real_vectors_are_the_host_s(host: Any, precision: str) -> None:
    corpus = np.load(DATA / "emb" / "scifact_corpus.npy", mmap_mode="r")
    queries = np.load(DATA / "emb" / "scifact_queries_test.npy")
    codes = fc.quantize(corpus, precision)
    assert_same_array(codes.data, host(np.asarray(corpus), precision))
    assert_same_array(fc.quantize(queries, precision, ranges=codes.ranges).data, host(queries, precision, ranges=codes.ranges))
