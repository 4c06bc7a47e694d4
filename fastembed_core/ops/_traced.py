"""Operations as torch sees them: where it does more with a call than run it, the call is one operator of its own."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any, TypeVar

import numpy as np

from ..codes import Codes

Contract = TypeVar("Contract", bound=Callable[..., Any])


def _as_operator(operands: Iterable[Any]) -> bool:
    """Whether torch compiles or traces the call, has a mode that is to see it, or one of the operands has no values to read: it is fake,
    on no device (meta), distributed, or mapped over by vmap."""
    torch = sys.modules.get("torch")
    if torch is None:
        return False
    if torch.compiler.is_compiling() or torch.jit.is_tracing() or torch._C._len_torch_dispatch_stack() > 0:
        return True
    transformed = torch._C._functorch.maybe_current_level() is not None
    return any(
        x.is_meta
        or type(x).__torch_dispatch__ is not torch.Tensor.__torch_dispatch__
        or (transformed and torch._C._functorch.is_batchedtensor(x))
        for x in _tensors(operands, torch)
    )


def _tensors(operands: Iterable[Any], torch: Any) -> Iterator[Any]:
    """Those among arguments, in Codes and in lists of parts, too."""
    for x in operands:
        if isinstance(x, torch.Tensor):
            yield x
        elif isinstance(x, Codes):
            yield from _tensors((x.data,), torch)
        elif isinstance(x, list | tuple) and x and isinstance(x[0], list | tuple | torch.Tensor):
            yield from _tensors(x, torch)


def traced(contract: Contract) -> Contract:
    """The operation itself, but where torch is to see it: then a call of the operator of its name in `fastembed_core.torch_ops`."""

    @functools.wraps(contract)
    def call(*args: Any, **kwargs: Any) -> Any:
        if not (args and type(args[0]) is np.ndarray) and _as_operator(chain(args, kwargs.values())):
            from ..torch_ops import call_operator

            return call_operator(contract.__name__, args, kwargs)
        return contract(*args, **kwargs)

    return call  # type: ignore[return-value]
