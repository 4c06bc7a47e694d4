"""gensim 4 KeyedVectors (word2vec, GloVe, fastText): nearest words and analogies by exact top-k.

    from fastembed_core.integrations.gensim import accelerate; accelerate(vectors)

`restore` undoes it. Vectors may go on being trained: nothing is kept of them between calls.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
from gensim import utils
from gensim.models import KeyedVectors

import fastembed_core as fc

from ._instance import put, take

logger = logging.getLogger(__name__)

PREDICTIONS = 5  # words the host looks at for each analogy


def accelerate(vectors: Any) -> Any:
    """Let our search answer `most_similar` and `evaluate_word_analogies` of KeyedVectors (or of a model's ``.wv``); returns them.

    Answers are the host's, scores up to float rounding; equal scores rank by the lowest index, where the host leaves it open. A
    vector of zeros has cosine 0 here and NaN there. float64 vectors, an `indexer` and ``topn=None`` stay the host's. Only attributes
    of the instance change, and `save`, its own or its model's, writes what it wrote before.

    Raises
    ------
    TypeError
        for what is no KeyedVectors.
    """
    if not isinstance(vectors, KeyedVectors):
        raise TypeError(f"vectors: got {type(vectors).__name__}, expected gensim KeyedVectors (a model's .wv)")
    left = put(vectors, METHODS)
    logger.info("accelerate: replaced %s%s", ", ".join(n for n in ANSWERS if n not in left), f"; left {', '.join(left)}" if left else "")
    return vectors


def restore(vectors: Any) -> Any:
    """Undo `accelerate`: every method is the host's own again. Returns the vectors."""
    take(vectors, METHODS)
    return vectors


def _save(vectors: Any, *args: Any, **kwargs: Any) -> None:
    """The host's `save` pickles the instance: without our methods, so that the file can be read anywhere."""
    ours = take(vectors, METHODS)
    try:
        vectors.save(*args, **kwargs)
    finally:
        vars(vectors).update(ours)


def _save_specials(vectors: Any, *args: Any, **kwargs: Any) -> Any:
    """What a model's `save` calls for the vectors it holds, before it pickles them: returns what it is to put back afterwards."""
    ours = take(vectors, METHODS)
    try:
        return [*vectors._save_specials(*args, **kwargs), (vectors, ours)]
    except BaseException:
        vars(vectors).update(ours)
        raise


def _most_similar(
    vectors: Any,
    positive: Any = None,
    negative: Any = None,
    topn: Any = 10,
    clip_start: int = 0,
    clip_end: int | None = None,
    restrict_vocab: int | None = None,
    indexer: Any = None,
) -> Any:
    start, stop = (0, restrict_vocab) if restrict_vocab else (clip_start, clip_end or len(vectors.vectors))
    ours = isinstance(topn, int | np.integer) and topn >= 1 and indexer is None and start >= 0 and stop >= 0
    if not ours or vectors.vectors.dtype not in (np.float32, np.float16):
        return type(vectors).most_similar(vectors, positive, negative, topn, clip_start, clip_end, restrict_vocab, indexer)
    terms = [(key, 1.0) for key in _listed(positive)] + [(key, -1.0) for key in _listed(negative)]
    pairs = [tuple(key) if isinstance(key, tuple | list) else (key, weight) for key, weight in terms]
    keys, weights = [key for key, _ in pairs], np.array([weight for _, weight in pairs], np.float64)
    vectors.fill_norms()
    mean = vectors.get_mean_vector(keys, weights, pre_normalize=True, post_normalize=True, ignore_missing=False)
    own = [vectors.get_index(key) for key in keys if not isinstance(key, np.ndarray) and vectors.has_index_for(key)]
    searched = vectors.vectors[start:stop]
    inside = [row - start for row in own if start <= row < start + len(searched)]
    exclude = np.array([inside], np.int64) if inside else None
    scores, rows = fc.topk(mean[None], searched, int(topn), metric="cosine", exclude=exclude)
    found = zip(rows[0].tolist(), scores[0].tolist(), strict=True)
    return [(vectors.index_to_key[row + start], score) for row, score in found if row >= 0]


def _listed(keys: Any) -> list[Any]:
    """The host's ways to name one key or many: nothing, a key, a vector, or a list of keys, vectors and (key, weight) pairs."""
    if keys is None:
        return []
    one = isinstance(keys, str | int | np.integer) or (isinstance(keys, np.ndarray) and keys.ndim == 1)
    return [keys] if one else list(keys)


def _evaluate_word_analogies(
    vectors: Any,
    analogies: Any,
    restrict_vocab: int = 300000,
    case_insensitive: bool = True,
    dummy4unknown: bool = False,
    similarity_function: str = "most_similar",
) -> tuple[float, list[dict[str, Any]]]:
    """Every question of the file in one search: which word is to c what b is to a."""
    if vectors.vectors.dtype not in (np.float32, np.float16):
        host: tuple[float, list[dict[str, Any]]] = type(vectors).evaluate_word_analogies(
            vectors, analogies, restrict_vocab, case_insensitive, dummy4unknown, similarity_function
        )
        return host
    fold: Callable[[str], str] = str.upper if case_insensitive else str
    known = {fold(key): vectors.get_index(key) for key in reversed(vectors.index_to_key[:restrict_vocab])}
    sections = _questions(analogies, fold)
    asked = [question for _, questions in sections for question in questions if known.keys() >= set(question)]
    predicted = iter(_predictions(vectors, asked, known, restrict_vocab, fold))
    results = []
    for name, questions in sections:
        answers: dict[str, Any] = {"section": name, "correct": [], "incorrect": []}
        for question in questions:
            if known.keys() >= set(question):
                answers["correct" if next(predicted) == question[3] else "incorrect"].append(question)
            elif dummy4unknown:
                answers["incorrect"].append(question)
        vectors._log_evaluate_word_analogies(answers)
        results.append(answers)
    total = {name: [question for section in results for question in section[name]] for name in ("correct", "incorrect")}
    results.append({"section": "Total accuracy", **total})
    count = sum(len(questions) for _, questions in sections)
    logger.info("Quadruplets with out-of-vocabulary words: %.1f%%", 100 * (count - len(asked)) / max(1, count))
    return vectors._log_evaluate_word_analogies(results[-1]), results


def _questions(analogies: Any, fold: Callable[[str], str]) -> list[tuple[str, list[tuple[str, ...]]]]:
    """The sections of a file in the format of word2vec's questions-words.txt; lines of other than four words are passed over."""
    sections: list[tuple[str, list[tuple[str, ...]]]] = []
    with utils.open(analogies, "rb") as file:
        for number, raw in enumerate(file):
            line = utils.to_unicode(raw)
            if line.startswith(": "):
                sections.append((line.lstrip(": ").strip(), []))
            elif not sections:
                raise ValueError(f"Missing section header before line #{number} in {analogies}")
            elif len(line.split()) == 4:
                sections[-1][1].append(tuple(fold(word) for word in line.split()))
            else:
                logger.info("Skipping invalid line #%i in %s", number, analogies)
    return sections


def _predictions(
    vectors: Any, asked: list[tuple[str, ...]], known: dict[str, int], restrict_vocab: int, fold: Callable[[str], str]
) -> list[str | None]:
    """For each question the best of the host's few candidates that is a known word and none of the question's own."""
    if not asked:
        return []
    vectors.fill_norms()
    a, b, c = (np.array([known[question[i]] for question in asked]) for i in range(3))
    unit = {i: vectors.vectors[rows] / vectors.norms[rows, None] for i, rows in enumerate((a, b, c))}
    mean = (unit[1] + unit[2] - unit[0]).astype(np.float64)  # the host's order of sums, so that queries are its own to the bit
    lengths = np.linalg.norm(mean, axis=1, keepdims=True)
    queries = np.divide(mean, lengths, out=mean, where=lengths > 0).astype(np.float32)
    searched = vectors.vectors[: restrict_vocab or None]
    _, rows = fc.topk(queries, searched, PREDICTIONS, metric="cosine", exclude=np.stack([a, b, c], axis=1))
    best = []
    for question, candidates in zip(asked, rows.tolist(), strict=True):
        word = None
        for row in candidates:
            word = fold(vectors.index_to_key[row]) if row >= 0 else word
            if word in known and word not in question[:3]:
                break
        best.append(word)
    return best


ANSWERS: dict[str, Callable[..., Any]] = {"most_similar": _most_similar, "evaluate_word_analogies": _evaluate_word_analogies}
METHODS = {**ANSWERS, "save": _save, "_save_specials": _save_specials}
