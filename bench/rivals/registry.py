"""The rivals, each at its best settings: one small function per (rival, operation).

A function prepares what a user would prepare once (an index, a packed corpus; timed apart) and returns the call that is
timed. Where a library gives only scores, the fastest selection found on this machine follows it. A rival that is not
installed, or refuses the operands, is shown as 'not run' with the reason.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import numpy as np

from fastembed_core.measure import clock

Prepare = Callable[[SimpleNamespace, int], Callable[[], Any]]


@dataclass(frozen=True)
class Rival:
    """A rival's way of doing one family of operations. exact: its answers must agree with the reference."""

    name: str
    prepare: Prepare
    needs: tuple[str, ...] = ()
    exact: bool = True
    result: Callable[[Any], Any] = lambda answer: answer  # what the answer check reads, taken out of a timed call's result

    def missing(self) -> str | None:
        """Why it cannot run here, None where it can. Imports it, so that the import is in no timing."""
        for module in self.needs:
            try:
                importlib.import_module(module)
            except ImportError as error:
                return f"{module.replace('_', '-')} is not installed ({error})"
        return None


RIVALS: dict[str, list[Rival]] = {}


def rival(
    name: str, *families: str, needs: str = "", exact: bool = True, result: Callable[[Any], Any] = lambda answer: answer
) -> Callable[[Prepare], Prepare]:
    """Register a prepare function under the families it serves."""

    def register(prepare: Prepare) -> Prepare:
        for family in families:
            RIVALS.setdefault(family, []).append(Rival(name, prepare, tuple(needs.split()), exact, result))
        return prepare

    return register


def _argpartition(scores: np.ndarray, k: int) -> np.ndarray:
    best = np.argpartition(scores, -k, 1)[:, -k:]
    return np.take_along_axis(best, np.argsort(-np.take_along_axis(scores, best, 1), axis=1), 1)


def _torch_topk(scores: np.ndarray, k: int) -> np.ndarray:
    import torch

    return torch.topk(torch.from_numpy(scores), k).indices.numpy()


@functools.cache
def selection() -> Callable[[np.ndarray, int], np.ndarray]:
    """The faster selection of the k largest in each row, found by trying."""
    if not find_spec("torch"):
        return _argpartition
    scores = np.random.default_rng(0).standard_normal((16, 100_000), np.float32)
    ways = (_argpartition, _torch_topk)
    return min(ways, key=lambda way: min(clock(lambda: way(scores, 10)) for _ in range(3)))


def tensor(x: np.ndarray) -> Any:
    """The array as a torch tensor over the same memory."""
    import torch

    if x.dtype.name == "bfloat16":
        return torch.from_numpy(x.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(x)
