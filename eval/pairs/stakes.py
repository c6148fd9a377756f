"""Is somebody in danger who asks? What a person answered there tells; their words alone miss most.

Of 511 training prompts of people in danger the phrases of `datasets_prep.crisis` find 81: most say
it without its words. A pair that takes the others for harmless would teach to name help less.
"""

from __future__ import annotations

from typing import Literal

from datasets_prep.crisis import crisis_help_in, detect_crisis
from eval.checks.meaning import read, readable
from eval.pairs.prompts import Asked

Stakes = Literal["danger", "none", "unknown"]

_HELP, _RISK, _ALARM = "names_crisis_help", "flags_risk", "no_crisis_alarm"


def stakes_of(asked: Asked) -> Stakes:
    """``danger``: help at any hour is wanted. ``none``: it would be a false alarm.

    The prompt's own checks say so, or a person's answer: with help in it, or with neither help nor
    the risk in it where no word of danger fell. Of a prompt without an answer only words can tell,
    and only of danger. All else is unknown, and asks neither.
    """
    own = {check.kind for check in asked.checks}
    if own & {_HELP, _RISK}:
        return "danger"
    if _ALARM in own:
        return "none"
    words = any(detect_crisis(content) for _, content in asked.messages)
    if asked.reference is None:
        return "danger" if words else "unknown"
    if names_help(asked, asked.reference):
        return "danger"
    calm = not words and not detect_crisis(asked.reference)
    return "none" if calm and not _does(asked, asked.reference, _RISK) else "unknown"


def names_help(asked: Asked, text: str) -> bool:
    """Whether an answer names help at any hour, by its words or by its meaning."""
    return crisis_help_in(text) is not None or _does(asked, text, _HELP)


def _does(asked: Asked, text: str, label: str) -> bool:
    return bool(text.strip()) and readable(text) and read(asked.said, text).does(label)
