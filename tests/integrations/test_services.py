"""OpenAI's shortening and Cohere's types: by formula, at the services' own sizes. They need neither's package."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import fastembed_core as fc
from fastembed_core.integrations import cohere, openai

DATA = Path(os.environ.get("FASTEMBED_CORE_DATA") or Path(__file__).parents[3] / "shared" / "data")


def random(n: int, dim: int) -> np.ndarray:
    x = np.random.default_rng(dim).standard_normal((n, dim), np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@pytest.mark.parametrize(("dim", "dimensions"), [(3072, 3072), (3072, 1536), (3072, 256), (1536, 512), (12288, 1024), (12288, None)])
def test_shorten(dim: int, dimensions: int | None) -> None:
    x = random(20, dim)
    head = x[:, :dimensions].astype(np.float64)
    expected = head / np.linalg.norm(head, axis=1, keepdims=True)
    np.testing.assert_allclose(openai.shorten(x, dimensions), expected, rtol=0, atol=1e-7)
    codes = openai.shorten(x, dimensions, precision="ubinary")
    np.testing.assert_array_equal(codes.data, np.packbits(head > 0, axis=1))
    ranges = fc.calibrate(openai.shorten(x, dimensions))
    assert openai.shorten(x[:3], dimensions, precision="int8", ranges=ranges).data.shape == head[:3].shape


@pytest.mark.parametrize("form", ["object", "json", "base64"])
def test_responses(form: str) -> None:
    """A response in the service's documented form, its items in any order."""
    x = random(4, 64)
    rows: list[Any] = [base64.b64encode(row.astype("<f4").tobytes()).decode() for row in x] if form == "base64" else x.tolist()
    items = [{"object": "embedding", "index": i, "embedding": row} for i, row in enumerate(rows)][::-1]
    response: Any = {"object": "list", "data": items, "model": "text-embedding-3-small"}
    if form == "object":
        response = SimpleNamespace(**response | {"data": [SimpleNamespace(**item) for item in items]})
    np.testing.assert_array_equal(openai.vectors(response), x)
    np.testing.assert_array_equal(openai.shorten(response, 16), fc.normalize(x, truncate_dim=16))
    with pytest.raises(ValueError, match=r"^response: got no embeddings, expected at least one$"):
        openai.vectors({"data": []})
    with pytest.raises(ValueError, match=r"^truncate_dim: got 65, expected 1 to 64"):
        openai.shorten(response, 65)


def test_real_vectors() -> None:
    """text-embedding-3-small: neighbours survive shortening as the model was trained for, and codes better still."""
    path = DATA / "raw" / "openai_te3small_roget999.npz"
    if not path.exists():
        pytest.skip(f"no data folder at {DATA}; FASTEMBED_CORE_DATA names one")
    with np.load(path, allow_pickle=False) as stored:
        x = stored["embeddings"].astype(np.float32)
    _, truth = fc.topk(x, x, 10, exclude="self")

    def recall(vectors: Any) -> float:
        _, found = fc.topk(vectors, vectors, 10, metric="cosine", exclude="self")
        return float(np.mean([len(np.intersect1d(a, b)) / 10 for a, b in zip(found, truth, strict=True)]))

    assert recall(openai.shorten(x)) > 0.999
    assert recall(openai.shorten(x, precision="int8_row")) > 0.99
    assert 0.5 < recall(openai.shorten(x, 256)) < recall(openai.shorten(x, 768)) < 0.999


@pytest.mark.parametrize("dim", [1024, 1536, 12288])
def test_compressed_types(dim: int) -> None:
    x = random(30, dim)
    got = cohere.compress(x.tolist() if dim == 1024 else x, ["float", "int8", "uint8", "binary", "ubinary"])
    low, high = x.min(axis=0), x.max(axis=0)
    step = (high - low) / np.float32(255)
    u = np.clip(np.floor((x - low) / step), 0, 255)
    np.testing.assert_array_equal(got["float"], x)
    np.testing.assert_array_equal(got["uint8"].data, u.astype(np.uint8))
    np.testing.assert_array_equal(got["int8"].data, (u - 128).astype(np.int8))
    bits = np.packbits(x > 0, axis=1)
    np.testing.assert_array_equal(got["ubinary"].data, bits)
    np.testing.assert_array_equal(got["binary"].data, (bits.astype(np.int16) - 128).astype(np.int8))
    few = cohere.compress(x[:1], ["int8"], ranges=fc.calibrate(x))
    np.testing.assert_array_equal(few["int8"].data, got["int8"].data[:1])
    with pytest.raises(ValueError, match=r"^embedding_types: got 'base64', expected some of float, int8, uint8, binary, ubinary$"):
        cohere.compress(x, ["base64"])


def test_lists_and_what_is_no_response() -> None:
    x = np.random.default_rng(0).standard_normal((5, 16), np.float32)
    np.testing.assert_array_equal(openai.shorten(x.tolist(), 4), openai.shorten(x, 4))
    np.testing.assert_array_equal(cohere.compress(x.tolist(), ["uint8"])["uint8"].data, cohere.compress(x, ["uint8"])["uint8"].data)
    for wrong in (3, {"model": "text-embedding-3-small"}, None):
        with pytest.raises(TypeError, match=r"^response: got \w+ without data, expected what client.embeddings.create returns$"):
            openai.shorten(wrong, 4)
