"""De-duplicate: the same answer twice, exactly or nearly, whatever the question."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from datasets_prep.conversation import Conversation, Ledger, Message
from datasets_prep.pairs import candidate_pairs
from datasets_prep.settings import DedupeSettings
from datasets_prep.signatures import ANSWER_SHINGLE, jaccard, shingles
from datasets_prep.store import Mask, Store, answers
from datasets_prep.whole import WholeSet


def dedupe_rows(rows: WholeSet) -> None:
    """The step: as the definition sets it."""
    if rows.definition.steps.dedupe:
        ledger = rows.ledger("dedupe")
        dedupe(rows.store, rows.keep, rows.definition.steps.dedupe, ledger)
        ledger.flush()


def dedupe(store: Store, keep: Mask, settings: DedupeSettings, ledger: Ledger) -> None:
    """Switch off in ``keep`` every row whose answers an earlier kept row gives too.

    Args:
        store: all rows.
        keep: shape (rows,); changed in place.
        settings: what counts as the same.
        ledger: gets a line for every row dropped.
    """
    if settings.exact:
        _drop_exact(store, keep, ledger)
    if settings.near:
        _drop_near(store, keep, settings, ledger)


def _drop_exact(store: Store, keep: Mask, ledger: Ledger) -> None:
    first: dict[int, int] = {}
    words = store.answer_words
    for index in np.flatnonzero(keep):
        original = first.setdefault(store.answer[index], int(index))
        if original != index and words[index]:
            _drop(store, keep, int(index), f"same answer as {store.row(original)['id']}", ledger)


def _drop_near(store: Store, keep: Mask, settings: DedupeSettings, ledger: Ledger) -> None:
    @lru_cache(maxsize=20_000)
    def sets(index: int) -> set[str]:
        return shingles(answers(store.row(index)), ANSWER_SHINGLE)

    long_enough = np.frombuffer(store.answer_words, np.uint32) >= settings.min_words
    rows = np.flatnonzero(keep & long_enough)
    for left, right in candidate_pairs(store.answer_bands(), rows).tolist():
        if not (keep[left] and keep[right]):
            continue
        similarity = jaccard(sets(left), sets(right))
        if similarity >= settings.threshold:
            reason = f"answer nearly that of {store.row(left)['id']} (Jaccard {similarity:.2f})"
            _drop(store, keep, right, reason, ledger)


def _drop(store: Store, keep: Mask, index: int, reason: str, ledger: Ledger) -> None:
    keep[index] = False
    row = store.row(index)
    messages = [Message(**message) for message in row["messages"]]
    ledger.dropped(Conversation(row["id"], row["source"], messages), reason)
