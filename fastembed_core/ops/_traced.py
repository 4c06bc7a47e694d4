"""Operations as torch.compile sees them: each call is one node of its graph."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

Contract = TypeVar("Contract", bound=Callable[..., Any])


def _tracing() -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and torch.compiler.is_compiling()


def traced(contract: Contract) -> Contract:
    """The operation itself, but while torch traces: then a call of the operator of its name in `fastembed_core.torch_ops`."""

    @functools.wraps(contract)
    def call(*args: Any, **kwargs: Any) -> Any:
        if not (args and type(args[0]) is np.ndarray) and _tracing():
            from ..torch_ops import call_operator

            return call_operator(contract.__name__, args, kwargs)
        return contract(*args, **kwargs)

    return call  # type: ignore[return-value]
