"""Qdrant's fastembed: its functions, and its models' own post-processing, with ours in their place."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

pytest.importorskip("fastembed")

from fastembed.common import utils
from fastembed.common.onnx_model import OnnxOutputContext
from fastembed.text.last_token_normalized_embedding import LastTokenNormalizedEmbedding
from fastembed.text.pooled_embedding import PooledEmbedding
from fastembed.text.pooled_normalized_embedding import PooledNormalizedEmbedding

from fastembed_core.integrations import qdrant_fastembed as ours


@pytest.fixture(autouse=True)
def unpatched() -> Iterator[None]:
    yield
    ours.unpatch()


def states(dtype: str, padding: str) -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(0).standard_normal((6, 15, 48)).astype(dtype)
    mask = (np.arange(15) < np.array([[15], [1], [7], [12], [3], [9]])).astype(np.int64)
    return x, mask[:, ::-1].copy() if padding == "left" else mask


@pytest.mark.parametrize("padding", ["left", "right"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_functions(dtype: str, padding: str) -> None:
    x, mask = states(dtype, padding)
    atol = 2e-3 if dtype == "float16" else 2e-7
    for name, calls in {
        "mean_pooling": [(x, mask), (x, np.zeros_like(mask))],
        "last_token_pooling": [(x, mask), (x, np.zeros_like(mask)), (x, mask.astype(bool))],
        "normalize": [(x[:, 0],), (x[:, 0] * 0,), (x[:, 0], 1), (x, 2, 1), (x, 2, -1), (x[:, 0], 2, 0), (x[:, 0] * 200,)],
    }.items():
        for call in calls:
            expected, got = ours.HOST[name](*call), ours.OURS[name](*call)
            assert got.dtype == expected.dtype and got.shape == expected.shape
            np.testing.assert_allclose(got, expected, rtol=0, atol=0 if name == "last_token_pooling" else atol)


@pytest.mark.parametrize("model", [PooledEmbedding, PooledNormalizedEmbedding, LastTokenNormalizedEmbedding])
def test_models(model: type, monkeypatch: pytest.MonkeyPatch) -> None:
    x, mask = states("float32", "right")
    embedder = model.__new__(model)  # what a model does with its network's output needs no network
    output = OnnxOutputContext(model_output=x, attention_mask=mask)
    expected = np.array(list(embedder._post_process_onnx_output(output)))
    ours.patch()
    assert utils.normalize is ours.normalize
    calls = []
    for name, run in (("pool", ours.fc.pool), ("normalize", ours.fc.normalize)):
        monkeypatch.setattr(ours.fc, name, lambda *a, _run=run, **k: (calls.append(1), _run(*a, **k))[1])
    got = np.array(list(embedder._post_process_onnx_output(output)))
    assert calls and got.dtype == expected.dtype
    np.testing.assert_allclose(got, expected, rtol=0, atol=2e-7)
    ours.unpatch()
    assert utils.normalize is ours.HOST["normalize"]
