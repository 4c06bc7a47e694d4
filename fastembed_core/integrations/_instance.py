"""Our methods in the place of a host's, in one instance alone, and out again."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any


def put(instance: Any, methods: Mapping[str, Callable[..., Any]]) -> list[str]:
    """Bind `methods` to the instance; returns the names of those left alone, because someone else has bound his own."""
    attributes = vars(instance)
    others = [name for name in methods if name in attributes and not _is_ours(attributes[name])]
    for name, method in methods.items():
        if name not in others:
            setattr(instance, name, functools.partial(method, instance))
    return others


def take(instance: Any, names: Iterable[str]) -> dict[str, Any]:
    """Undo `put`; returns what was bound. What someone else has bound, or nobody, stays as it is."""
    ours = {name: vars(instance)[name] for name in names if _is_ours(vars(instance).get(name))}
    for name in ours:
        delattr(instance, name)
    return ours


def _is_ours(method: Any) -> bool:
    return isinstance(method, functools.partial) and method.func.__module__.startswith(f"{__package__}.")
