"""The rivals, each at its best settings: one small function per (rival, operation)."""

from . import embedding_bag, maxsim, pool, rowwise, topk  # noqa: F401  (importing registers them)
from .registry import RIVALS, Rival, rival, selection

__all__ = ["RIVALS", "Rival", "rival", "selection"]
