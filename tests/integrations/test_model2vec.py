"""model2vec models of every kind of table, with and without us."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

model2vec = pytest.importorskip("model2vec")
tokenizers = pytest.importorskip("tokenizers")

from fastembed_core.integrations import model2vec as ours  # noqa: E402

WORDS = ["[UNK]", "the", "quick", "brown", "fox", "jumps", "over", "lazy", "dog", "a", "search", "that", "is", "exact"]
TEXTS = ["the quick brown fox", "", "unknownword", "a search that is exact is a search", "dog " * 90, "the", "lazy unknownword dog"]


def model_of(dtype: str = "float32", normalize: bool = False, weights: bool = False, mapping: bool = False) -> Any:
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    rng = np.random.default_rng(1)
    rows = 6 if mapping else len(WORDS)
    table = rng.standard_normal((rows, 40)) * (50 if dtype == "int8" else 1)
    how: dict[str, Any] = {}
    if weights:
        how["weights"] = rng.random(len(WORDS)).astype(np.float32)
    if mapping:
        how["token_mapping"] = rng.integers(0, rows, len(WORDS))
    return model2vec.StaticModel(table.astype(dtype), tokenizer, {}, normalize=normalize, **how)


def both(model: Any, call: Callable[[Any], Any]) -> tuple[Any, Any]:
    before = call(ours.restore(model))
    return before, call(ours.accelerate(model))


@pytest.mark.parametrize("mapping", [False, True], ids=["", "mapping"])
@pytest.mark.parametrize("weights", [False, True], ids=["", "weights"])
@pytest.mark.parametrize("normalize", [False, True], ids=["", "normalize"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "int8", "float64"])
def test_encode(dtype: str, normalize: bool, weights: bool, mapping: bool) -> None:
    model = model_of(dtype, normalize, weights, mapping)
    before, after = both(model, lambda m: m.encode(TEXTS))
    assert after.dtype == before.dtype and after.shape == before.shape
    tolerance = {"float32": 2e-6, "float16": 2e-3, "int8": 2e-6, "float64": 0}[dtype]  # the host sums in the table's own type
    np.testing.assert_allclose(after, before, rtol=tolerance, atol=tolerance)
    for call in (
        lambda m: m.encode(TEXTS[0]),
        lambda m: m.encode(["", "unknownword"]),
        lambda m: m.encode(TEXTS, max_length=3, batch_size=2),
        lambda m: m.encode(TEXTS, normalize=not normalize),
    ):
        before, after = both(model, call)
        assert after.dtype == before.dtype
        np.testing.assert_allclose(after, before, rtol=tolerance, atol=tolerance)


def test_kernels_do_run(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    with caplog.at_level(logging.INFO, "fastembed_core"):
        model = ours.accelerate(model_of())
    assert [record.getMessage() for record in caplog.records] == ["accelerate: replaced the batches of encode"]
    monkeypatch.setattr(model2vec.StaticModel, "_encode_batch", None)
    assert model.encode(TEXTS).shape == (len(TEXTS), 40)
    model.save_pretrained(tmp_path)
    assert np.array_equal(ours.accelerate(model2vec.StaticModel.from_pretrained(tmp_path)).encode(TEXTS), model.encode(TEXTS))
    assert "_encode_batch" not in vars(ours.restore(model))
    with pytest.raises(TypeError, match=r"^model: got str, expected a model2vec StaticModel$"):
        ours.accelerate("potion")
