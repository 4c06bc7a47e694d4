"""pool beside torch and sentence-transformers, on a real model's token states, and in the wrong hands."""

from __future__ import annotations

import os
import pathlib
import re
from typing import Any

import cases
import numpy as np
import pytest
from test_pool import arguments, mask_of, same, tokens_of

import fastembed_core as fc
from fastembed_core.ops.pool import MODES, SUMS

pytestmark = pytest.mark.op("pool")

HOST_MODES = tuple(mode for mode in MODES if mode != "attention")


@pytest.fixture(scope="module")
def hidden_states() -> Any:
    """Token states of all-MiniLM-L6-v2 for 32 texts in one padded batch, and what its own pooling makes of them."""
    folder = os.environ.get("FASTEMBED_CORE_DATA") or pathlib.Path(__file__).resolve().parents[2] / "shared" / "data"
    path = pathlib.Path(folder) / "emb" / "hidden_states32.npz"
    if not path.exists():
        pytest.skip(f"{path.name} is not here; FASTEMBED_CORE_DATA names the folder that holds emb/")
    return dict(np.load(path, allow_pickle=False))


@pytest.mark.op("pool", reference=True)
@pytest.mark.parametrize("mode", HOST_MODES)
def test_real_token_states(backend: str, hidden_states: Any, mode: str) -> None:
    expected = hidden_states[f"pool_{mode}"]
    got = fc.pool(hidden_states["last_hidden_state"], hidden_states["attention_mask"], mode=mode, backend=backend)
    if mode in SUMS:
        np.testing.assert_allclose(got, expected, rtol=0, atol=4e-7 * np.abs(expected).max())
    else:
        same(got, expected)


@pytest.mark.op("pool", reference=True)
def test_the_model_s_own_embeddings(backend: str, hidden_states: Any) -> None:
    """Its pipeline is mean, then L2, of each text alone; the batch was padded."""
    states, mask = hidden_states["last_hidden_state"], hidden_states["attention_mask"]
    got = fc.pool(states, mask, normalize=True, backend=backend)
    assert np.abs(got - hidden_states["st_embedding_normalized"]).max() < 2e-7
    rows = np.concatenate([s[m == 1] for s, m in zip(states, mask, strict=True)])
    same(fc.pool(rows, cu_seqlens=np.concatenate([[0], np.cumsum(mask.sum(axis=1))]), normalize=True, backend=backend), got)


@pytest.mark.op("pool", reference=True)
@pytest.mark.parametrize("padding", ["none", "right", "left", "holes"])
@pytest.mark.parametrize("mode", HOST_MODES)
def test_sentence_transformers(backend: str, mode: str, padding: str) -> None:
    torch = pytest.importorskip("torch")
    pooling = pytest.importorskip("sentence_transformers.sentence_transformer.modules.pooling").Pooling(40, mode)
    states, mask = torch.from_numpy(tokens_of("f32", 5, 60, 40)), mask_of(padding, 5, 60)
    mask = np.ones((5, 60), np.int64) if mask is None else mask.astype(np.int64)
    mask[mask.sum(axis=1) == 0, 0] = 1  # of an empty sequence the module makes what its mode happens to
    features = {"token_embeddings": states, "attention_mask": torch.from_numpy(mask)}
    with torch.no_grad():
        expected = pooling(features)["sentence_embedding"]
    got = fc.pool(states, torch.from_numpy(mask), mode=mode, backend=backend)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, expected, rtol=0, atol=2e-6 if mode in SUMS else 0)
    ends = torch.cat([torch.zeros(1, dtype=torch.int32), torch.from_numpy(mask.sum(axis=1)).cumsum(0).int()])
    flat = states[torch.from_numpy(mask).bool()]
    with torch.no_grad():
        unpadded = pooling({"token_embeddings": flat[None], "cu_seq_lens_q": ends})["sentence_embedding"]
    got = fc.pool(flat, cu_seqlens=ends, mode=mode, backend=backend)
    torch.testing.assert_close(got, unpadded, rtol=0, atol=2e-6 if mode in SUMS else 0)


@pytest.mark.op("pool", reference=True)
def test_scaled_dot_product_attention(backend: str) -> None:
    torch = pytest.importorskip("torch")
    attention = torch.nn.functional.scaled_dot_product_attention
    states, mask = torch.from_numpy(tokens_of("f32", 4, 50, 24)), torch.from_numpy(mask_of("right", 4, 50))
    mask[-2] = mask[0]
    query = torch.from_numpy(arguments("attention", 24, 3)["query"])
    expected = attention(query.expand(4, 3, 24), states, states, attn_mask=mask[:, None])
    got = fc.pool(states, mask, mode="attention", query=query, backend=backend)
    torch.testing.assert_close(got.reshape(4, 3, 24), expected, rtol=0, atol=2e-6)
    one = fc.pool(states, mask, mode="attention", query=query[1], scale=0.3, backend=backend)
    torch.testing.assert_close(
        one, attention(query[1:2].expand(4, 1, 24), states, states, attn_mask=mask[:, None], scale=0.3)[:, 0], rtol=0, atol=2e-6
    )
    heads = states.reshape(4, 50, 3, 8).transpose(1, 2)
    expected = attention(query[:, :8].expand(4, 3, 8)[:, :, None], heads, heads, attn_mask=mask[:, None, None])
    got = fc.pool(states, mask, mode="attention", query=query[:, :8], backend=backend)
    torch.testing.assert_close(got, expected.reshape(4, 24), rtol=0, atol=2e-6)


# --- kinds of arrays ------------------------------------------------------------------------------------------------


class Dlpack:
    """An array of a library that has nothing but DLPack."""

    def __init__(self, tensor: Any) -> None:
        self._tensor = tensor

    def __dlpack__(self, **kwargs: Any) -> Any:
        return self._tensor.__dlpack__(**kwargs)

    def __dlpack_device__(self) -> Any:
        return self._tensor.__dlpack_device__()


@pytest.mark.op("pool", reference=True)
def test_torch_and_dlpack(backend: str) -> None:
    torch = pytest.importorskip("torch")
    x, mask = tokens_of("bf16", 3, 20, 30), mask_of("holes", 3, 20)
    assert mask is not None
    tensor, valid = torch.from_numpy(x.view(np.int16)).view(torch.bfloat16), torch.from_numpy(mask)
    expected = fc.pool(x, mask, backend=backend)
    got = fc.pool(tensor, valid, backend=backend)
    assert isinstance(got, torch.Tensor) and got.dtype == torch.float32
    same(got.numpy(), expected)
    same(fc.pool(tensor.transpose(0, 1).contiguous().transpose(0, 1), valid.long(), backend=backend).numpy(), expected)
    same(fc.pool(Dlpack(tensor), valid.bfloat16(), backend=backend), expected)
    codes = fc.pool(tensor, valid, precision="int8_row", backend=backend)
    assert isinstance(codes.data, torch.Tensor) and isinstance(codes.scale, torch.Tensor)
    same(codes.data.numpy(), fc.pool(x, mask, precision="int8_row", backend=backend).data)
    out = torch.empty(3, 30, dtype=torch.float16)
    assert fc.pool(tensor, valid, precision="float16", out=out, backend=backend) is out
    same(out.numpy(), fc.pool(x, mask, precision="float16", backend=backend))
    query, weights = tensor[0, 0], valid.bfloat16() / 3
    how: dict[str, Any] = {"mode": "attention", "backend": backend}
    same(fc.pool(tensor, query=query, **how).numpy(), fc.pool(x, query=x[0, 0], **how))
    same(
        fc.pool(tensor, token_weights=weights, backend=backend).numpy(), fc.pool(x, token_weights=weights.float().numpy(), backend=backend)
    )


def test_flushed_subnormals(backend: str) -> None:
    """Whatever mode the caller's processor is in, a compiled kernel keeps subnormal numbers, and leaves the mode as it was."""
    torch = pytest.importorskip("torch")
    if backend != "cpu":
        pytest.skip("only compiled kernels choose their own mode")
    x = tokens_of("f32", 3, 20, 30) * np.float32(1e-41)
    expected = {mode: fc.pool(x, **arguments(mode, 30), backend=backend) for mode in MODES}
    assert torch.set_flush_denormal(True)
    try:
        got = {mode: fc.pool(x, **arguments(mode, 30), backend=backend) for mode in MODES}
        assert torch.tensor([1e-41]).mul(1).item() == 0
    finally:
        torch.set_flush_denormal(False)
    for mode in MODES:
        same(got[mode], expected[mode])


# --- gradients ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("mode", MODES)
def test_gradients(mode: str, normalize: bool, flat: bool) -> None:
    """Numerically, through float32: the steps are wide enough for its rounding and short enough for the curvature."""
    torch = pytest.importorskip("torch")
    x, mask = tokens_of("f64", 3, 7, 6, mode), mask_of("holes", 3, 7)
    assert mask is not None
    x[~mask] = np.nan
    states = torch.tensor(x, requires_grad=True)
    sides = [torch.tensor(arguments(mode, 6, 2)["query"], dtype=torch.float64, requires_grad=True)] if mode == "attention" else []
    sides += [torch.rand(3, 7, dtype=torch.float64).add_(0.5).requires_grad_()] if mode in SUMS else []

    def call(states: Any, side: Any = None) -> Any:
        shape = {"cu_seqlens": np.array([0, 7, 14, 21])} if flat else {}
        lay = (lambda a: a.reshape(21, *a.shape[2:])) if flat else (lambda a: a)
        named = {} if side is None else {"query": side} if mode == "attention" else {"token_weights": lay(side)}
        return fc.pool(lay(states), lay(mask), mode=mode, normalize=normalize, **shape, **named)

    assert torch.autograd.gradcheck(call, (states, *sides), eps=4e-3, atol=5e-3, rtol=5e-3, nondet_tol=0.0)
    call(states, *sides).sum().backward()
    assert not states.grad[~torch.from_numpy(mask)].any() and states.grad[torch.from_numpy(mask)].isfinite().all()


def test_gradients_reach_the_query_alone() -> None:
    torch = pytest.importorskip("torch")
    x, query = tokens_of("f16", 3, 7, 6), torch.ones(6, requires_grad=True)
    row = fc.pool(x, mode="attention", query=query, precision="float16")
    assert row.dtype == torch.float16
    row.sum().backward()
    assert query.grad.any()
    with torch.no_grad():
        assert isinstance(fc.pool(x, mode="attention", query=query), np.ndarray)


def test_gradients_are_never_lost() -> None:
    torch = pytest.importorskip("torch")
    x = torch.ones(2, 3, 4, requires_grad=True)
    assert fc.pool(x).requires_grad and fc.pool(x, normalize=True, truncate_dim=2).requires_grad
    for how, said in (
        (
            {"precision": "int8_row"},
            "precision: got 'int8_row' for an input that requires grad, expected float32 or float16; use torch.no_grad()",
        ),
        ({"out": torch.empty(2, 4)}, "out: got an array for an input that requires grad, expected None, or torch.no_grad()"),
        ({"backend": "cpu"}, "backend: cpu keeps no gradients"),
    ):
        with pytest.raises(TypeError, match=re.escape(said)):
            fc.pool(x, **how)
    with torch.no_grad():
        assert len(fc.pool(x, precision="int8_row")) == 2


# --- the wrong hands ------------------------------------------------------------------------------------------------

X = np.ones((2, 3, 4), np.float32)
Q = np.ones(4, np.float32)
WRONG: tuple[tuple[type[Exception], dict[str, Any], str], ...] = (
    (TypeError, {"tokens": [[[1.0]]]}, "tokens: got list, expected a numpy, torch or DLPack array"),
    (TypeError, {"tokens": X.astype(int)}, "tokens: got int64, expected float32, float16, bfloat16 or float64"),
    (ValueError, {"tokens": X[0]}, "tokens: got shape (3, 4), expected (B, T, D), or (total, D) with cu_seqlens"),
    (ValueError, {"cu_seqlens": np.array([0, 3])}, "tokens: got shape (2, 3, 4), expected (total, D) beside cu_seqlens"),
    (TypeError, {"tokens": X[0], "cu_seqlens": np.array([0.0, 3.0])}, "cu_seqlens: got float64, expected integers"),
    (ValueError, {"tokens": X[0], "cu_seqlens": np.array([], int)}, "cu_seqlens: got shape (0,), expected (B + 1,)"),
    (ValueError, {"tokens": X[0], "cu_seqlens": np.array([[0, 3]])}, "cu_seqlens: got shape (1, 2), expected (B + 1,)"),
    (
        ValueError,
        {"tokens": X[0], "cu_seqlens": np.array([0, 2])},
        "cu_seqlens: got 0 to 2, expected it to rise from 0 to 3, the number of tokens",
    ),
    (
        ValueError,
        {"tokens": X[0], "cu_seqlens": np.array([0, 2, 1, 3])},
        "cu_seqlens: got 0 to 3, expected it to rise from 0 to 3, the number of tokens",
    ),
    (ValueError, {"mask": np.ones((3, 2), bool)}, "mask: got shape (3, 2), expected (2, 3), tokens without their last axis"),
    (TypeError, {"mask": np.ones((2, 3), complex)}, "mask: got complex128, expected bool, or 0 and 1 in an integer or float type"),
    (ValueError, {"mask": np.full((2, 3), 2)}, "mask: got the value 2, expected 0 and 1 alone"),
    (ValueError, {"mask": np.full((2, 3), -1)}, "mask: got the value -1, expected 0 and 1 alone"),
    (ValueError, {"mask": np.full((2, 3), 0.5)}, "mask: got the value 0.5, expected 0 and 1 alone"),
    (ValueError, {"mask": np.full((2, 3), np.nan)}, "mask: got the value nan, expected 0 and 1 alone"),
    (
        ValueError,
        {"mode": "average"},
        "mode: got 'average', expected one of mean, max, cls, lasttoken, weightedmean, mean_sqrt_len_tokens, attention",
    ),
    (ValueError, {"mode": None}, "mode: got None, expected one of mean"),
    (ValueError, {"query": Q}, "query: got ndarray for mode 'mean', expected None, or mode 'attention'"),
    (ValueError, {"scale": 1.0}, "scale: got float for mode 'mean', expected None, or mode 'attention'"),
    (ValueError, {"mode": "attention"}, "query: got None for mode 'attention', expected (4,), (H, 4), or one slice of it a head"),
    (ValueError, {"mode": "attention", "query": Q[:3]}, "query: got shape (1, 3), expected (4,), (H, 4), or (H, 4 // H)"),
    (ValueError, {"mode": "attention", "query": np.ones((0, 4))}, "query: got shape (0, 4), expected (4,), (H, 4), or (H, 4 // H)"),
    (TypeError, {"mode": "attention", "query": np.ones(4, int)}, "query: got int64, expected float32, float16, bfloat16 or float64"),
    (ValueError, {"mode": "attention", "query": Q, "scale": float("inf")}, "scale: got inf, expected a finite number"),
    (TypeError, {"mode": "attention", "query": Q, "scale": "big"}, "scale: got str, expected a number"),
    (ValueError, {"mode": "max", "token_weights": X[..., 0]}, "token_weights: got an array for mode 'max', expected None, or one of mean"),
    (ValueError, {"token_weights": X[0]}, "token_weights: got shape (3, 4), expected (2, 3), tokens without their last axis"),
    (TypeError, {"token_weights": np.ones((2, 3), int)}, "token_weights: got int64, expected float32"),
    (ValueError, {"truncate_dim": 5}, "truncate_dim: got 5, expected 1 to 4"),
    (ValueError, {"truncate_dim": 0}, "truncate_dim: got 0, expected 1 to 4"),
    (TypeError, {"truncate_dim": 2.0}, "truncate_dim: got float, expected an int"),
    (
        ValueError,
        {"precision": "int4"},
        "precision: got 'int4', expected one of float32, float16, int8_row, int4_row, int8, uint8, binary, ubinary",
    ),
    (ValueError, {"precision": "int8"}, "ranges: got None for precision 'int8', expected (2, 4), as calibrate returns them"),
    (
        ValueError,
        {"precision": "int8", "ranges": X[0]},
        "ranges: got shape (3, 4), expected (2, 4), the minimum and maximum of each element kept",
    ),
    (ValueError, {"ranges": X[0, :2]}, "ranges: got an array for precision 'float32', which has none"),
    (ValueError, {"out": np.empty((2, 3), np.float32)}, "out: got float32 of shape (2, 3), expected float32 of shape (2, 4)"),
    (ValueError, {"out": np.empty((2, 4))}, "out: got float64 of shape (2, 4), expected float32 of shape (2, 4)"),
    (ValueError, {"out": cases.read_only(np.empty((2, 4), np.float32))}, "out: got a read-only array, expected a writable one"),
    (ValueError, {"backend": "fast"}, "backend: got 'fast', expected 'auto' or one of"),
)


@pytest.mark.parametrize(("error", "wrong", "said"), WRONG, ids=lambda case: str(case)[:60] if isinstance(case, str) else "")
def test_wrong_arguments(error: type[Exception], wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(error, match="^" + re.escape(said)) as caught:
        fc.pool(**{"tokens": X, **wrong})
    assert "\n" not in str(caught.value)
