"""Fit the readings by sentence and by words, and choose the thresholds; the first one is kept.

    python -m eval.labelled.second --out eval/checks/meaning.safetensors

The first reading was fitted to hands a to d, but for what hands a and b put aside. For each of
these two and of the other writers (`LEFT_OUT`) both other readings are fitted to everybody else;
what the three say together of the writer's answers, of which none of them has seen any, gives the
thresholds and is printed as recall and precision, each writer at thresholds that the others chose.
Then both are fitted to all writers but those who measure, and stored.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from safetensors.torch import save_file

from eval.checks.by_sentence import Sentences, features, prefetch
from eval.checks.meaning import LABELS, added, first_reading, stored
from eval.checks.words import Words
from eval.labelled.fit import good_answers, targets
from eval.labelled.fit_sentences import fit_sentences
from eval.labelled.fit_words import fit_words
from eval.labelled.measure import share
from eval.labelled.rows import Row, labelled_rows
from eval.quiet import quiet_libraries
from recipes.runner.run.fingerprint import digest

PUT_ASIDE = ("a", "b")  # some answers of these writers, which the first reading has not seen
LEFT_OUT = (*PUT_ASIDE, "e", "g", "h", "jk", "rs")
"""Who is read by fits without them, each of these together: one hand wrote j and k, r and s are
what a model said."""
GOOD_ANSWERS, SHIPPED = 400, 3.0  # of the shipped data set, and how much more they weigh here
# A label that so few answers of these writers do gets 0.
LEAST = 15
_BATCH = 16


@dataclass(frozen=True)
class Unseen:
    """What readings that its writer had no part in say of an answer, in logits by label."""

    row: Row
    logits: Mapping[str, float]


def fit_both(rows: Sequence[Row]) -> tuple[Sentences, Words]:
    """The readings by sentence and by words, of these answers and some of the shipped data set."""
    shipped = random.Random(0).sample(good_answers(), GOOD_ANSWERS)
    said = [(row.question, row.answer) for row in rows] + [(q, a) for q, a, _ in shipped]
    prefetch(said)
    both = [targets(row.labels, False) for row in rows] + [targets({}, True) for _ in shipped]
    wanted, weight = (np.array([one[side] for one in both]) for side in (0, 1))
    weight[len(rows) :] *= SHIPPED
    writers = [row.id[0] for row in rows] + [""] * len(shipped)
    return (
        fit_sentences([features(*pair) for pair in said], wanted, weight),
        fit_words([answer for _, answer in said], writers, wanted, weight),
    )


def read_unseen() -> list[Unseen]:
    """Every answer that the first reading has not seen, by fits without its writer."""
    found = []
    for hands in LEFT_OUT:
        sentences, words = fit_both([row for row in labelled_rows() if row.id[0] not in hands])
        aside = hands in PUT_ASIDE
        own = [row for row in labelled_rows(hands) if not aside or row.part == "aside"]
        for start in range(0, len(own), _BATCH):
            group = own[start : start + _BATCH]
            first = first_reading([(row.question, row.answer) for row in group])
            found += [
                Unseen(
                    row,
                    added(
                        logits,
                        sentences.logits(row.question, row.answer),
                        words.logits(row.answer),
                    ),
                )
                for row, (logits, _) in zip(group, first, strict=True)
            ]
    return found


def thresholds_of(answers: Sequence[Unseen]) -> dict[str, float]:
    """By label, where the lower of recall and precision is highest; see `LEAST`."""
    found = {}
    for label in LABELS:
        held = [one for one in answers if label in one.row.labels]
        true = np.array([one.row.labels[label] for one in held], bool)
        few = true.sum() < LEAST
        found[label] = 0.0 if few else even(np.array([one.logits[label] for one in held]), true)
    return found


def even(values: np.ndarray, true: np.ndarray) -> float:
    """The threshold at which the lower of recall and precision is highest.

    Args:
        values: float, (answers,): logits.
        true: bool, (answers,).
    """
    order = np.argsort(-values, kind="stable")
    hits = np.cumsum(true[order])
    lower = np.minimum(hits / max(1, true.sum()), hits / np.arange(1, len(true) + 1))
    best = int(np.argmax(lower))
    after = values[order[best + 1]] if best + 1 < len(values) else values[order[best]] - 1
    return round(float(values[order[best]] + after) / 2, 2)


def table(answers: Sequence[Unseen]) -> Table:
    """Recall and precision by label, of each writer at thresholds that the others chose."""
    chosen = {
        hand: thresholds_of([one for one in answers if one.row.id[0] not in hands])
        for hands in LEFT_OUT
        for hand in hands
    }
    shown = Table(title=f"{len(answers)} answers, each read by fits without its writer")
    for heading in ("label", "recall", "precision"):
        shown.add_column(heading)
    for label in LABELS:
        held = [one for one in answers if label in one.row.labels]
        said = [one.logits[label] > chosen[one.row.id[0]][label] for one in held]
        true = [one.row.labels[label] for one in held]
        both = sum(s and t for s, t in zip(said, true, strict=True))
        if any(said) and any(true):
            shown.add_row(label, str(share(both, sum(true))), str(share(both, sum(said))))
    return shown


def fitted_to(rows: Sequence[Row]) -> str:
    """Digest of the answers and labels that are fitted to; it stands in the weights' file."""
    return digest([[row.turns, row.answer, row.labels] for row in rows])[:16]


def main() -> None:
    """Fit, choose, print, store."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    quiet_libraries()
    torch.set_num_threads(1)  # sums in one order: the same file every time
    tensors, facts = stored()
    first = {n: t for n, t in tensors.items() if not n.startswith(("words.", "sentences."))}
    unseen = read_unseen()
    Console().print(table(unseen))
    sentences, words = fit_both(labelled_rows())
    facts = {
        **facts,
        "thresholds": thresholds_of(unseen),
        "fitted_to": fitted_to(labelled_rows()),
    }
    save_file(
        {**first, **sentences.tensors(), **words.tensors()},
        asked.out,
        metadata={"facts": json.dumps(facts, sort_keys=True)},
    )


if __name__ == "__main__":
    main()
