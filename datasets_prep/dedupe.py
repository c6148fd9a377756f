"""De-duplicate: the same answer twice, exactly or nearly; labels count with their question."""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache

import numpy as np

from datasets_prep.conversation import Conversation, Ledger, Message, turns_of
from datasets_prep.pairs import candidate_pairs, each_pair
from datasets_prep.settings import DedupeSettings
from datasets_prep.signatures import ANSWER_SHINGLE, jaccard, shingles
from datasets_prep.store import Mask, Store, answers, hashes, opening
from datasets_prep.whole import WholeSet

# A source that gives so few different answers to its rows classifies; fewer rows say nothing.
_LABELS_SHARE, _LABELS_ROWS = 0.5, 12
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
    whole = _by_exchange(store, keep, settings, notes, patterns)
    if settings.exact:
        _drop_exact(store, keep, whole, ledger)
    if settings.near:
        _drop_near(store, keep, settings, whole, ledger)
    return notes


def _by_exchange(
    store: Store,
    keep: Mask,
    settings: DedupeSettings,
    notes: list[str],
    patterns: Collection[str],
) -> Mask:
    """Which rows count as the same only when their question is the same too; shape (rows,)."""
    whole: Mask = np.full(len(store), settings.by == "exchange", bool)
    if settings.by != "auto" or not len(store):
        return whole
    short = np.frombuffer(store.answer_words, np.uint32) < settings.min_words
    whole |= short
    parts = np.frombuffer(store.part, np.uint32)
    given = hashes(store.answer)
    for name, number in store.parts.items():
        rows = np.flatnonzero(keep & (parts == number))
        if name in patterns:
            whole[rows] = True
            continue
        different = len(np.unique(given[rows]))
        if len(rows) >= _LABELS_ROWS and different < _LABELS_SHARE * len(rows):
            whole[rows] = True
            of = f" of source '{name}'" if name else ""
            notes.append(
                f"{len(rows):,} rows{of} give {different:,} different answers, which are kept as "
                "labels; set steps.dedupe.by: answer for one row per answer"
            )
    return whole


def _drop_exact(store: Store, keep: Mask, whole: Mask, ledger: Ledger) -> None:
    first: dict[tuple[int, int], int] = {}
    words = store.answer_words
    for index in np.flatnonzero(keep):
        question = store.question[index] if whole[index] else 0
        original = first.setdefault((store.answer[index], question), int(index))
        if original != index and words[index]:
            what = "question and answer" if whole[index] else "answer"
            _drop(store, keep, int(index), f"same {what} as {store.row(original)['id']}", ledger)


def _drop_near(
    store: Store, keep: Mask, settings: DedupeSettings, whole: Mask, ledger: Ledger
) -> None:
    # The runs of a long answer take 20 kB.
    @lru_cache(maxsize=_KEPT)
    def sets(index: int) -> set[str]:
        return shingles(answers(store.row(index)), ANSWER_SHINGLE)

    @lru_cache(maxsize=_KEPT)
    def asked(index: int) -> set[str]:
        return set(opening(store.row(index)).split())

    long_enough = np.frombuffer(store.answer_words, np.uint32) >= settings.min_words
    rows = np.flatnonzero(keep & long_enough)
    for left, right in each_pair(candidate_pairs(store.answer_bands(), rows)):
        if not (keep[left] and keep[right]):
            continue
        similarity = jaccard(sets(left), sets(right))
        if similarity < settings.threshold:
            continue
        if whole[right] and jaccard(asked(left), asked(right)) < settings.threshold:
            continue
        reason = f"answer nearly that of {store.row(left)['id']} (Jaccard {similarity:.2f})"
        _drop(store, keep, right, reason, ledger)


def _drop(store: Store, keep: Mask, index: int, reason: str, ledger: Ledger) -> None:
    keep[index] = False
    row = store.row(index)
    messages = [Message.from_dict(message) for message in turns_of(row)]
    ledger.dropped(Conversation(row["id"], row["source"], messages), reason)
