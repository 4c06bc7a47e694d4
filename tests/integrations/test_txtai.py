"""txtai's embeddings database on our index, beside its own numpy backend."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("txtai")

from txtai import Embeddings
from txtai.ann import ANNFactory

from fastembed_core.integrations.txtai import Flat

# txtai leaves the folder it unpacked an archive into to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:Implicitly cleaning up:ResourceWarning")

BACKEND = "fastembed_core.integrations.txtai.Flat"
VECTORS = np.random.default_rng(0).standard_normal((300, 48), np.float32)
VECTORS /= np.linalg.norm(VECTORS, axis=1, keepdims=True)


def transform(texts: Any) -> np.ndarray:
    """Texts "i" as row i: a model for txtai's `external` method."""
    return np.stack([VECTORS[int(text)] for text in texts])


def database(backend: str, **more: Any) -> Embeddings:
    return Embeddings(method="external", transform=transform, backend=backend, **more)


def pair(**more: Any) -> tuple[Embeddings, Embeddings]:
    both = database(BACKEND, **more), database("numpy", **more)
    for embeddings in both:
        embeddings.index([(i, str(i), None) for i in range(250)])
    assert isinstance(both[0].ann, Flat)
    return both


def assert_same(mine: Any, host: Any) -> None:
    assert [name for name, _ in mine] == [name for name, _ in host]
    np.testing.assert_allclose([score for _, score in mine], [score for _, score in host], atol=1e-6)


def test_search_is_numpys() -> None:
    mine, host = pair()
    for a, b in zip(mine.batchsearch(["3", "270"], 12), host.batchsearch(["3", "270"], 12), strict=True):
        assert_same(a, b)
    assert mine.count() == host.count() == 250


def test_upsert_and_delete_are_numpys() -> None:
    both = pair()
    for embeddings in both:
        embeddings.upsert([(i, str(i), None) for i in range(240, 290)])
        assert sorted(embeddings.delete([5, 6, 255, 999])) == [5, 6, 255]
    mine, host = both
    assert mine.count() == host.count() == 287
    for query in ("5", "255", "120"):
        assert_same(mine.search(query, 40), [found for found in host.search(query, 40) if found[1] > 0])
        assert not {5, 6, 255} & {name for name, _ in mine.search(query, 287)}


@pytest.mark.parametrize("bits", [1, 4])
def test_quantized_search_is_numpys(bits: int) -> None:
    mine, host = pair(quantize=bits)
    for query in ("3", "270"):
        a, b = mine.search(query, 60), host.search(query, 60)
        assert [score for _, score in a] == pytest.approx([score for _, score in b])
        assert a == sorted(a, key=lambda found: (-found[1], found[0]))  # ties, which numpy leaves to its sort, by id
        edge = a[-1][1]
        assert {found for found in a if found[1] > edge} == {found for found in b if found[1] > edge}


@pytest.mark.parametrize("name", ["index", "index.tar.gz"])
def test_save_and_load(name: str, tmp_path: Path) -> None:
    mine, _ = pair(content=True)
    mine.delete([7])
    expected = mine.search("7", 9)
    mine.save(str(tmp_path / name))
    mine.close()
    loaded = database(BACKEND)
    loaded.load(str(tmp_path / name), config={"transform": transform})  # a function is not saved
    assert isinstance(loaded.ann, Flat) and loaded.search("7", 9) == expected
    loaded.upsert([(7, "7", None)])
    assert loaded.search("7", 1)[0]["id"] == "7"
    assert loaded.search("select id, text from txtai where similar('20') and id = '20'")[0]["text"] == "20"
    loaded.close()
    del loaded, mine
    gc.collect()


def test_settings_reach_the_corpus() -> None:
    embeddings = database(BACKEND, **{BACKEND: {"precision": "int8_row"}})
    embeddings.index([(i, str(i), None) for i in range(50)])
    assert embeddings.ann.backend.precision == "int8_row"
    assert embeddings.search("20", 1)[0][0] == 20


def test_an_index_must_be_made_first() -> None:
    ann = ANNFactory.create({"backend": BACKEND})
    with pytest.raises(ValueError, match="expected index or load"):
        ann.search(VECTORS[:1], 3)
