"""What test_ray.py runs in a network namespace of its own: shards on the actors of a local Ray cluster."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray

from fastembed_core import Corpus, quantize, topk
from fastembed_core.integrations import ray as integration
from fastembed_core.integrations.ray import Embed, ShardedCorpus

pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own, of sockets and processes that it leaves to the garbage collector

N, DIM = 5000, 48


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    ray.init(address="local", num_cpus=4, include_dashboard=False, _node_ip_address="127.0.0.1", log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    x = np.random.default_rng(0).standard_normal((N, DIM), np.float32)
    x[4001], x[2500], x[17] = x[3], x[3], np.nan  # ties across shards, a row that is no number
    return x


def assert_equal(got: Any, expected: Any) -> None:
    (scores, ids), (expected_scores, expected_ids) = got, expected
    assert ids.dtype == expected_ids.dtype and (ids == expected_ids).all()
    assert scores.dtype == expected_scores.dtype and (scores.view(np.uint32) == expected_scores.view(np.uint32)).all()


@pytest.mark.parametrize("shards", [1, 3, 4])
@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
def test_the_answer_of_one_machine(shards: int, metric: str, rows: np.ndarray, tmp_path: Path) -> None:
    one = Corpus(rows, metric=metric)
    with ShardedCorpus.build(rows, tmp_path, shards=shards, metric=metric, actor_options={"num_cpus": 0.5}) as many:
        assert len(many) == N and len(many.shards) == shards
        for k in (0, 1, 20, N + 5):
            assert_equal(many.search(rows[:4], k), one.search(rows[:4], k))
        mask = np.random.default_rng(1).random((4, N)) < 0.01
        assert_equal(many.search(rows[:4], 70, mask=mask), one.search(rows[:4], 70, mask=mask))
        assert_equal(many.search(rows[:4], 9, mask=mask[0]), one.search(rows[:4], 9, mask=mask[0]))
        assert_equal(many.search(rows[:4], 9, exclude="self"), one.search(rows[:4], 9, exclude="self"))


def test_ids_of_ones_own(rows: np.ndarray, tmp_path: Path) -> None:
    ids = np.random.default_rng(2).permutation(N) + 10_000
    one = Corpus(rows, ids=ids)
    with ShardedCorpus.build(rows, tmp_path, shards=3, ids=ids, actor_options={"num_cpus": 0.5}) as many:
        excluded = np.stack([ids[:4], np.full(4, -1), ids[4:8]], axis=1)
        assert_equal(many.search(rows[:4], 30, exclude=excluded), one.search(rows[:4], 30, exclude=excluded))


@pytest.mark.parametrize("precision", ["int8_row", "uint8", "ubinary", "float16"])
def test_codes(precision: str, rows: np.ndarray, tmp_path: Path) -> None:
    x = rows.astype(np.float16) if precision == "float16" else quantize(np.nan_to_num(rows), precision)
    metric = "hamming" if precision == "ubinary" else "cosine"
    one = Corpus(x, metric=metric)
    with ShardedCorpus.build(x, tmp_path, shards=3, metric=metric, actor_options={"num_cpus": 0.5}) as many:
        assert_equal(many.search(rows[:3], 12), one.search(rows[:3], 12))


def test_parts_one_at_a_time_and_a_folder_opened_again(rows: np.ndarray, tmp_path: Path) -> None:
    for size in (1700, 900):  # the second takes the place of the first
        parts = (rows[i : i + size] for i in range(0, N, size))
        ShardedCorpus.build(parts, tmp_path, actor_options={"num_cpus": 0.1}).close()
    assert len(list(tmp_path.glob("*.fec"))) == 6
    with ShardedCorpus(tmp_path, actor_options={"num_cpus": 0.1}) as many:
        assert_equal(many.search(rows[:3], 12), topk(rows[:3], rows, 12))


def processes(corpus: ShardedCorpus) -> list[int]:
    return ray.get([shard.__ray_call__.remote(lambda _: os.getpid()) for shard in corpus.shards])


def test_an_actor_killed_in_mid_search_comes_back(tmp_path: Path) -> None:
    """Its process is killed while a long search runs; Ray starts it again, it loads its file, and the answer is whole."""
    x = np.random.default_rng(3).standard_normal((40_000, 96), np.float32)
    queries = np.random.default_rng(4).standard_normal((3000, 96), np.float32)
    expected = Corpus(x).search(queries, 5)
    with ShardedCorpus.build(x, tmp_path, shards=2, actor_options={"num_cpus": 1}) as many:
        victims = processes(many)
        started, answer = threading.Event(), []

        def ask() -> None:
            started.set()
            answer.append(many.search(queries, 5))

        thread = threading.Thread(target=ask)
        thread.start()
        started.wait()
        time.sleep(0.1)
        assert not answer, "the search ended before its actor was killed"
        os.kill(victims[0], signal.SIGKILL)
        thread.join(timeout=120)
        assert_equal(answer[0], expected)
        after = processes(many)
        assert after[0] != victims[0] and after[1] == victims[1]
        ray.kill(many.shards[1], no_restart=False)
        assert_equal(many.search(queries[:50], 5), tuple(part[:50] for part in expected))


def test_embedding_with_ray_data_into_shards(tmp_path: Path) -> None:
    class Model:
        """Text "i" is row i: what a real model would compute. Local, so that it travels to the workers with its code."""

        def encode(self, texts: list[str], scale: float = 1.0) -> np.ndarray:
            table = np.random.default_rng(0).standard_normal((N, DIM), np.float32)
            return table[[int(text) for text in texts]] * np.float32(scale)

    texts = ray.data.from_items([{"text": str(i)} for i in range(300)])
    embedded = texts.map_batches(
        Embed, fn_constructor_args=(Model,), fn_constructor_kwargs={"scale": 2.0}, batch_size=64, concurrency=1, num_cpus=0.5
    )
    batches = list(embedded.iter_batches(batch_size=128, batch_format="numpy"))
    order = np.concatenate([batch["text"] for batch in batches]).astype(int)
    expected = Model().encode([str(i) for i in order], 2.0)
    parts = (np.stack(batch["embedding"]) for batch in batches)
    with ShardedCorpus.build(parts, tmp_path, metric="ip", ids=order, actor_options={"num_cpus": 0.1}) as many:
        assert sorted(order) == list(range(300)) and len(many.shards) == 3
        assert_equal(many.search(expected[:5], 7), Corpus(expected, metric="ip", ids=order).search(expected[:5], 7))


def test_the_line_in_readme(rows: np.ndarray, tmp_path: Path) -> None:
    readme = Path(__file__).parents[2].joinpath("README.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"\| `(from fastembed_core\.integrations\.ray [^`]+)` \|$", readme, re.MULTILINE)
    assert line in (integration.__doc__ or "")
    variables: dict[str, Any] = {"vectors": rows, "folder": tmp_path}
    exec(line, variables)
    with variables["corpus"] as corpus:
        assert_equal(corpus.search(rows[:2], 5), Corpus(rows).search(rows[:2], 5))


def test_bad_input_is_refused(rows: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="shards: got 0, expected at least 1"):
        ShardedCorpus.build(rows, tmp_path, shards=0)
    with pytest.raises(ValueError, match="precision: got int8, whose ranges come from all rows"):
        ShardedCorpus.build(rows, tmp_path, precision="int8")
    with pytest.raises(ValueError, match="which holds no sharded corpus"):
        ShardedCorpus(tmp_path / "nothing")
    with ShardedCorpus.build(rows, tmp_path, shards=2, actor_options={"num_cpus": 0.1}) as many:
        with pytest.raises(ValueError, match="mask: got bool of shape"):
            many.search(rows[:2], 3, mask=np.ones(7, bool))
        with pytest.raises(ValueError, match="exclude: got 'all'"):
            many.search(rows[:2], 3, exclude="all")
