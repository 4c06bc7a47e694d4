"""similarity_paired lives beside similarity: its contract is the same but for the pairs it scores."""

from .similarity import similarity_paired

__all__ = ["similarity_paired"]
