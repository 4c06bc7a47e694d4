"""similarity_paired lives beside similarity, by the same arithmetic."""

from .similarity import similarity_paired

__all__ = ["similarity_paired"]
