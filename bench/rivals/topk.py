"""Rivals of top-k: float, half, integers, bits, masks."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from .registry import Prepare, rival, selection, tensor

# Beside codes of ours stand those that are ever the fastest over the same rows without them; the others take minutes there.
ONE, MANY = "topk/one query beside codes", "topk/many queries beside codes"
TINY, TINY_INDEX = "topk/tiny", "topk/tiny index"


@rival("numpy", "topk/float32", ONE, MANY, "topk/worst")
def numpy_topk(o: SimpleNamespace, threads: int) -> Callable[[], Any]:
    select = selection()
    return lambda: select(o.queries @ o.corpus.T, o.k)


@rival("numpy", "topk/float16", "topk/bfloat16", "topk/int8")
def numpy_widened(o: SimpleNamespace, threads: int) -> Callable[[], Any]:
    select = selection()  # int8 products summed over 768 stay below 2 ** 24 and so are exact in float32
    return lambda: select(o.queries.astype(np.float32) @ o.corpus.astype(np.float32).T, o.k)


@rival("numpy, one query", TINY, TINY_INDEX, result=lambda answer: answer[1][None])
def numpy_one_query(o: SimpleNamespace, threads: int) -> Callable[[], Any]:
    def call() -> Any:
        scores = o.corpus @ o.queries[0]
        best = scores.argpartition(-o.k)[-o.k :]
        order = (-scores[best]).argsort()
        return scores[best][order], best[order]

    return call


@rival("torch", "topk/float32", ONE, MANY, TINY, TINY_INDEX, "topk/worst", needs="torch", result=lambda answer: answer.indices.numpy())
# its half-precision scores are rounded to half precision, and so the ranking is another
@rival("torch", "topk/float16", "topk/bfloat16", needs="torch", exact=False, result=lambda answer: answer.indices.numpy())
def torch_topk(o: SimpleNamespace, threads: int) -> Callable[[], Any]:
    import torch

    queries, corpus = tensor(o.queries), tensor(o.corpus)
    return lambda: torch.topk(queries @ corpus.T, o.k)


def _faiss_knn(threshold: int | None, metric: str = "METRIC_INNER_PRODUCT") -> Prepare:
    def prepare(o: SimpleNamespace, threads: int) -> Callable[[], Any]:
        import faiss

        default = faiss.cvar.distance_compute_blas_threshold

        def call() -> Any:
            faiss.cvar.distance_compute_blas_threshold = default if threshold is None else threshold
            try:
                return faiss.knn(o.queries, o.corpus, o.k, getattr(faiss, metric))
            finally:
                faiss.cvar.distance_compute_blas_threshold = default

        return call

    return prepare


# FAISS leaves BLAS aside for small batches, which at one or two threads is several times slower: measured both ways.
rival("faiss", "topk/float32", ONE, TINY, needs="faiss", result=lambda answer: answer[1])(_faiss_knn(None))
FAISS_BLAS = "faiss, blas threshold 20"
rival(FAISS_BLAS, "topk/float32", MANY, "topk/worst", needs="faiss", result=lambda answer: answer[1])(_faiss_knn(20))
rival("faiss", "topk/l2", "assign/float32", needs="faiss", result=lambda answer: answer[1])(_faiss_knn(None, "METRIC_L2"))
rival(FAISS_BLAS, "topk/l2", "assign/float32", needs="faiss", result=lambda answer: answer[1])(_faiss_knn(20, "METRIC_L2"))


@rival("numpy, centered", "topk/l2", "assign/float32")
def numpy_l2(o: SimpleNamespace, threads: int) -> Callable[[], Any]:
    select = selection()  # least |x - q| is most q.x - |x|^2 / 2, around a common center so that float32 tells far rows apart
    center = o.corpus.mean(0)
    corpus = o.corpus - center
    half = np.square(corpus).sum(1) / 2
    return lambda: select((o.queries - center) @ corpus.T - half, o.k)


@rival("torch cdist", "topk/l2", "assign/float32", needs="torch")
def torch_l2(o: SimpleNamespace, threads: int) -> Callable[[], Any]:
    import torch

    queries, corpus = tensor(o.queries), tensor(o.corpus)
    return lambda: torch.topk(torch.cdist(queries, corpus), o.k, largest=False).indices.numpy()


@rival("faiss IndexFlatIP", TINY_INDEX, needs="faiss", result=lambda answer: answer[1])
def faiss_flat(o: SimpleNamespace, threads: int) -> Callable[[], Any]:
    import faiss

    index = faiss.IndexFlatIP(o.corpus.shape[1])
    index.add(o.corpus)
    return lambda: index.search(o.queries, o.k)


@rival("faiss QT_fp16", "topk/float16", needs="faiss", result=lambda answer: answer[1])
def faiss_fp16(o: SimpleNamespace, threads: int) -> Callable[[], Any]:
    return _faiss_quantizer(o, "QT_fp16")


@rival("faiss QT_bf16", "topk/bfloat16", needs="faiss", result=lambda answer: answer[1])
def faiss_bf16(o: SimpleNamespace, threads: int) -> Callable[[], Any]:
    return _faiss_quantizer(o, "QT_bf16")


@rival("faiss QT_8bit_direct_signed", "topk/int8", needs="faiss", result=lambda answer: answer[1])
def faiss_int8(o: SimpleNamespace, threads: int) -> Callable[[], Any]:
    return _faiss_quantizer(o, "QT_8bit_direct_signed")


def _faiss_quantizer(o: SimpleNamespace, kind: str) -> Callable[[], Any]:
    import faiss

    index = faiss.IndexScalarQuantizer(o.corpus.shape[1], getattr(faiss.ScalarQuantizer, kind), faiss.METRIC_INNER_PRODUCT)
    for start in range(0, len(o.corpus), 65_536):
        index.add(o.corpus[start : start + 65_536].astype(np.float32))
    queries = o.queries.astype(np.float32)
    return lambda: index.search(queries, o.k)


@rival("numkong", "topk/float32", TINY, TINY_INDEX, "topk/float16", "topk/bfloat16", "topk/int8", needs="numkong")
def numkong_topk(o: SimpleNamespace, threads: int) -> Callable[[], Any]:
    import numkong

    select, packed = selection(), numkong.dots_pack(o.corpus, dtype=o.corpus.dtype.name)
    return lambda: select(np.asarray(numkong.dots_packed(o.queries, packed, threads=threads)), o.k)


@rival(
    "usearch",
    "topk/float32",
    TINY,
    "topk/float16",
    "topk/bfloat16",
    "topk/int8",
    needs="usearch",
    result=lambda answer: np.atleast_2d(answer.keys),
)
def usearch_topk(o: SimpleNamespace, threads: int) -> Callable[[], Any]:
    from usearch.index import MetricKind, search

    name = o.corpus.dtype.name
    kind = {"float32": "f32", "float16": "f16", "bfloat16": "bf16", "int8": "i8"}[name]
    queries, corpus = (x.view(np.uint16) if name == "bfloat16" else x for x in (o.queries, o.corpus))
    return lambda: search(corpus, queries, o.k, MetricKind.IP, exact=True, threads=threads, dtype=kind)


@rival(
    "sentence-transformers",
    "topk/float32",
    needs="sentence_transformers",
    result=lambda answer: np.array([[hit["corpus_id"] for hit in hits] for hits in answer]),
)
def st_semantic_search(o: SimpleNamespace, threads: int) -> Callable[[], Any]:
    from sentence_transformers.util import dot_score, semantic_search

    queries, corpus = tensor(o.queries), tensor(o.corpus)
    return lambda: semantic_search(queries, corpus, top_k=o.k, score_function=dot_score)


# All rows above a threshold.


@rival("numpy", "range_search/float32")
def numpy_range(o: SimpleNamespace, threads: int) -> Callable[[], Any]:
    def call() -> Any:
        queries, rows = np.nonzero(o.queries @ o.corpus.T >= np.float32(o.threshold))
        return np.searchsorted(queries, np.arange(len(o.queries) + 1)), rows

    return call


@rival("torch", "range_search/float32", needs="torch")
def torch_range(o: SimpleNamespace, threads: int) -> Callable[[], Any]:
    queries, corpus = tensor(o.queries), tensor(o.corpus)

    def call() -> Any:
        found, rows = (queries @ corpus.T >= o.threshold).nonzero(as_tuple=True)
        return np.searchsorted(found.numpy(), np.arange(len(queries) + 1)), rows.numpy()

    return call


@rival("faiss", "range_search/float32", needs="faiss", result=lambda answer: (answer[0].astype(np.int64), answer[2]))
def faiss_range(o: SimpleNamespace, threads: int) -> Callable[[], Any]:
    import faiss

    index = faiss.IndexFlatIP(o.corpus.shape[1])
    index.add(o.corpus)
    return lambda: index.range_search(o.queries, float(o.threshold))


# Masks.


@rival("numpy", "topk/masked")
def numpy_masked(o: SimpleNamespace, threads: int) -> Callable[[], Any]:
    select = selection()
    if o.mask.ndim == 1:

        def gathered() -> np.ndarray:
            allowed = np.flatnonzero(o.mask)
            return allowed[select(o.queries @ o.corpus[allowed].T, o.k)]

        return gathered
    return lambda: select(np.where(o.mask, o.queries @ o.corpus.T, np.float32(-np.inf)), o.k)


@rival("torch", "topk/masked", needs="torch")
def torch_masked(o: SimpleNamespace, threads: int) -> Callable[[], Any]:
    import torch

    queries, corpus, mask = tensor(o.queries), tensor(o.corpus), tensor(o.mask)
    if mask.ndim == 1:

        def gathered() -> Any:
            allowed = mask.nonzero()[:, 0]
            return allowed[torch.topk(queries @ corpus[allowed].T, o.k).indices].numpy()

        return gathered
    return lambda: torch.topk((queries @ corpus.T).masked_fill_(~mask, -torch.inf), o.k).indices.numpy()


@rival("faiss, bitmap selector", "topk/masked", needs="faiss")
def faiss_masked(o: SimpleNamespace, threads: int) -> Callable[[], Any]:
    import faiss

    index = faiss.IndexFlatIP(o.corpus.shape[1])
    index.add(o.corpus)
    bitmaps = np.packbits(np.atleast_2d(o.mask), axis=1, bitorder="little")
    chosen = [faiss.SearchParameters(sel=faiss.IDSelectorBitmap(bits)) for bits in bitmaps]
    if len(chosen) == 1:
        return lambda: index.search(o.queries, o.k, params=chosen[0])[1]
    return lambda: np.concatenate([index.search(q[None], o.k, params=p)[1] for q, p in zip(o.queries, chosen, strict=True)])


# Integers and bits.


@rival("torch _int_mm", "topk/int8", needs="torch", result=lambda answer: answer.indices.numpy())
def torch_int8(o: SimpleNamespace, threads: int) -> Callable[[], Any]:
    import torch

    queries, corpus = tensor(o.queries), tensor(o.corpus)
    return lambda: torch.topk(torch._int_mm(queries, corpus.T), o.k)


def _faiss_hamming(variant: str) -> Prepare:
    def prepare(o: SimpleNamespace, threads: int) -> Callable[[], Any]:
        import faiss

        return lambda: faiss.knn_hamming(o.queries, o.corpus, o.k, variant=variant)

    return prepare


rival("faiss knn_hamming hc", "topk/hamming", needs="faiss", result=lambda answer: answer[1])(_faiss_hamming("hc"))
rival("faiss knn_hamming mc", "topk/hamming", needs="faiss", result=lambda answer: answer[1])(_faiss_hamming("mc"))


@rival("faiss IndexBinaryFlat", "topk/hamming", needs="faiss", result=lambda answer: answer[1])
def faiss_binary(o: SimpleNamespace, threads: int) -> Callable[[], Any]:
    import faiss

    index = faiss.IndexBinaryFlat(o.corpus.shape[1] * 8)
    index.add(o.corpus)
    return lambda: index.search(o.queries, o.k)


@rival("numkong", "topk/hamming", needs="numkong")
def numkong_hamming(o: SimpleNamespace, threads: int) -> Callable[[], Any]:
    import numkong

    select, packed = selection(), numkong.hammings_pack(o.corpus, dtype="uint1")

    def call() -> np.ndarray:
        distances = np.asarray(numkong.hammings_packed(o.queries, packed, threads=threads)).view(np.int32)
        return select(np.negative(distances, out=distances), o.k)

    return call


@rival("usearch", "topk/hamming", needs="usearch", result=lambda answer: answer.keys)
def usearch_hamming(o: SimpleNamespace, threads: int) -> Callable[[], Any]:
    from usearch.index import MetricKind, search

    return lambda: search(o.corpus, o.queries, o.k, MetricKind.Hamming, exact=True, threads=threads, dtype="b1")


@rival("numpy", "topk/float x bits")
def numpy_float_bits(o: SimpleNamespace, threads: int) -> Callable[[], Any]:
    select, total = selection(), o.queries.sum(1, keepdims=True)
    # sum(+-q) = 2 * (sum of q where the bit is set) - sum(q): the 0 and 1 of unpackbits are multiplied as they come
    return lambda: select(2 * (o.queries @ np.unpackbits(o.corpus.data, axis=1).astype(np.float32).T) - total, o.k)
