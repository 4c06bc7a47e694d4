"""What vector stores share: vectors and items by string id over a Corpus, filters as masks, diversity, save and load."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from ..corpus import Corpus
from ..files import replacing
from ..metrics import canonical_name
from ..ops.similarity import similarity

T = TypeVar("T")
_VERSION = 1


class Store(Generic[T]):
    """Items by string id, each with a vector, searched exactly and in the order in which they were added where scores tie.

    Vectors are float32 in a Corpus made by the first `put`; searches may run while another thread changes the store.
    """

    def __init__(self, metric: str = "cosine") -> None:
        self.metric = canonical_name(metric)
        self.items: dict[str, T] = {}
        self._corpus: Corpus | None = None
        self._numbers: dict[str, int] = {}  # the corpus' id of each name
        self._names: dict[int, str] = {}
        self._changes = threading.RLock()

    def __len__(self) -> int:
        return len(self.items)

    @property
    def dim(self) -> int | None:
        """Elements of a vector, None while there is none."""
        return self._corpus.dim if self._corpus is not None and self.items else None

    def put(self, names: Sequence[str], vectors: Any, items: Sequence[T]) -> None:
        """Add items under their names, in place of those that had them; of a name given twice, the last. All or none."""
        if not names:
            return
        rows = np.asarray(vectors, np.float32)
        if rows.ndim != 2 or len(rows) != len(names) or len(items) != len(names):
            raise ValueError(f"vectors: got shape {rows.shape} and {len(items)} items for {len(names)} ids, expected one of each an id")
        with self._changes:
            if self.dim not in (None, rows.shape[1]):
                raise ValueError(f"vectors: got {rows.shape[1]} elements, expected {self.dim} as the store holds")
            last = {name: i for i, name in enumerate(names)}
            self.drop(last)
            kept = list(last.values())
            if self._corpus is None or self._corpus.dim != rows.shape[1]:
                self._corpus = Corpus(rows[kept], metric=self.metric)
                numbers = self._corpus.ids
            else:
                numbers = self._corpus.append(rows[kept])
            self._numbers.update(zip(last, numbers.tolist(), strict=True))
            self._names.update(zip(numbers.tolist(), last, strict=True))
            self.items.update({name: items[i] for name, i in last.items()})

    def drop(self, names: Iterable[str]) -> list[str]:
        """Remove the items with these names; returns those that were there."""
        with self._changes:
            there = [name for name in dict.fromkeys(names) if name in self.items]
            if there and self._corpus is not None:
                numbers = [self._numbers.pop(name) for name in there]
                self._corpus.remove(numbers)
                for name, number in zip(there, numbers, strict=True):
                    del self.items[name], self._names[number]
                if self._corpus.statistics()["removed"] > len(self._corpus):
                    self._corpus.compact()
            return there

    def clear(self) -> None:
        """Remove everything; the next vectors may have another dimension."""
        with self._changes:
            self._corpus = None
            for kept in (self.items, self._numbers, self._names):
                kept.clear()

    def vectors(self, names: Sequence[str]) -> np.ndarray:
        """(len(names), dim) float32; KeyError for a name that is not there."""
        if not names or self._corpus is None:
            return np.empty((0, self.dim or 0), np.float32)
        return np.asarray(self._corpus.get([self._numbers[name] for name in names]))

    def search(self, query: Any, k: int, keep: Callable[[str, T], bool] | None = None) -> list[tuple[str, float]]:
        """The k best names for a vector and their scores, best first; `keep` says of each name and item whether it may be returned."""
        with self._changes if keep else nullcontext():  # a mask and the rows it speaks of belong together
            corpus = self._corpus
            if corpus is None or k <= 0:
                return []
            names = [self._names[number] for number in corpus.ids.tolist()] if keep else []
            mask = np.fromiter((keep(name, self.items[name]) for name in names), bool, len(names)) if keep else None
            scores, numbers = corpus.search(np.asarray(query, np.float32).reshape(1, -1), k, mask=mask)
        found = zip(map(self._names.get, numbers[0].tolist()), scores[0].tolist(), strict=True)
        return [(name, score) for name, score in found if name is not None]  # None: no place filled, or removed meanwhile

    def __getstate__(self) -> dict[str, Any]:
        with self._changes:
            names = [] if self._corpus is None else [self._names[number] for number in self._corpus.ids.tolist()]
            return {"metric": self.metric, "names": names, "vectors": self.vectors(names), "items": [self.items[name] for name in names]}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["metric"])  # type: ignore[misc]
        self.put(state["names"], state["vectors"], state["items"])

    def save(self, path: str | Path, encode: Callable[[T], Any]) -> None:
        """Write the items to `path` as JSON, `encode` giving each one's, and the vectors to a file beside it that `path` names.

        The vectors' file is new, `path` is renamed into place and the file it named before is removed: a crash leaves the old
        store or the new one, whole.
        """
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._changes:
            before = _vectors_of(path)
            name = f"{path.name}.{uuid.uuid4().hex[:12]}.fec" if self._corpus is not None and self.items else None
            names: list[str] = []
            if name is not None and self._corpus is not None:
                self._corpus.compact()
                self._corpus.save(path.with_name(name))
                names = [self._names[number] for number in self._corpus.ids.tolist()]
            described = {
                "format": "fastembed_core store",
                "version": _VERSION,
                "metric": self.metric,
                "vectors": name,
                "ids": names,
                "items": [encode(self.items[each]) for each in names],
            }
            with replacing(path) as file:
                file.write(json.dumps(described, ensure_ascii=False).encode())
            if before is not None:
                before.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: str | Path, decode: Callable[[Any], T]) -> Store[T]:
        """The store that `save` wrote; its vectors are memory-mapped. ValueError for a file that is none."""
        path = Path(path)
        described = _described(path)
        if described is None:
            raise ValueError(f"path: got {path}, which is no store that was saved, expected one")
        store = cls(described["metric"])
        if described["vectors"] is not None:
            store._corpus = Corpus.load(path.with_name(described["vectors"]))
            numbers, names = store._corpus.ids.tolist(), described["ids"]
            if not len(numbers) == len(names) == len(described["items"]) or store._corpus.metric != store.metric:
                raise ValueError(f"path: got {path}, whose items are not those of {described['vectors']}, expected a store as it was saved")
            store._numbers, store._names = dict(zip(names, numbers, strict=True)), dict(zip(numbers, names, strict=True))
            store.items = {name: decode(item) for name, item in zip(names, described["items"], strict=True)}
        return store


def diverse(
    relevance: np.ndarray, overlap: Callable[[int], np.ndarray], k: int, weight: float, *, with_all: bool = True
) -> list[tuple[int, float]]:
    """Maximal marginal relevance: k indices, each the best by ``weight * relevance - (1 - weight) * overlap``, and these scores.

    The first is the most relevant. `overlap(i)` gives each index' similarity to i; what counts is the largest to any chosen one. As
    LlamaIndex has it, with_all=False, it is that to the last chosen alone, and the first is the best by ``weight * relevance``.
    Ties go to the lowest index.

    Source: Carbonell and Goldstein, The use of MMR, diversity-based reranking for reordering documents, SIGIR 1998.
    """
    chosen: list[tuple[int, float]] = []
    left = np.ones(len(relevance), bool)
    score, worst = weight * relevance, np.full(len(relevance), -np.inf)
    best = int(np.argmax(relevance if with_all else score)) if len(relevance) else 0
    while len(chosen) < min(k, len(relevance)):
        chosen.append((best, float(score[best])))
        left[best] = False
        latest = overlap(best)
        worst = np.maximum(worst, latest) if with_all else latest
        score = weight * relevance - (1 - weight) * worst
        best = int(np.argmax(np.where(left, score, -np.inf)))
    return chosen


def cosines(vectors: np.ndarray) -> Callable[[int], np.ndarray]:
    """The overlap of `diverse` among rows: the cosine of row i and every row."""
    return lambda i: np.asarray(similarity(vectors[i : i + 1], vectors, "cosine")[0], np.float64)


def _described(path: Path) -> dict[str, Any] | None:
    """What a store's file says, None where there is no such file or it is another's."""
    try:
        described = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    ours = isinstance(described, dict) and described.get("format") == "fastembed_core store" and described.get("version") == _VERSION
    return described if ours else None


def _vectors_of(path: Path) -> Path | None:
    described = _described(path)
    name = described and described["vectors"]
    return path.with_name(name) if name and Path(name).name == name else None
