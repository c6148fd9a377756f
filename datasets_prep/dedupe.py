"""De-duplicate: the same answer twice, exactly or nearly; labels count with their question."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from datasets_prep.conversation import Conversation, Ledger, Message, turns_of
from datasets_prep.pairs import candidate_pairs, each_pair
from datasets_prep.settings import DedupeSettings
from datasets_prep.signatures import ANSWER_SHINGLE, jaccard, shingles
from datasets_prep.store import Mask, Store, answers, hashes, opening
from datasets_prep.whole import WholeSet

# A source that gives so few different answers to its rows classifies; fewer rows say nothing.
_LABELS_SHARE, _LABELS_ROWS = 0.5, 12
# And one that answers so many of its different questions in nearly the same words.
_FORM_SHARE = 0.2
_FORM_WORDS = 30  # of such an answer: longer ones are canned replies
# Rows whose words are kept for the next comparison.
_KEPT = 4096


def dedupe_rows(rows: WholeSet) -> None:
    """The step: as the definition sets it."""
    if rows.definition.steps.dedupe:
        ledger = rows.ledger("dedupe")
        patterns = {p.part for p in rows.definition.parts() if p.shape == "intents"}
        settings = rows.definition.steps.dedupe
        rows.warnings += dedupe(rows.store, rows.keep, settings, ledger, patterns)
        ledger.flush()


def dedupe(
    store: Store,
    keep: Mask,
    settings: DedupeSettings,
    ledger: Ledger,
    patterns: Collection[str] = (),
) -> list[str]:
    """Switch off in ``keep`` every row that an earlier kept row repeats.

    Args:
        store: all rows.
        keep: shape (rows,); changed in place.
        settings: what counts as the same.
        ledger: gets a line for every row dropped.
        patterns: names of sources whose answers are given to several questions on purpose.

    Returns:
        What a user should know, in sentences without a full stop.
    """
    notes: list[str] = []
    same = _by_exchange(store, keep, settings, notes, patterns)
    if settings.exact:
        _drop_exact(store, keep, same.whole, ledger)
    if settings.near:
        found = _near(store, keep, settings, same)
        if settings.by == "auto" and _have_a_form(store, keep, found, same, notes):
            found = _near(store, keep, settings, same)
        for right, (left, similarity, _) in found.items():
            original = store.row(left)["id"]
            reason = f"answer nearly that of {original} (Jaccard {similarity:.2f})"
            _drop(store, keep, right, reason, ledger)
    return notes


@dataclass(frozen=True)
class _Same:
    """When two rows count as the same, by row; both of shape (rows,).

    Attributes:
        whole: their questions must be the same as well.
        labels: their answers are labels: nothing but the very same question and answer will do.
    """

    whole: Mask
    labels: Mask


def _by_exchange(
    store: Store,
    keep: Mask,
    settings: DedupeSettings,
    notes: list[str],
    patterns: Collection[str],
) -> _Same:
    """Which rows count as the same only when their question is the same too."""
    whole: Mask = np.full(len(store), settings.by == "exchange", bool)
    labels: Mask = np.zeros(len(store), bool)
    if settings.by != "auto" or not len(store):
        return _Same(whole, labels)
    short = np.frombuffer(store.answer_words, np.uint32) < settings.min_words
    whole |= short
    given = hashes(store.answer)
    for name, rows in _parts(store, keep):
        if name in patterns:
            whole[rows] = True
            continue
        different = len(np.unique(given[rows]))
        if len(rows) >= _LABELS_ROWS and different < _LABELS_SHARE * len(rows):
            whole[rows] = labels[rows] = True
            notes.append(
                f"{len(rows):,} rows{_of(name)} give {different:,} different answers, which are "
                "kept as labels; set steps.dedupe.by: answer for one row per answer"
            )
    return _Same(whole, labels)


def _parts(store: Store, keep: Mask) -> list[tuple[str, np.ndarray]]:
    """The rows that are kept of each source, by its name."""
    parts = np.frombuffer(store.part, np.uint32)
    return [(name, np.flatnonzero(keep & (parts == n))) for name, n in store.parts.items()]


def _of(name: str) -> str:
    return f" of source '{name}'" if name else ""


def _drop_exact(store: Store, keep: Mask, whole: Mask, ledger: Ledger) -> None:
    first: dict[tuple[int, int], int] = {}
    words = store.answer_words
    for index in np.flatnonzero(keep):
        question = store.question[index] if whole[index] else 0
        original = first.setdefault((store.answer[index], question), int(index))
        if original != index and words[index]:
            what = "question and answer" if whole[index] else "answer"
            _drop(store, keep, int(index), f"same {what} as {store.row(original)['id']}", ledger)


class _Repeat(NamedTuple):
    """What a row nearly repeats: the earlier row, their Jaccard similarity, and its question."""

    of: int
    similarity: float
    asked_alike: bool


def _near(store: Store, keep: Mask, settings: DedupeSettings, same: _Same) -> dict[int, _Repeat]:
    """The rows whose answer nearly repeats an earlier one's."""

    # The runs of a long answer take 20 kB.
    @lru_cache(maxsize=_KEPT)
    def sets(index: int) -> set[str]:
        return shingles(answers(store.row(index)), ANSWER_SHINGLE)

    @lru_cache(maxsize=_KEPT)
    def asked(index: int) -> set[str]:
        return set(opening(store.row(index)).split())

    found: dict[int, _Repeat] = {}
    long_enough = np.frombuffer(store.answer_words, np.uint32) >= settings.min_words
    rows = np.flatnonzero(keep & long_enough & ~same.labels)
    for left, right in each_pair(candidate_pairs(store.answer_bands(), rows)):
        if left in found or right in found:
            continue
        similarity = jaccard(sets(left), sets(right))
        if similarity < settings.threshold:
            continue
        alike = jaccard(asked(left), asked(right)) >= settings.threshold
        if alike or not same.whole[right]:
            found[right] = _Repeat(left, similarity, alike)
    return found


def _have_a_form(
    store: Store, keep: Mask, found: dict[int, _Repeat], same: _Same, notes: list[str]
) -> bool:
    """Whether answers of a source are one form filled in: they count with their question then.

    "This review of the kettle is negative." and "... of the lamp ..." are as good as labels.
    """
    others = np.zeros(len(store), bool)
    others[[right for right, repeat in found.items() if not repeat.asked_alike]] = True
    formed = False
    words = np.frombuffer(store.answer_words, np.uint32)
    for name, rows in _parts(store, keep):
        repeated = words[rows][others[rows]]
        count = len(repeated)
        short = count and np.median(repeated) <= _FORM_WORDS
        if short and len(rows) >= _LABELS_ROWS and count >= _FORM_SHARE * len(rows):
            same.whole[rows] = formed = True
            notes.append(
                f"{count:,} of {len(rows):,} rows{_of(name)} answer another question in nearly the "
                "words of an earlier row, and are kept as labels; set steps.dedupe.by: answer for "
                "one row per answer"
            )
    return formed


def _drop(store: Store, keep: Mask, index: int, reason: str, ledger: Ledger) -> None:
    keep[index] = False
    row = store.row(index)
    messages = [Message.from_dict(message) for message in turns_of(row)]
    ledger.dropped(Conversation(row["id"], row["source"], messages), reason)
