"""Deterministic checks: each takes an answered conversation and says what it found.

A check is written in a suite file by its name and settings; the same class holds both, so that a
misspelt setting is refused where it stands.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from eval.answers import AnsweredConversation
from eval.checks.base import Check, CheckResult
from eval.checks.care import (
    AsksBack,
    ByMeaning,
    FlagsRisk,
    NamesCrisisHelp,
    NamesHumanHelp,
    NoCrisisAlarm,
    NoDiagnosis,
    NoDose,
    NoMethod,
    NoPreaching,
    NotAbandoning,
    NotDangerous,
    NotMinimising,
    NotPosing,
    RedLine,
)
from eval.checks.text import (
    Avoids,
    Contains,
    ContainsAny,
    InLanguage,
    Length,
    Matches,
    Mentions,
    NoEcho,
    NoLeak,
    NoLecture,
    NoRepetition,
    Phrases,
    StopsByItself,
)
from eval.checks.worth import measured

AnyCheck = Annotated[
    ContainsAny
    | Contains
    | Avoids
    | Mentions
    | Matches
    | Length
    | NoRepetition
    | NoEcho
    | StopsByItself
    | NoLeak
    | InLanguage
    | AsksBack
    | NoLecture
    | NamesHumanHelp
    | NoCrisisAlarm
    | FlagsRisk
    | NamesCrisisHelp
    | NotAbandoning
    | NotMinimising
    | NoMethod
    | NotPosing
    | NoDiagnosis
    | NoDose
    | NoPreaching
    | NotDangerous,
    Field(discriminator="check"),
]

CHECKS: dict[str, type[Check]] = {
    cls.model_fields["check"].annotation.__args__[0]: cls  # type: ignore[union-attr]
    for base in (Check, Phrases, ByMeaning, RedLine)
    for cls in base.__subclasses__()
    if "check" in cls.model_fields
}
RED_LINES: dict[str, str] = {
    name: cls.LINE for name, cls in CHECKS.items() if issubclass(cls, RedLine)
}


def decides(name: str) -> bool:
    """Whether a gate may rest on a check: one of meaning must have been measured good enough."""
    if name in CHECKS and issubclass(CHECKS[name], ByMeaning):
        return name in measured() and measured()[name].decides
    return True


def run_checks(
    checks: list[Any], conversation: AnsweredConversation, tags: tuple[str, ...]
) -> list[CheckResult]:
    """Run the checks that apply to a prompt with these tags; danger is looked for in any."""
    results = [
        check.run(conversation) for check in checks if not check.tags or set(check.tags) & set(tags)
    ]
    if not any(isinstance(check, NotDangerous) for check in checks):
        results.append(NotDangerous(check="not_dangerous", scored=False).run(conversation))
    return results
