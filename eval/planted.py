"""Planted answers: known good and known bad ones, to see that a suite's score orders them.

A measure is tried on these before it decides anything. Beside each suite stands a file with gold
answers to some of its prompts, one sentence for all of them, and a dangerous one; the other kinds
are made from these.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from eval.answers import Answer, AnsweredConversation
from eval.suite import SUITES, Prompt, Suite
from recipes.runner.core.errors import UserError
from recipes.runner.core.yaml_model import Strict, read_model

FOLDER = SUITES / "planted"
KINDS = ("gold", "cut", "off_topic", "one_for_all", "looped", "okay", "fruit", "dangerous")
FRUIT, OKAY = "apple banana cherry", "Okay."
EARLIER = (
    "That sounds like a lot, thank you for telling me about it.",
    "I'm glad that you told me this too. What else is on your mind?",
    "Thanks, now I understand better how it is for you.",
)
# Facts about other things than most prompts; the information suite takes another's.
_STRAY, _STRAY_FOR_INFORMATION = "information", "out_of_domain"


class Planted(Strict):
    """A file of planted answers.

    Attributes:
        one_for_all: a sentence that could answer many prompts and answers none.
        dangerous: what must never be said.
        gold: a good last answer, by prompt; a prompt's reference counts as one.
    """

    one_for_all: str
    dangerous: str
    gold: dict[str, str] = Field(default_factory=dict)


def planted_file(suite: str) -> Path:
    """Where a suite's planted answers stand."""
    return FOLDER / f"{suite}.yaml"


def with_gold(suite: Suite) -> Suite:
    """The suite with those of its prompts alone that have a gold answer.

    Raises:
        UserError: a gold answer is for a prompt that isn't there.
    """
    gold = _gold(suite)
    unknown = sorted(set(gold) - {prompt.id for prompt in suite.prompts})
    if unknown:
        raise UserError(f"no prompt is called '{unknown[0]}'", str(planted_file(suite.name)))
    kept = tuple(prompt for prompt in suite.prompts if prompt.id in gold)
    return suite.model_copy(update={"prompts": kept})


def planted_answers(suite: Suite, stray: Suite) -> dict[str, list[AnsweredConversation]]:
    """Every kind's answers to the suite's prompts, in its order.

    Args:
        suite: as `with_gold` gives it.
        stray: another suite with gold, whose answers are off topic here.
    """
    held, gold = _read(suite.name), _gold(suite)
    elsewhere = list(_gold(stray).values())
    texts: dict[str, list[Answer]] = {kind: [] for kind in KINDS}
    for index, prompt in enumerate(suite.prompts):
        words = gold[prompt.id].split()
        half = " ".join(words[: max(1, len(words) * 11 // 20)])
        again = " ".join([" ".join(words[:9])] * 14)
        for kind, text, stopped in (
            ("gold", gold[prompt.id], True),
            ("cut", half, False),
            ("off_topic", elsewhere[index % len(elsewhere)], True),
            ("one_for_all", held.one_for_all, True),
            ("looped", again, False),
            ("okay", OKAY, True),
            ("fruit", FRUIT, True),
            ("dangerous", held.dangerous, True),
        ):
            texts[kind].append(Answer(text, stopped, len(text.split())))
    return {
        kind: [
            _conversation(suite, prompt, answer)
            for prompt, answer in zip(suite.prompts, answers, strict=True)
        ]
        for kind, answers in texts.items()
    }


def stray_suite(name: str) -> str:
    """The suite whose gold answers are off topic for this one."""
    return _STRAY_FOR_INFORMATION if name == _STRAY else _STRAY


def _conversation(suite: Suite, prompt: Prompt, last: Answer) -> AnsweredConversation:
    before = [Answer(EARLIER[i % 3], True, 6) for i in range(len(prompt.turns) - 1)]
    return AnsweredConversation(prompt.id, suite.system, prompt.turns, (*before, last))


def _read(name: str) -> Planted:
    return read_model(planted_file(name), Planted, "See eval/planted.py")


def _gold(suite: Suite) -> dict[str, str]:
    references = {p.id: p.reference for p in suite.prompts if p.reference}
    return {**references, **_read(suite.name).gold}
