"""Split: what belongs together falls in one split."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from datasets_prep.pairs import Pairs, candidate_pairs, each_pair, word_matrix
from datasets_prep.settings import SplitSettings
from datasets_prep.signatures import jaccard
from datasets_prep.store import Mask, Store, hashes, opening
from datasets_prep.whole import Labels, WholeSet
from datasets_prep.words import has_unspaced
from recipes.runner.core.errors import UserError

SPLITS = ("train", "validation", "test")
# Up to here every two questions are compared; above, those that share a MinHash band.
ALL_PAIRS = 20_000


def split_rows(rows: WholeSet) -> None:
    """The step: as the definition sets it."""
    rows.labels = split(rows.store, rows.keep, rows.definition.split)


def split(store: Store, keep: Mask, settings: SplitSettings) -> Labels:
    """Assign every kept row to a split.

    Args:
        store: all rows.
        keep: shape (rows,).
        settings: sizes, seed, and how alike two questions must be to belong together.

    Returns:
        Shape (rows,), int64: an index of `SPLITS`, -1 for rows that are not kept.
    """
    labels: Labels = np.full(len(store), -1, np.int64)
    components = group(store, keep, settings.question_threshold)
    groups: dict[int, list[int]] = defaultdict(list)
    for index in np.flatnonzero(keep).tolist():
        groups[int(components[index])].append(index)
    strata: dict[int, list[list[int]]] = defaultdict(list)
    for members in groups.values():
        topics = [store.topic[i] for i in members] if settings.stratify else [0]
        strata[max(sorted(set(topics)), key=topics.count)].append(members)
    wanted = _sizes(int(keep.sum()), settings)
    names = {number: name for name, number in store.topics.items()}
    total = int(keep.sum())
    due = np.zeros(3)
    assigned = np.zeros(3)
    for topic in sorted(strata, key=lambda number: names.get(number, "")):
        rows = sum(map(len, strata[topic]))
        # What a topic too small for its share leaves over is carried to the next one.
        due += np.array(wanted) * (rows / total)
        for members in _ordered(store, strata[topic], settings.seed):
            lack = np.round(due - assigned, 6)
            best = max((1, 2), key=lambda s: (lack[s], -s))
            target = best if lack[best] >= max(0.5, len(members) / 2) else 0
            assigned[target] += len(members)
            labels[members] = target
    return labels


def _sizes(rows: int, settings: SplitSettings) -> list[float]:
    held_out = [size if size >= 1 else size * rows for size in (settings.validation, settings.test)]
    if sum(held_out) >= rows:
        raise UserError(
            f"validation and test ask for {sum(held_out):g} rows, and only {rows} were kept",
            "split",
            "Give smaller counts, or fractions",
        )
    return [rows - sum(held_out), *held_out]


def _ordered(store: Store, groups: list[list[int]], seed: int) -> list[list[int]]:
    """Groups of one topic in an order that the seed sets, and the rows' order does not."""

    def key(members: list[int]) -> bytes:
        question = min(store.question[i] for i in members)
        return hashlib.sha256(f"{seed}:{question}".encode()).digest()

    return sorted(groups, key=key)


def group(store: Store, keep: Mask, threshold: float) -> Labels:
    """Number the groups: rows tied by a group column, by question, or by a near-identical one.

    Returns:
        Shape (rows,), int64: rows with the same number belong together.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    questions = hashes(store.question)
    kept = np.flatnonzero(keep)
    _, first = np.unique(questions[kept], return_index=True)
    distinct = np.sort(kept[first])
    edges = [
        _ties(kept, questions[kept]),
        _ties(*_kept_groups(store, keep)),
        near_questions(store, distinct, threshold),
    ]
    ties = np.concatenate(edges)
    graph = coo_matrix((np.ones(len(ties), np.int8), (ties[:, 0], ties[:, 1])), (len(store),) * 2)
    _, labels = connected_components(graph, directed=False)
    return np.asarray(labels, np.int64)


def _kept_groups(store: Store, keep: Mask) -> tuple[Pairs, npt.NDArray[np.uint64]]:
    rows = hashes(store.group_rows).astype(np.int64)
    mask = keep[rows] if len(rows) else np.zeros(0, bool)
    return rows[mask], hashes(store.group_hashes)[mask]


def _ties(rows: Pairs, values: npt.NDArray[np.uint64]) -> Pairs:
    """Each row with the first of equal value."""
    _, first, inverse = np.unique(values, return_index=True, return_inverse=True)
    return np.stack([rows[first][inverse], rows], axis=1) if len(rows) else np.zeros((0, 2), int)


# One character changed changes two pairs, and a word is one or two characters: texts without
# spaces between their words are as alike at this share of the threshold.
UNSPACED_SHARE = 0.7
# A question of so many words that stands whole, but for one word in twenty, in another of at most
# twice its words: somebody added a sentence.
_HELD_WORDS, _HELD_SHARE, _HELD_LEAST = 8, 0.95, 0.5


def near_questions(store: Store, distinct: Pairs, threshold: float) -> Pairs:
    """Pairs of questions whose sets of words are alike, or one of which holds the other.

    Args:
        store: all rows.
        distinct: one row of each distinct question, ascending.
        threshold: least Jaccard similarity.

    Returns:
        Shape (pairs, 2), int64.
    """
    if len(distinct) <= ALL_PAIRS:
        return all_pairs(store, distinct, threshold)

    @lru_cache(maxsize=20_000)
    def words(index: int) -> set[str]:
        return set(opening(store.row(index)).split())

    @lru_cache(maxsize=20_000)
    def least(index: int) -> float:
        return _least(opening(store.row(index)), threshold)

    def alike(left: int, right: int) -> bool:
        similarity = jaccard(words(left), words(right))
        if similarity >= min(least(left), least(right)):
            return True
        smaller = min(len(words(left)), len(words(right)))
        held = len(words(left) & words(right)) >= _HELD_SHARE * smaller
        return held and smaller >= _HELD_WORDS and similarity >= _HELD_LEAST

    candidates = candidate_pairs(store.question_bands(), distinct)
    found = [pair for pair in each_pair(candidates) if alike(*pair)]
    return np.array(found, np.int64).reshape(-1, 2)


def _least(question: str, threshold: float) -> float:
    """The least similarity at which another question is near to this one."""
    return threshold * UNSPACED_SHARE if has_unspaced(question) else threshold


def all_pairs(store: Store, distinct: Pairs, threshold: float) -> Pairs:
    """As `near_questions`, by comparing the word sets of every two questions."""
    vocabulary: dict[str, int] = {}
    asked = [opening(store.row(index)) for index in distinct.tolist()]
    least = np.array([_least(words, threshold) for words in asked])
    columns = [
        [vocabulary.setdefault(word, len(vocabulary)) for word in set(words.split())]
        for words in asked
    ]
    if not vocabulary:
        return np.zeros((0, 2), np.int64)
    matrix = word_matrix(columns, len(vocabulary))
    sizes = np.array([len(words) for words in columns])
    found = []
    for start in range(0, len(distinct), 256):
        shared = (matrix[start : start + 256] @ matrix.T).toarray()
        union = sizes[start : start + 256, None] + sizes[None, :] - shared
        wanted = np.minimum(least[start : start + 256, None], least[None, :]) * union
        smaller = np.minimum(sizes[start : start + 256, None], sizes[None, :])
        held = (shared >= _HELD_SHARE * smaller) & (smaller >= _HELD_WORDS)
        held &= shared >= _HELD_LEAST * union
        left, right = np.nonzero(((shared >= wanted) | held) & (union > 0))
        left += start
        found.append(np.stack([distinct[left[left < right]], distinct[right[left < right]]], 1))
    return np.concatenate(found)
