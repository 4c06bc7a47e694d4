"""similarity_paired lives beside similarity: its contract is the same but for the pairs it scores."""

from .similarity import similarity_paired, similarity_paired_spec

__all__ = ["similarity_paired", "similarity_paired_spec"]
