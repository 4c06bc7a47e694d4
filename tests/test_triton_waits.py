"""Nothing that the Triton cells do on the host waits for the device: here tensors have no values, and whoever looks at one is caught."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import fastembed_core as fc
from fastembed_core import corpus_device, dispatch

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

from test_torch_ops import calls, mask, tensor  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402
from torch.utils._pytree import tree_iter  # noqa: E402


class NoCopies(TorchDispatchMode):  # type: ignore[misc]
    """Refuses what takes arrays of two places: a copy from or to the host waits for its end."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        places = {x.device.type for x in tree_iter((args, kwargs, result)) if isinstance(x, torch.Tensor) and x.ndim}
        assert len(places) < 2, f"{func} copies between {places}"
        return result


@pytest.fixture(autouse=True)
def _unlaunched(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Kernels are taken for interpreted and not run."""
    from triton.runtime.jit import JITFunction

    from fastembed_core.backends import triton as package
    from fastembed_core.backends.triton import _launch, _popcount, topk

    monkeypatch.setattr(package, "interpreted", lambda: True)
    monkeypatch.setattr(_launch, "interpreted", lambda: True)
    monkeypatch.setattr(_popcount, "_in_words", lambda data: data.shape[1] % 4 == 0)  # asks for an address
    monkeypatch.setattr(JITFunction, "run", lambda kernel, *args, **kwargs: None)
    monkeypatch.setattr(topk, "SMALL", 0)
    dispatch._automatic.cache_clear()
    yield
    dispatch._automatic.cache_clear()


def there(x: Any) -> Any:
    """Tensors, also of Codes and in lists, where they have no values."""
    if isinstance(x, fc.Codes):
        return fc.Codes(there(x.data), x.precision, x.dim, there(x.scale), there(x.ranges))
    if isinstance(x, tuple | list):
        return type(x)(there(part) for part in x)
    return x.to("meta") if isinstance(x, torch.Tensor) else x


LATE = ("maxsim", (tensor(6, 4, 64), tensor(3000, 5, 64)), {"k": 5})
CASES = [
    case
    for case in (LATE, *calls(torch.bfloat16, 6, 3000, 64))
    if case[0] != "range_search" or "max_results" in case[2]  # it waits for how many rows there are
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]} {' '.join(case[2])}")
def test_nothing_waits(case: Any) -> None:
    op, args, kwargs = case
    call = inspect.unwrap(getattr(fc, op))  # the contract itself, with its cells
    args, kwargs = there(args), {name: there(value) for name, value in kwargs.items()}
    with NoCopies():
        call(*args, **kwargs)


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_a_corpus_waits_for_nothing(metric: str) -> None:
    """By its rows, by codes beside them, and where rows were removed."""
    x = tensor(3000, 64)
    corpus = fc.Corpus(x, metric=metric, ids=np.arange(3000) * 2)
    corpus._move(corpus_device.Place(torch.device("meta"), None))
    queries = there(tensor(6, 64))
    for _ in range(2):
        corpus.search(queries, 5)  # what is made once
        may = there(mask(6, len(corpus)))
        with NoCopies():
            corpus.search(queries, 5)
            corpus.search(queries, 5, mask=may)
            corpus.search(queries, 5, exact=False)
        corpus.remove(corpus.ids[3:5])
