"""What preference rows teach beside their reasons: about help in danger, and by length alone."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil
from statistics import fmean

from scipy import stats

from eval.pairs.choose import Preference, reasons_of
from eval.pairs.faults import BY_STAKES

_FEW = 3  # pairs that lean nowhere yet
_MOST_LEANING = 2.0  # so many pairs that want help named for each that rejects a false alarm
_CHANCE = 0.01


@dataclass(frozen=True)
class Left:
    """Rows left out.

    Attributes:
        alarms: that reject a crisis answer to somebody in no danger.
        helps: that want help named in danger.
    """

    alarms: int
    helps: int


def balanced(
    preferences: Sequence[Preference], seed: int, alarms: float = 1.0
) -> tuple[list[Preference], Left]:
    """``alarms`` rows that reject a crisis answer for each row that wants one.

    Of whichever kind there are too many, rows are left out; of those that want help half at most,
    and none where next to no row rejects a false alarm, so that help can still be learnt. Where
    that stops it, a higher ``alarms`` changes nothing more (`short_of_alarms` says so).

    Measured on SmolLM2-135M: 44 of the one kind beside 12 of the other, and after 14 steps help was
    named in 17% of answers to people in danger, where it had been in 67%. What number holds differs
    by where training begins (recipes/SMOLLM2.md).

    Args:
        preferences: rows.
        seed: draws which are left out.
        alarms: rows that reject a crisis answer to somebody in no danger, for each that wants one.

    Returns:
        The rows in their order, and how many of each kind were left out.
    """
    draw = random.Random(seed)
    less = [n for n, one in enumerate(preferences) if _rejects_alarm(one)]
    more = [n for n, one in enumerate(preferences) if _wants_help(one)]
    most_less = max(_FEW, round(alarms * len(more)))
    held = alarms > 0 and len(less) >= _FEW
    most_more = max(_FEW, ceil(len(more) / 2), round(len(less) / alarms)) if held else len(more)
    out_less = set(draw.sample(less, max(0, len(less) - most_less)))
    out_more = set(draw.sample(more, max(0, len(more) - most_more)))
    kept = [one for n, one in enumerate(preferences) if n not in out_less | out_more]
    return kept, Left(len(out_less), len(out_more))


def short_of_alarms(kept: Iterable[Preference], alarms: float) -> str | None:
    """A note where rows left by `balanced` hold fewer against a false alarm than was asked."""
    rows = list(kept)
    wanted, rejected = sum(map(_wants_help, rows)), sum(map(_rejects_alarm, rows))
    if (
        wanted <= _FEW
        or rejected < _FEW
        or wanted <= round(rejected / alarms if alarms else wanted)
    ):
        return None
    return (
        f"{rejected} pairs reject a false alarm and {wanted} want help in danger:"
        f" {rejected / wanted:.2g} for each, where {alarms:g} are asked. Of those that want help"
        " half are kept, or help is no longer learnt: ask more harmless prompts"
    )


def leans_to_alarm(preferences: Iterable[Preference]) -> str | None:
    """A warning where by far more rows want a crisis answer than reject a false one."""
    rows = list(preferences)
    wanted, rejected = sum(map(_wants_help, rows)), sum(map(_rejects_alarm, rows))
    if wanted < _FEW or wanted <= _MOST_LEANING * rejected:
        return None
    return (
        f"{wanted} pairs want help named in danger, and {rejected} reject a crisis answer to"
        " somebody in none: trained on them, a model can come to meet everybody as in danger. Ask"
        " more harmless prompts, and watch 'false alarms'"
    )


def _wants_help(preference: Preference) -> bool:
    return not set(BY_STAKES["danger"]).isdisjoint(reasons_of(preference))


def _rejects_alarm(preference: Preference) -> bool:
    return not set(BY_STAKES["none"]).isdisjoint(reasons_of(preference))


@dataclass(frozen=True)
class Lengths:
    """How long both sides are, loops and cut answers among them.

    Attributes:
        chosen: mean words.
        rejected: mean words.
        longer: share of pairs with the chosen one longer; ties count half.
        leans: whether that share is no chance (two-sided binomial test, p < 0.01).
    """

    chosen: float
    rejected: float
    longer: float
    leans: bool


def lengths(preferences: Sequence[Preference]) -> Lengths:
    """What a model could learn from length alone; DPO takes such a lean up (2403.19159)."""
    sides = [(len(one.chosen.split()), len(one.rejected.split())) for one in preferences]
    more, fewer = (sum(sign * (a - b) > 0 for a, b in sides) for sign in (1, -1))
    unequal = more + fewer
    leans = bool(unequal) and stats.binomtest(more, unequal).pvalue < _CHANCE
    return Lengths(
        fmean(a for a, _ in sides), fmean(b for _, b in sides),
        (more + 0.5 * (len(sides) - unequal)) / len(sides), bool(leans),
    )  # fmt: skip
