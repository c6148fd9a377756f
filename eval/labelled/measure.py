"""Recall and precision of every check of meaning, on labelled answers."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from eval.answers import Answer, AnsweredConversation
from eval.checks.base import Check
from eval.checks.care import ByMeaning
from eval.checks.meaning import forget, prefetch, read
from eval.checks.registry import CHECKS
from eval.checks.text import NoRepetition
from eval.checks.worth import Share, Worth
from eval.labelled.rows import Row
from eval.scoring.rates import wilson

LOOPS = "loops"


def checks_measured() -> dict[str, tuple[Check, str, bool]]:
    """By the check's name: the check, the label it is held against, whether passing means yes."""
    found: dict[str, tuple[Check, str, bool]] = {}
    for name, cls in CHECKS.items():
        if issubclass(cls, ByMeaning):
            found[name] = (cls(check=name), cls.LABEL, cls.WANTED)  # type: ignore[call-arg]
        elif cls is NoRepetition:
            found[name] = (cls(check="no_repetition"), LOOPS, False)
    return found


def conversation(row: Row) -> AnsweredConversation:
    """A labelled row as a conversation whose last answer is judged."""
    texts = [*row.turns[1::2], row.answer]
    answers = tuple(Answer(text, True, len(text.split())) for text in texts)
    return AnsweredConversation(row.id, None, row.turns[::2], answers)


def found_in(check: Check, yes_is_passing: bool, row: Row) -> bool:
    """Whether the check says that the answer does what its label says."""
    held = conversation(row)
    last = len(held.answers) - 1
    score, _ = check.score(held.answers[last], held, last)
    return (score >= 1.0) == yes_is_passing


def worth_on(rows: Sequence[Row]) -> dict[str, Worth]:
    """Every check's worth on these rows; not of one that none of them does or seems to do."""
    counted = {name: _counted(*how, rows) for name, how in checks_measured().items()}
    return {
        name: Worth(share(both, does), share(both, seen))
        for name, (both, does, seen) in counted.items()
        if does and seen
    }


def of_model(worth: Mapping[str, Worth], rows: Sequence[Row]) -> dict[str, Worth]:
    """The same, with the precision on a model's answers, where a check saw anything in them."""
    counted = {name: _counted(*how, rows) for name, how in checks_measured().items()}
    return {
        name: replace(one, of_model=share(counted[name][0], counted[name][2]))
        if counted[name][2]
        else one
        for name, one in worth.items()
    }


def _counted(
    check: Check, label: str, yes_is_passing: bool, rows: Sequence[Row]
) -> tuple[int, int, int]:
    """(how many do it and are seen to, how many do, how many are seen to) of those labelled."""
    held = [row for row in rows if label in row.labels]
    said = [found_in(check, yes_is_passing, row) for row in held]
    true = [row.labels[label] for row in held]
    return sum(s and t for s, t in zip(said, true, strict=True)), sum(true), sum(said)


def milliseconds(rows: Sequence[Row], together: bool = False) -> float:
    """CPU time to read one of these answers on one thread, in ms, nothing of it kept.

    Args:
        rows: their answers.
        together: read as a suite is, all of them at once, in place of one by one.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    forget()
    began = time.process_time()
    if together:
        prefetch((row.question, row.answer) for row in rows)
    for row in rows:
        if not together:
            forget()
        read(row.question, row.answer)
    torch.set_num_threads(threads)
    return 1000 * (time.process_time() - began) / max(1, len(rows))


def errors(rows: Sequence[Row], name: str) -> list[dict[str, Any]]:
    """The rows that a check gets wrong."""
    check, label, yes_is_passing = checks_measured()[name]
    return [
        {"id": row.id, "is": row.labels[label], "answer": row.answer}
        for row in rows
        if label in row.labels and found_in(check, yes_is_passing, row) != row.labels[label]
    ]


def share(part: int, of: int) -> Share:
    """A share with its 95% Wilson interval."""
    interval = wilson(part, of)
    return Share(round(part / of, 3), round(interval.low, 3), round(interval.high, 3), of)
