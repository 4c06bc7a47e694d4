"""A txtai index: exact, fast, and saved with the embeddings database.

```python
from fastembed_core.integrations.txtai import Flat; embeddings = Embeddings(backend="fastembed_core.integrations.txtai.Flat")
```
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from txtai.ann import ANN

from .. import __version__
from ..corpus import Corpus


class Flat(ANN):
    """txtai's `ANN` over a Corpus: what its ``numpy`` backend answers, from codes beside the vectors, and deletions that stay deleted.

    Vectors are ranked by inner product, which is the cosine of the normalized vectors txtai makes; with ``quantize`` set to bits, by
    ``1 - hamming / bits``. Settings, under the backend's own name in the configuration: ``precision`` and ``scan`` as `Corpus` takes
    them, ``mmap`` (True) to map a loaded index into memory.
    """

    backend: Corpus | None

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config)
        bits = config.get("quantize")
        self._is_bits = isinstance(bits, int) and not isinstance(bits, bool) and bits > 0

    def load(self, path: str) -> None:
        """The index that `save` wrote."""
        self.backend = Corpus.load(path, mmap=self.setting("mmap", True))

    def index(self, embeddings: Any) -> None:
        """Start anew with these vectors, whose ids are 0, 1, 2, ..."""
        options = {} if self._is_bits else {"precision": self.setting("precision"), "scan": self.setting("scan", "auto")}
        self.backend = Corpus(np.asarray(embeddings), metric="hamming" if self._is_bits else "ip", **options)
        self.config["offset"] = len(embeddings)
        self.metadata({"fastembed_core": __version__})

    def append(self, embeddings: Any) -> None:
        """Add vectors, whose ids go on from the last there was."""
        self._rows.append(np.asarray(embeddings))
        self.config["offset"] += len(embeddings)
        self.metadata()

    def delete(self, ids: Iterable[int]) -> None:
        """Remove vectors; ids that are not there are passed over."""
        self._rows.remove(np.intersect1d(np.asarray(list(ids), np.int64), self._rows.ids))

    def search(self, queries: Any, limit: int) -> list[list[tuple[int, float]]]:
        """For each query the `limit` best ids and their scores, best first."""
        scores, ids = self._rows.search(np.asarray(queries), limit)
        if self._is_bits:
            scores = np.clip(1.0 - scores / (self.config["dimensions"] * 8), 0.0, 1.0)
        return [list(zip(*pair, strict=True)) for pair in zip(ids.tolist(), scores.tolist(), strict=True)]

    def count(self) -> int:
        """Vectors that are there."""
        return len(self._rows)

    def save(self, path: str) -> None:
        """Write the index to one file."""
        self._rows.save(path)

    @property
    def _rows(self) -> Corpus:
        if self.backend is None:
            raise ValueError("index: got none, expected index or load before any other call")
        return self.backend
