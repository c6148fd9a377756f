"""Personas: who writes, what they say in which turn, and how they take what is said to them."""

from __future__ import annotations

import random
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from recipes.runner.core.errors import UserError
from recipes.runner.core.nearest import did_you_mean
from recipes.runner.core.paths import display_path
from recipes.runner.core.yaml_model import Strict, read_model

PERSONAS = Path(__file__).parent / "personas"
SHORTEST, LONGEST = 4, 20  # turns

Risk = Literal["none", "distress", "danger", "other"]
OpensUp = Literal[
    "small_talk", "denial", "refuses_help", "gradual", "blunt", "about_another", "harmless"
]
Topic = Literal[
    "sleep",
    "people",
    "since",
    "work",
    "school",
    "feeling",
    "helps",
    "eating",
    "drinking",
    "music",
    "home",
    "plan",
]
_SLOT = re.compile(r"\{(\w+)\}")


def _one_or_more(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _as_said(value: Any) -> Any:
    """A line alone is short for a mapping that holds nothing but the line."""
    return {"say": value} if isinstance(value, str) else value


Wordings = Annotated[
    tuple[Annotated[str, Field(min_length=1)], ...],
    BeforeValidator(_one_or_more),
    Field(min_length=1),
]


class Beat(Strict):
    """What the person says in one turn of the story, whatever was answered before.

    Attributes:
        say: the line, or several of which the seed picks one; ``{name}`` stands for a fact.
        signal: shows danger that an answer must take up.
        refuses: turns help down.
        wants: facts, given before, that a right answer has to use.
    """

    say: Wordings
    signal: bool = False
    refuses: bool = False
    wants: tuple[str, ...] = ()

    @property
    def must_be_said(self) -> bool:
        """Whether the story does not hold without it; the others give way to a reaction."""
        return bool(self.signal or self.refuses or self.wants or self.slots)

    @property
    def slots(self) -> set[str]:
        """Names of the facts in it."""
        return {name for line in self.say for name in _SLOT.findall(line)}


class Reaction(Strict):
    """A reply to something the assistant did.

    Attributes:
        say: the line, or several of which the seed picks one.
        discloses: owns up to the danger.
    """

    say: Wordings
    discloses: bool = False


Said = Annotated[Beat, BeforeValidator(_as_said)]
Replies = tuple[Annotated[Reaction, BeforeValidator(_as_said)], ...]


class When(Strict):
    """Replies to what the assistant does; of several, the first comes first, each of them once.

    Attributes:
        asked_risk: to the question whether somebody is in danger.
        help: to the name of a line, a service or a person.
        sent_away: to a refusal that offers nothing.
        minimised: to words that play it down.
        repeats: to an answer that was there before, or that loops.
        forgot: to a fact that was wanted and not used; ``{it}`` is the fact.
        asked: to a question about a topic.
    """

    asked_risk: Replies
    help: Replies
    sent_away: Replies
    minimised: Replies
    repeats: Replies
    forgot: str
    asked: dict[Topic, str] = Field(default_factory=dict)


class Persona(Strict):
    """One simulated person.

    Attributes:
        id: its name in results.
        who: age, situation, what lies behind; shown on the page, told to a model that plays it.
        risk: who is in danger: nobody (``none``, or ``distress``: low but safe), the person, or
            somebody else (``other``).
        opens_up: how the danger comes out.
        help: what the person does about help that is offered.
        style: register, spelling, country; told to a model that plays it.
        facts: by name, values of which the seed picks one; ``a|b`` are wordings of one value.
        story: one beat a turn.
        when: reactions.
    """

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    who: str
    risk: Risk
    opens_up: OpensUp
    help: Literal["accepts", "refuses", "ignores"]
    style: str
    facts: dict[str, Annotated[tuple[str, ...], Field(min_length=2)]] = Field(default_factory=dict)
    story: tuple[Said, ...]
    when: When

    @property
    def in_danger(self) -> bool:
        """Whether somebody's life may be at stake, the person's own or another's."""
        return self.risk in ("danger", "other")

    @model_validator(mode="after")
    def _holds_together(self) -> Persona:
        # Lengths are looked at here: pydantic counts faulty rows as missing, and says that first.
        if not SHORTEST <= len(self.story) <= LONGEST:
            turns = f"{SHORTEST} to {LONGEST}"
            raise ValueError(f"the story has {len(self.story)} turns; it takes {turns}")
        for kind in _REPLIES:
            if not getattr(self.when, kind):
                raise ValueError(f"when.{kind} is empty")
        given: set[str] = set()
        for turn, beat in enumerate(self.story, 1):
            for name in (*sorted(beat.slots), *beat.wants):
                self._know(name)
            for name in beat.wants:
                if name not in given or name in beat.slots:
                    raise ValueError(f"turn {turn} wants '{name}', which no turn before it gives")
            given |= beat.slots
        signals = sum(beat.signal for beat in self.story)
        if self.in_danger != bool(signals):
            raise ValueError(f"risk is '{self.risk}', and {signals} turns show danger")
        if "{it}" not in self.when.forgot:
            raise ValueError("when.forgot has no {it}")
        reactions = [
            *(r for name in _REPLIES for r in getattr(self.when, name)),
            *(Reaction(say=(line,)) for line in self.when.asked.values()),
        ]
        for line in (line for reaction in reactions for line in reaction.say):
            for name in _SLOT.findall(line):
                self._know(name)
        return self

    def _know(self, name: str) -> None:
        if name not in self.facts:
            raise ValueError(f"no fact '{name}'. {did_you_mean(name, self.facts, 'Facts')}")


class PersonaFile(Strict):
    """A file of personas."""

    personas: tuple[Persona, ...]


_REPLIES = ("asked_risk", "help", "sent_away", "minimised", "repeats")


@dataclass(frozen=True)
class Fact:
    """A fact of one talk.

    Attributes:
        said: how the person says it.
        right: wordings of it, in lower case.
        wrong: wordings of what it could have been, in lower case.
    """

    said: str
    right: tuple[str, ...]
    wrong: tuple[str, ...]


def draw_facts(persona: Persona, seed: int) -> dict[str, Fact]:
    """The facts of one talk: the same for both arms, others with another seed."""
    picked = random.Random(f"{seed}/{persona.id}/facts")
    facts = {}
    for name, values in persona.facts.items():
        wordings = [value.split("|") for value in values]
        right = wordings.pop(picked.randrange(len(wordings)))
        wrong = [word for others in wordings for word in others]
        facts[name] = Fact(right[0], _lower(right), _lower(wrong))
    return facts


def _lower(words: list[str]) -> tuple[str, ...]:
    return tuple(word.lower() for word in words)


def fill(line: str, facts: dict[str, Fact]) -> str:
    """The line with its facts in place."""
    return _SLOT.sub(lambda slot: facts[slot[1]].said, line)


def load_personas(source: Path | None = None) -> list[Persona]:
    """Every persona of a file, or of a folder's files; default: the ones that are shipped.

    Raises:
        UserError: no such file, a fault in one, with its line, or an id given twice.
    """
    source = source or PERSONAS
    files = sorted(source.glob("*.yaml")) if source.is_dir() else [source]
    if not files or not files[0].is_file():
        raise UserError("holds no personas", display_path(source), "Name a YAML file of personas")
    todo = "Copy one from eval/talks/personas"
    found = [p for path in files for p in read_model(path, PersonaFile, todo).personas]
    if not found:
        raise UserError("holds no personas", display_path(source), todo)
    twice = [name for name, n in Counter(p.id for p in found).items() if n > 1]
    if twice:
        raise UserError(f"two personas are named '{twice[0]}'", display_path(source), "Rename one")
    return found
