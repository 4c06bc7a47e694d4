"""sentence-transformers 6: a model's pooling, normalization, codes and similarity, and its ``util`` functions under their own names.

    from fastembed_core.integrations.sentence_transformers import accelerate; accelerate(model)

    from fastembed_core.integrations.sentence_transformers import semantic_search, quantize_embeddings, maxsim

`accelerate` changes one model and `restore` undoes it; the functions are drop-in replacements. Whatever they do not take (sparse or
float64 embeddings, a score function of your own, gradients) goes to the host's function of the same name, whose signature each one has.
"""

from .late_interaction import maxsim, maxsim_pairwise, mean_maxsim, mean_maxsim_pairwise
from .model import accelerate, restore
from .quantization import quantize_embeddings, semantic_search_faiss, semantic_search_usearch
from .retrieval import community_detection, paraphrase_mining, paraphrase_mining_embeddings, semantic_search

__all__ = [
    "accelerate",
    "restore",
    "semantic_search",
    "paraphrase_mining",
    "paraphrase_mining_embeddings",
    "community_detection",
    "quantize_embeddings",
    "semantic_search_faiss",
    "semantic_search_usearch",
    "maxsim",
    "maxsim_pairwise",
    "mean_maxsim",
    "mean_maxsim_pairwise",
]
