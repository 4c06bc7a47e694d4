"""Side arrays on the operands' device, whose values nobody looks at on the host: the results of host arrays.

On the host the interpreter is given tensors that are treated as a device's are.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import cases
import numpy as np
import pytest
import torch
from test_torch_ops import calls, listed, operands_of, tensor

import fastembed_core as fc
from fastembed_core.arrays import tensors_kept

from .operands import moved

OFFSETS = np.array([0, 3, 3, 80, 81, 90])


@pytest.fixture(autouse=True)
def _kept(device: str) -> Iterator[None]:
    with tensors_kept(), fc.use_backend("triton" if device == "cpu" else "auto"):
        yield


def same(call: Callable[..., Any], device: str, **sides: Any) -> None:
    """`call` of side arrays on the device and of the same on the host."""
    on_device = {name: moved(side, device) for name, side in sides.items()}
    result, expected = call(**on_device), call(**sides)
    for a, e in zip(*((r if isinstance(r, tuple) else (r,)) for r in (result, expected)), strict=True):
        cases.assert_same(a, e)


@pytest.mark.parametrize("mode", ["mean", "max", "lasttoken"])
def test_pool(device: str, mode: str) -> None:
    """Packed sequences, one of no token at all, and masks of them."""
    x = moved(cases.rng_of("packed").standard_normal((90, 17)).astype(np.float32), device)
    mask = cases.rng_of("packed mask").random(90) < 0.6
    same(lambda cu_seqlens: fc.pool(x, mode=mode, cu_seqlens=cu_seqlens), device, cu_seqlens=OFFSETS)
    same(lambda cu_seqlens, mask: fc.pool(x, mask, mode=mode, cu_seqlens=cu_seqlens), device, cu_seqlens=OFFSETS, mask=mask)


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_embedding_bag(device: str, mode: str) -> None:
    table = moved(cases.rng_of("table").standard_normal((30, 9)).astype(np.float32), device)
    ids = cases.rng_of("ids").integers(0, 30, 90)
    weights = {} if mode == "max" else {"weights": cases.rng_of("weights").random(90).astype(np.float32)}
    for how in ({"mode": mode}, {"mode": mode, "padding_idx": int(ids[5])}):
        same(functools.partial(fc.embedding_bag, table, **how), device, ids=ids, offsets=OFFSETS, **weights)
    same(functools.partial(fc.embedding_bag, table, **how), device, ids=ids.reshape(6, 15))
    same(functools.partial(fc.embedding_bag, table, include_last_offset=False), device, ids=ids, offsets=OFFSETS[:-1])


@pytest.mark.parametrize("name", ["triton", "torch"])
def test_ids_of_no_row(device: str, name: str) -> None:
    """A bag with one is NaN, a candidate that is one is none, and one excluded excludes nothing."""
    with fc.use_backend(name):
        _ids_of_no_row(tensor(30, 8).to(device), device)


def _ids_of_no_row(x: Any, device: str) -> None:
    bags = fc.embedding_bag(x, torch.tensor([[1, 2], [3, 30], [-1, 4], [5, 6]], device=device), mode="sum")
    assert bags.isnan().all(1).tolist() == [False, True, True, False]
    scores, rows = fc.rescore(x[:1], x, torch.tensor([[7, 30, -5, 2**40, 3]], device=device), metric="ip")
    expected = fc.rescore(x[:1], x, np.array([[7, 3, -1, -1, -1]]), metric="ip")
    cases.assert_same((scores, rows), expected)
    outside = torch.tensor([[30, -7]], device=device)
    cases.assert_same(fc.topk(x[:1], x, 3, exclude=outside), fc.topk(x[:1], x, 3))


def test_offsets_that_fall_read_nothing_outside(device: str) -> None:
    """What they give is nothing that anyone has said, but only of rows that are there."""
    x = tensor(20, 8).to(device)
    for offsets in ([0, 30, 5, 20], [-5, 9, 40, 99], [20, 10, 0, 5]):
        ends = torch.tensor(offsets, device=device)
        assert fc.pool(x, cu_seqlens=ends).shape == (3, 8)
        assert fc.embedding_bag(x, torch.arange(20, device=device), ends).shape == (3, 8)
        rising = np.maximum.accumulate(np.clip(offsets, 0, 20))
        rising[[0, -1]] = 0, 20
        expected = fc.maxsim(x.cpu().numpy(), x.cpu().numpy(), document_offsets=rising)
        for k in (None, 2):
            found = fc.maxsim(x, x, query_offsets=ends, document_offsets=ends, k=k)
            assert (found if k is None else found[0]).shape == (3, 3 if k is None else k)
        assert (fc.maxsim(x, x, document_offsets=ends)[:, 1].cpu().numpy() == expected[:, 1]).all()


def test_searches(device: str) -> None:
    x = tensor(90, 8).to(device)
    ids = cases.rng_of("candidates").integers(-1, 90, (3, 12))
    same(lambda candidates: fc.rescore(x[:3], x, candidates, 5), device, candidates=ids)
    same(lambda exclude: fc.topk(x[:3], x, 5, exclude=exclude), device, exclude=ids[:, :2])
    codes = cases.operand("uint8", 90, 8, cases.rng_of("codes"))
    expected = fc.topk(tensor(3, 8).numpy(), codes, 4, metric="ip", backend="reference")
    cases.assert_same(fc.topk(tensor(3, 8).to(device), moved(codes, device), 4, metric="ip"), expected)


@pytest.mark.parametrize(("k", "q", "n"), [(None, 3, 5), (2, 1, 70)])
def test_maxsim(device: str, k: int | None, q: int, n: int) -> None:
    queries, documents = tensor(q, 2, 7).to(device), tensor(n, 2, 7).to(device)
    host = [part.cpu().numpy() for part in (queries, documents)]
    masks = {"query_mask": cases.rng_of("q").random((q, 2)) < 0.6, "document_mask": cases.rng_of("d").random((n, 2)) < 0.6}
    given = {name: moved(mask, device) for name, mask in masks.items()}
    cases.assert_same(fc.maxsim(queries, documents, k=k, **given), fc.maxsim(*host, k=k, **masks, backend="reference"))
    if k is not None:
        return  # its bounds come of the same kernels
    ends = {"query_offsets": np.arange(q + 1) * 2, "document_offsets": np.sort(cases.rng_of("ends").integers(0, 2 * n + 1, n + 1))}
    ends["document_offsets"][[0, -1]] = 0, 2 * n
    expected = fc.maxsim(*(part.reshape(-1, 7) for part in host), k=k, **ends, backend="reference")
    sides = {name: moved(side, device) for name, side in ends.items()}
    cases.assert_same(fc.maxsim(queries.flatten(0, 1), documents.flatten(0, 1), k=k, **sides), expected)


# --- on a GPU alone -------------------------------------------------------------------------------------------------


def on(device: str, x: Any) -> Any:
    return [on(device, part) for part in x] if isinstance(x, list) else x.to(device) if isinstance(x, torch.Tensor) else x


def everything(dtype: Any) -> list[tuple[str, Any, dict[str, Any]]]:
    """Every operation; range_search with max_results, for else its results have a size of their own."""
    late = ("maxsim", (tensor(6, 4, 64, dtype=dtype), tensor(3000, 5, 64, dtype=dtype)), {"k": 5})
    given = (late, *calls(dtype, 6, 3000, 64))
    return [(case[0], *operands_of(case)) for case in given if case[0] != "range_search" or "max_results" in case[2]]


def test_nothing_waits_for_the_device(device: str) -> None:
    if device == "cpu":
        pytest.skip("needs a GPU, and no host waits for itself")
    for name, operator, how in everything(torch.float16):
        given = {key: on(device, value) for key, value in how.items()}
        operator(**given)  # compiles
        torch.cuda.set_sync_debug_mode("error")
        try:
            operator(**given)
        except RuntimeError as error:
            raise AssertionError(f"{name} {sorted(how)}") from error
        finally:
            torch.cuda.set_sync_debug_mode("default")


def test_graphs(device: str) -> None:
    """Every operation captured once and replayed with other operands."""
    if device == "cpu":
        pytest.skip("needs a GPU, whose launches a graph records")
    for name, operator, how in everything(torch.float32):
        given = {key: on(device, value) for key, value in how.items()}
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            operator(**given)  # compiles
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            captured = listed(operator(**given))
        for value in given.values():
            for part in value if isinstance(value, list) else [value]:
                if isinstance(part, torch.Tensor) and part.is_floating_point() and part.ndim > 1:
                    part.copy_(part.flip(0))
        graph.replay()
        for result, expected in zip(captured, listed(operator(**given)), strict=True):
            assert torch.equal(result.nan_to_num(), expected.nan_to_num()), name
