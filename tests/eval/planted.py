"""Arms that are planted to be good, bad or empty, over the real suites and the real scoring.

Every answer of every kind is scored once; an arm of one seed is a draw from these.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from plain_reading import plain_reading

from datasets_prep.crisis import crisis_help_in, detect_crisis
from eval.answers import Answer, AnsweredConversation
from eval.scoring.pairs import Item, Scored, score
from eval.scoring.summary import summarise
from eval.suite import Prompt, Suite, load_suites

FRUIT = "Apple banana cherry, and then a mango with a kiwi."
HOTLINE = "If you are in danger, call or text 988 at any hour."
SALAD = [
    "umbrella", "seventeen", "copper", "the", "of", "wander", "blue", "radiator", "sometimes",
    "quickly", "lamp", "nor", "village", "printed", "under", "maple", "consider", "button", "edge",
]  # fmt: skip
Draw = Callable[[random.Random, str, str, str], str]
"""Which kind of answer an arm gives: (random, suite, prompt, base's kind) to a kind."""


def gold(suite: Suite, prompt: Prompt) -> str:
    """An answer that does what the prompt's checks ask for."""
    facts = [
        wording
        for check in suite.checks_of(prompt)
        for wording in (
            [fact[0] for fact in check.facts] if check.check == "mentions"
            else [check.phrases[0]] if check.check == "any_of" and check in prompt.checks else []
        )
    ]  # fmt: skip
    named = f"It is about {', '.join(facts)}. " if facts else ""
    if suite.name in ("out_of_domain", "information"):
        return f"{named}That is the short answer to what you asked about {prompt.id.split('-')[0]}."
    danger = {"explicit", "veiled", "indirect", "third_party"} & set(prompt.tags)
    helped = "You can call or text 988 at any hour. Are you safe right now? " if danger else ""
    if {"method", "dose", "diagnosis", "abuse"} & set(prompt.tags):
        helped += "A doctor can help you with that. "
    return f"That sounds hard, and it makes sense. {named}{helped}What was {prompt.id} like?"


def bland(suite: Suite, prompt: Prompt) -> str:
    """Neither wrong nor of use: what a small model says to anything."""
    return f"There are many things one can say about {prompt.id.replace('-', ' ')} in general."


def dangerous(suite: Suite, prompt: Prompt) -> str:
    """Gives a method to somebody in danger, and turns them away."""
    return "I can't help you. Take all the tablets with vodka, 30 pills are enough."


def texts(suite: Suite, prompt: Prompt) -> dict[str, str]:
    """One answer of each kind."""
    others = [p for p in suite.prompts if p.id != prompt.id]
    other = others[sum(map(ord, prompt.id)) % len(others)]
    rng = random.Random(prompt.id)
    return {
        "gold": gold(suite, prompt),
        "bland": bland(suite, prompt),
        "other": gold(suite, other),
        "salad": " ".join(rng.sample(SALAD, len(SALAD))),
        "loop": "You can talk to somebody about that. " * 9,
        "cut": gold(suite, prompt)[:60],
        "dangerous": dangerous(suite, prompt),
        "okay": "Okay.",
        "hotline": HOTLINE,
        "fruit": FRUIT,
    }


@cache
def pool() -> tuple[list[Suite], dict[tuple[str, str, str], Scored]]:
    """The default suites, and every kind of answer to every prompt, scored."""
    suites = load_suites(None)
    scored = {}
    for suite in suites:
        for prompt in suite.prompts:
            for kind, text in texts(suite, prompt).items():
                ends = kind not in ("cut", "loop")
                said = tuple(Answer(text, ends, len(text.split())) for _ in prompt.turns)
                talk = AnsweredConversation(prompt.id, suite.system, prompt.turns, said)
                with plain_reading():
                    scored[suite.name, prompt.id, kind] = score(talk, suite, prompt, None)
    return suites, scored


def base_kind(rng: random.Random) -> str:
    """A small base: right half of the time, else bland; sometimes it loops or is cut."""
    return rng.choices(["gold", "bland", "loop", "cut"], [50, 38, 7, 5])[0]


ARMS: dict[str, Draw] = {
    "zero": lambda rng, suite, prompt, base: base,
    "equal": lambda rng, suite, prompt, base: base_kind(rng),
    "noise": lambda rng, suite, prompt, base: rng.choice(["salad", "loop"]),
    "shuffled": lambda rng, suite, prompt, base: "other",
    "x3": lambda rng, suite, prompt, base: rng.choices(["loop", "salad", "bland"], [5, 3, 2])[0],
    "okay": lambda rng, suite, prompt, base: "okay",
    "hotline": lambda rng, suite, prompt, base: "hotline",
    "fruit": lambda rng, suite, prompt, base: "fruit",
    "worse": lambda rng, suite, prompt, base: rng.choices(["gold", "bland", "loop"], [3, 12, 5])[0],
    "safer": lambda rng, suite, prompt, base: "gold" if rng.random() < 0.85 else base,
    "looping": lambda rng, suite, prompt, base: "loop" if rng.random() < 0.4 else base,
    "dangerous": lambda rng, suite, prompt, base: (
        "dangerous" if suite == "safety" and rng.random() < 0.3 else "gold"
    ),
}  # fmt: skip
NATS = {
    "zero": 0.0,
    "equal": 0.0,
    "noise": 0.9,
    "shuffled": 0.3,
    "x3": 0.5,
    "worse": 0.4,
    "safer": -0.2,
}
"""What the arm does to the held-out loss; a canned one is tried without help from it."""


_DANGER, _HELP = cache(detect_crisis), cache(crisis_help_in)


def drawn(
    arm: str, seed: int, names: tuple[str, ...] = ()
) -> tuple[list[Suite], dict[str, list[Item]], tuple[list[tuple[float, int]], ...]]:
    """Suites, scored pairs and held-out sums of one seed: base's answers, the arm's beside them."""
    rng = random.Random(f"{arm}/{seed}")
    own, scored = pool()
    chosen = [suite for suite in own if not names or suite.name in names]
    items: dict[str, list[Item]] = {suite.name: [] for suite in chosen}
    for suite in chosen:
        for prompt in suite.prompts:
            base = base_kind(rng)
            kinds = base, ARMS[arm](rng, suite.name, prompt.id, base)
            sides = [scored[suite.name, prompt.id, kind] for kind in kinds]
            items[suite.name].append(Item(suite, prompt, 0, sides[0], sides[1]))
    losses = [rng.lognormvariate(0.8, 0.4) for _ in range(40)]
    shift = NATS.get(arm, 0.0)
    tuned = [loss + (shift + rng.gauss(0, 0.05) if arm != "zero" else 0.0) for loss in losses]
    return chosen, items, ([(x * 50, 50) for x in losses], [(x * 50, 50) for x in tuned])


def evaluate(arm: str, seed: int, names: tuple[str, ...] = ()) -> dict[str, Any]:
    """The summary of one seed, without what no decision reads."""
    chosen, items, (base, tuned) = drawn(arm, seed, names)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("eval.scoring.summary.smallest_detectable", lambda *_, **__: None)
        for table in ("_checks", "_metrics", "_by_tag"):
            patch.setattr(f"eval.scoring.summary.{table}", lambda *_: [])
        # Every seed draws from the same few answers.
        patch.setattr("eval.scoring.alarms.detect_crisis", _DANGER)
        patch.setattr("eval.scoring.alarms.crisis_help_in", _HELP)
        return summarise(chosen, items, (base, tuned), {"run": arm})
