"""A corpus that outgrew one machine: shards on Ray actors, one exact answer; and embedding with Ray Data.

```python
from fastembed_core.integrations.ray import ShardedCorpus; corpus = ShardedCorpus.build(vectors, folder, shards=4)
```
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import ray

from ..codes import DIM_PRECISIONS, Codes
from ..corpus import Corpus
from ..files import replacing
from ..ops.merge_topk import merge_topk
from ..snapshot import checked_ids

_FORMAT, _VERSION = "fastembed_core sharded corpus", 1
_MANIFEST = "manifest.json"


class _Shard:
    """One shard in its own process, mapped from its file; what Ray starts again after a crash is this."""

    def __init__(self, path: str) -> None:
        self._corpus = Corpus.load(path)

    def search(self, queries: Any, k: int, mask: np.ndarray | None, exclude: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        return self._corpus.search(queries, k, mask=mask, exclude=exclude)


class ShardedCorpus:
    """A folder of saved corpora, each held by a Ray actor; a search asks all and merges: to the bit `Corpus.search` over all rows.

    An actor that dies, with its node too, is started again by Ray and loads its shard; the searches it had begun are asked again.
    The folder must be one that every node reads (a network file system). Rows do not change: build a new folder for other rows.

    Parameters
    ----------
    path : the folder that `build` wrote
    actor_options : options of Ray's actors, such as ``{"num_cpus": 4}`` or ``{"resources": ...}``; restarts are unlimited where it says
        nothing else

    `close()`, or the end of a ``with`` block, stops the actors; the folder stays.
    """

    def __init__(self, path: str | Path, *, actor_options: dict[str, Any] | None = None) -> None:
        self.path = Path(path).resolve()
        manifest = _manifest(self.path)
        self.metric: str = manifest["metric"]
        self._counts: list[int] = manifest["rows"]
        self._firsts = np.cumsum([0, *self._counts])
        self._ids = np.load(self.path / manifest["ids"]) if manifest["ids"] else None
        actor = ray.remote(_Shard).options(**{"max_restarts": -1, "max_task_retries": -1} | (actor_options or {}))
        self._shards = [actor.remote(str(self.path / name)) for name in manifest["shards"]]

    @classmethod
    def build(
        cls,
        x: Any,
        path: str | Path,
        *,
        shards: int | None = None,
        precision: str | None = None,
        scan: str | None = "auto",
        metric: str | None = None,
        ids: Any = None,
        actor_options: dict[str, Any] | None = None,
    ) -> ShardedCorpus:
        """Write a folder of shards and start their actors.

        Parameters
        ----------
        x : (N, D) rows as `Corpus` takes them, a memory map or Codes too; or an iterable of such, each of which becomes one shard and of
            which one at a time is in memory (``dataset.iter_batches`` of Ray Data)
        path : a folder; what it held before is replaced when all shards are written
        shards : how many shards the rows of one x are cut into, by default one for each CPU of the cluster
        precision, scan, metric, ids : as in `Corpus`, but for ``int8`` and ``uint8``, whose ranges must be those of all rows: give Codes
        actor_options : as for the class

        Raises
        ------
        TypeError, ValueError
            as `Corpus` raises them, and for a number of shards below 1.
        """
        if precision in DIM_PRECISIONS:
            raise ValueError(f"precision: got {precision}, whose ranges come from all rows, expected x as quantize(x, {precision!r})")
        folder = Path(path).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        token, first, kept = uuid.uuid4().hex[:12], 0, None
        names: list[str] = []
        counts: list[int] = []
        for part in _cut(x, shards):
            corpus = Corpus(part, precision, scan=scan, metric=metric, ids=np.arange(first, first + len(part)), copy=False)
            names.append(f"{token}.{len(names)}.fec")
            corpus.save(folder / names[-1])
            first, kept = first + len(part), corpus.metric
            counts.append(len(part))
        own = None if ids is None else checked_ids(ids, first)
        if own is not None:
            np.save(folder / f"{token}.ids.npy", own)
        described = {"format": _FORMAT, "version": _VERSION, "metric": kept, "rows": counts, "shards": names}
        with replacing(folder / _MANIFEST) as file:
            file.write(json.dumps(described | {"ids": None if own is None else f"{token}.ids.npy"}).encode())
        for stale in (*folder.glob("*.fec"), *folder.glob("*.ids.npy")):
            if not stale.name.startswith(token):
                stale.unlink(missing_ok=True)
        return cls(folder, actor_options=actor_options)

    def __len__(self) -> int:
        return int(self._firsts[-1])

    @property
    def shards(self) -> list[Any]:
        """The actors' handles."""
        return list(self._shards)

    def search(self, queries: Any, k: int, *, mask: Any = None, exclude: Any = None) -> tuple[np.ndarray, np.ndarray]:
        """The k best rows for each query, best first, ties by the row that came first: `Corpus.search`, exact, to the bit.

        Parameters
        ----------
        queries : (Q, D) numpy array or Codes, as `Corpus.search` takes them
        k : at least 0
        mask : (N,) or (Q, N) bool, True = may be returned
        exclude : ids not to return, (Q,) or (Q, E) int64, -1 = none; or "self", query i does not return row i

        Returns
        -------
        scores, ids : (Q, min(k, N))
        """
        allowed = None if mask is None else np.asarray(mask)
        if allowed is not None and (allowed.dtype != bool or allowed.shape[-1:] != (len(self),)):
            raise ValueError(f"mask: got {allowed.dtype} of shape {allowed.shape}, expected bool with {len(self)} columns")
        excluded = self._rows(exclude, len(queries))
        sent = ray.put(queries)
        asked = [
            shard.search.remote(sent, k, None if allowed is None else allowed[..., first : first + n], excluded)
            for shard, first, n in zip(self._shards, self._firsts.tolist(), self._counts, strict=False)
        ]
        scores, rows = merge_topk(ray.get(asked), k, metric=self.metric)
        return scores, rows if self._ids is None else np.where(rows < 0, -1, self._ids[rows])

    def _rows(self, exclude: Any, queries: int) -> np.ndarray | None:
        """Ids not to return as rows; an id that no row has is no row."""
        if exclude is None:
            return None
        if isinstance(exclude, str):
            if exclude != "self":
                raise ValueError(f"exclude: got {exclude!r}, expected 'self' or ids")
            return np.arange(queries)
        given = np.asarray(exclude, np.int64)
        if self._ids is None:
            return given
        order = np.argsort(self._ids)
        place = np.searchsorted(self._ids, given, sorter=order).clip(max=len(order) - 1)
        return np.where(self._ids[order[place]] == given, order[place], -1)

    def close(self) -> None:
        """Stop the actors."""
        for shard in self._shards:
            ray.kill(shard)
        self._shards = []

    def __enter__(self) -> ShardedCorpus:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


class Embed:
    """A model for Ray Data: ``dataset.map_batches(Embed, fn_constructor_args=(load,), concurrency=2)`` adds a column of embeddings.

    Parameters
    ----------
    load : called once in each worker, returns the model: anything with ``encode(texts)``. A sentence-transformers model is accelerated.
    column : the column of texts
    output : the column that the embeddings become
    options : passed to ``encode``
    """

    def __init__(self, load: Callable[[], Any], column: str = "text", output: str = "embedding", **options: Any) -> None:
        self._model, self._column, self._output, self._options = load(), column, output, options
        if type(self._model).__module__.partition(".")[0] == "sentence_transformers":
            from .sentence_transformers import accelerate

            accelerate(self._model)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        texts = [str(text) for text in batch[self._column]]
        return {**batch, self._output: np.asarray(self._model.encode(texts, **self._options))}


def _cut(x: Any, shards: int | None) -> Iterable[Any]:
    """The parts of one array, or those that were given."""
    if not (hasattr(x, "shape") or isinstance(x, Codes)):
        if shards is not None:
            raise ValueError(f"shards: got {shards} for parts that are cut already, expected None")
        return x
    count = max(1, int(ray.cluster_resources().get("CPU", 1))) if shards is None else shards
    if count < 1:
        raise ValueError(f"shards: got {count}, expected at least 1")
    ends = np.linspace(0, len(x), count + 1).astype(int).tolist()
    return (x[a:b] for a, b in pairwise(ends))


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((folder / _MANIFEST).read_bytes())
    except (FileNotFoundError, ValueError):
        manifest = None
    if not isinstance(manifest, dict) or manifest.get("format") != _FORMAT or manifest.get("version") != _VERSION:
        raise ValueError(f"path: got {folder}, which holds no sharded corpus, expected a folder that build wrote")
    return manifest
