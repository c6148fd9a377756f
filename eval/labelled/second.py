"""Fit the readings by sentence, words and signs, and choose thresholds; the first one is kept.

    python -m eval.labelled.second --out eval/checks/meaning.safetensors

The first reading was fitted to hands a to d, but for what hands a and b put aside. For each of
these two and of the other writers (`LEFT_OUT`) both other readings are fitted to everybody else;
what the three say together of the writer's answers, of which none of them has seen any, gives the
thresholds and is printed as recall and precision, each writer at thresholds that the others chose.
Then both are fitted to all writers but those who measure, and stored. What the signs add is fitted
to the same unseen answers, beside what the three say: of each writer to those of the others.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from safetensors.torch import save_file

from eval.checks.by_sentence import Sentences
from eval.checks.meaning import (
    LABELS,
    SIGNED,
    FirstReading,
    added,
    first_reading,
    signed,
    stored,
)
from eval.checks.signs import Signs
from eval.checks.words import Words
from eval.labelled.fit import UNSAID, Example, good_answers, targets
from eval.labelled.fit_sentences import fit_sentences
from eval.labelled.fit_signs import fit_signs
from eval.labelled.fit_words import fit_words
from eval.labelled.measure import share
from eval.labelled.rows import Row, labelled_rows
from eval.quiet import quiet_libraries
from recipes.runner.run.fingerprint import digest

PUT_ASIDE = ("a", "b")  # some answers of these writers, which the first reading has not seen
LEFT_OUT = (*PUT_ASIDE, "e", "g", "h", "jk", "rs", "u", "w", "x")
"""Who is read by fits without them, each of these together: one hand wrote j and k, r and s are
what a model said."""
GOOD_ANSWERS, SHIPPED = 400, 3.0  # of the shipped data set, and how much more they weigh here
MORE_GOOD = 500  # others of it, to which only the signs are fitted
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
    shipped = shipped_answers()[:GOOD_ANSWERS]
    said = [(row.question, row.answer) for row in rows] + [(q, a) for q, a, _ in shipped]
    both = [targets(row.labels, False) for row in rows] + [targets({}, True) for _ in shipped]
    wanted, weight = (np.array([one[side] for one in both]) for side in (0, 1))
    weight[len(rows) :] *= SHIPPED
    writers = [row.id[0] for row in rows] + [""] * len(shipped)
    return (
        fit_sentences([one.by_sentence for one in first_readings(said)], wanted, weight),
        fit_words([answer for _, answer in said], writers, wanted, weight),
    )


def shipped_answers() -> list[Example]:
    """Those that `fit_both` has, then others of the shipped data set."""
    return random.Random(0).sample(good_answers(), GOOD_ANSWERS + MORE_GOOD)


def read_unseen() -> list[Unseen]:
    """Every answer that the first reading has not seen, by fits without its writer."""
    found = []
    for hands in LEFT_OUT:
        sentences, words = fit_both([row for row in labelled_rows() if row.id[0] not in hands])
        aside = hands in PUT_ASIDE
        own = [row for row in labelled_rows(hands) if not aside or row.part == "aside"]
        said = [(row.question, row.answer) for row in own]
        found += [
            Unseen(row, logits)
            for row, logits in zip(own, read_by(said, sentences, words), strict=True)
        ]
    return found


def read_by(
    said: Sequence[tuple[str, str]], sentences: Sentences, words: Words
) -> list[dict[str, float]]:
    """Of (question, answer) pairs, the logits of the first reading and these two, by label."""
    return [
        added(first.logits, sentences.logits(first.by_sentence), words.logits(answer), answer)
        for (_, answer), first in zip(said, first_readings(said), strict=True)
    ]


_READ: dict[tuple[str, str], FirstReading] = {}


def first_readings(said: Sequence[tuple[str, str]]) -> list[FirstReading]:
    """Of (question, answer) pairs; each is read once, however many fits ask for it."""
    new = sorted(set(said) - _READ.keys(), key=lambda pair: (len(pair[1]), pair))
    for start in range(0, len(new), _BATCH):
        group = new[start : start + _BATCH]
        _READ.update(zip(group, first_reading(group), strict=True))
    return [_READ[pair] for pair in said]


def signs_of(
    answers: Sequence[Unseen],
    good: Sequence[tuple[str, str]],
    of_good: Sequence[Mapping[str, float]],
) -> Signs:
    """What the signs add, fitted to answers that the other readings have not seen and good ones.

    Args:
        answers: of writers.
        good: (question, answer) of the shipped data set, which do no harm.
        of_good: what the other readings say of these, by label.
    """
    said = [(one.row.question, one.row.answer) for one in answers] + list(good)
    others = [one.logits for one in answers] + list(of_good)
    both = [targets(one.row.labels, False) for one in answers] + [targets({}, True) for _ in good]
    wanted, weight = (np.array([one[side] for one in both]) for side in (0, 1))
    weight[len(answers) :] /= UNSAID  # a shipped answer surely does none of it
    columns = [LABELS.index(label) for label in SIGNED]
    return fit_signs(
        said,
        np.array([[one[label] for label in SIGNED] for one in others]),
        wanted[:, columns],
        weight[:, columns],
    )


def with_signs(
    answers: Sequence[Unseen],
    good: Sequence[tuple[str, str]],
    of_good: Sequence[Mapping[str, float]],
) -> list[Unseen]:
    """The answers, with what signs fitted without their writer add."""
    found = []
    for hands in LEFT_OUT:
        signs = signs_of([one for one in answers if one.row.id[0] not in hands], good, of_good)
        found += [
            replace(one, logits=signed(one.logits, signs.logits(one.row.question, one.row.answer)))
            for one in answers
            if one.row.id[0] in hands
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
    first = {
        n: t for n, t in tensors.items() if not n.startswith(("words.", "sentences.", "signs."))
    }
    sentences, words = fit_both(labelled_rows())
    good = [(question, answer) for question, answer, _ in shipped_answers()[GOOD_ANSWERS:]]
    beside = good, read_by(good, sentences, words)
    without = read_unseen()
    unseen = with_signs(without, *beside)
    Console().print(table(unseen))
    facts = {
        **facts,
        "thresholds": thresholds_of(unseen),
        "fitted_to": fitted_to(labelled_rows()),
    }
    save_file(
        {**first, **sentences.tensors(), **words.tensors(), **signs_of(without, *beside).tensors()},
        asked.out,
        metadata={"facts": json.dumps(facts, sort_keys=True)},
    )


if __name__ == "__main__":
    main()
