"""The arrays that workloads run on. Blocks are made once, shared by the workloads that slice them, and dropped for others."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

CORPORA = ("scifact_corpus.npy", "wikiqa_corpus.npy", "clinc150_f16.npy", "stsb_sents.npy")
_KEPT = 2  # the largest blocks take 1.5 GB
_blocks: OrderedDict[tuple[Any, ...], np.ndarray] = OrderedDict()


class NotHere(Exception):
    """What a workload needs is not on this machine."""


def _block(key: tuple[Any, ...], n: int, make: Callable[[], np.ndarray]) -> np.ndarray:
    """The first n rows of the block under `key`, made anew where the one kept is shorter."""
    if key not in _blocks or len(_blocks[key]) < n:
        _blocks.pop(key, None)
        while len(_blocks) >= _KEPT:
            _blocks.popitem(last=False)
        _blocks[key] = make()
    _blocks.move_to_end(key)
    return _blocks[key][:n]


def rows(n: int, d: int) -> np.ndarray:
    """(n, d) float32, normal: isotropic, nothing like a model's output, and the hard case for pruning."""
    return _block(("normal", d), n, lambda: np.random.default_rng(0).standard_normal((n, d), np.float32))


def duplicates(n: int, d: int) -> np.ndarray:
    """(n, d) float32: one row, n times."""
    return _block(("duplicates", d), n, lambda: np.tile(np.random.default_rng(0).standard_normal((1, d), np.float32), (n, 1)))


def offset_rows(n: int, d: int, offset: float) -> np.ndarray:
    """(n, d) float32: `rows`, far from the origin."""
    return _block(("offset", d, offset), n, lambda: rows(n, d) + np.float32(offset))


def queries(n: int, d: int) -> np.ndarray:
    """(n, d) float32, normal, other rows than `rows` holds."""
    return np.random.default_rng(1).standard_normal((n, d), np.float32)


def bytes_of(n: int, width: int, seed: int = 0) -> np.ndarray:
    """(n, width) uint8, uniform."""
    return _block(("bytes", width, seed), n, lambda: np.random.default_rng(seed).integers(0, 256, (n, width), np.uint8))


def data_folder() -> Path:
    """Where the real embeddings lie: FASTEMBED_CORE_DATA, else shared/data beside the repository."""
    return Path(os.environ.get("FASTEMBED_CORE_DATA") or Path(__file__).parents[2] / "shared" / "data")


def real_embeddings(n: int) -> np.ndarray:
    """(n, 384) float32 unit rows: row i = unit(x[i mod len(x)] + 0.3 g / sqrt(384)), x four corpora of all-MiniLM-L6-v2."""

    def make() -> np.ndarray:
        missing = [name for name in CORPORA if not (data_folder() / "emb" / name).is_file()]
        if missing:
            raise NotHere(f"no {missing[0]} under the data folder; FASTEMBED_CORE_DATA names it")
        x = np.concatenate([np.load(data_folder() / "emb" / name).astype(np.float32) for name in CORPORA])
        out = np.random.default_rng(0).standard_normal((n, x.shape[1]), np.float32)
        out *= np.float32(0.3 / np.sqrt(x.shape[1]))
        for start in range(0, n, len(x)):
            part = out[start : start + len(x)]
            part += x[: len(part)]
            part /= np.linalg.norm(part, axis=1, keepdims=True)
        return out

    return _block(("real",), n, make)


def real_queries(n: int) -> np.ndarray:
    """(n, 384) float32: embeddings of WikiQA's questions."""
    path = data_folder() / "emb" / "wikiqa_queries.npy"
    if not path.is_file():
        raise NotHere(f"no {path.name} under the data folder; FASTEMBED_CORE_DATA names it")
    return np.load(path)[:n]


def tokens(b: int, t: int, d: int) -> np.ndarray:
    """(b, t, d) float32 token states."""
    return _block(("tokens", t, d), b, lambda: np.random.default_rng(2).standard_normal((b, t, d), np.float32))


def token_mask(b: int, t: int, valid: float) -> np.ndarray:
    """(b, t) bool, right padding: lengths spread evenly around valid * t, so that their sum is that share."""
    spread = min(valid, 1 - valid) * t
    lengths = np.rint(np.linspace(valid * t - spread, valid * t + spread, b)).astype(int)
    return np.arange(t) < np.random.default_rng(3).permutation(lengths)[:, None]


def bfloat16(x: np.ndarray) -> np.ndarray:
    """The rows as bfloat16, a type numpy has through ml_dtypes."""
    try:
        import ml_dtypes
    except ImportError:
        raise NotHere("ml_dtypes is not installed") from None
    return x.astype(ml_dtypes.bfloat16)
