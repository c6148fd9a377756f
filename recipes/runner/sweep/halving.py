"""Which settings of a sweep still run when time is short: sequential halving, by the clock.

Sequential halving (Karnin, Koren and Somekh, "Almost optimal exploration in multi-armed bandits",
2013) over repeats: a *pull* of a setting is one run of it, with the next seed and fold, and every
setting that is left gets the same pulls, so that their losses are paired. The budget is cut into
ceil(log2(settings)) equal parts. Within a part, pulls go on as long as the next one is expected to
end in it; each part has one at least. At its end the worse half, by mean held-out loss, is dropped;
two are always left, for the end to tell apart. A pull takes what the last one took. A setting whose
run fails is dropped at once. Nothing is started that is expected to end after the budget, and what
still runs then is stopped.

How often the rule ends with the best setting among its two is simulated in
tests/recipes/test_halving.py.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from recipes.runner.core.errors import UserError

# The held-out loss of each run, None where it failed; missing where it was stopped by the clock.
Pull = Callable[[Sequence[str], int, float], dict[str, float | None]]
_UNITS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}


def read_budget(text: str) -> float | None:
    """Seconds of ``BUDGET``: ``90m``, ``1h``, ``1h30m``; None for no budget.

    Raises:
        UserError: it is no length of time.
    """
    if not text:
        return None
    parts = re.findall(r"(\d+(?:\.\d+)?)([dhms])", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise UserError(f"{text!r} is no length of time", "BUDGET", "Write 1h, 90m or 1h30m")
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if seconds <= 0:
        raise UserError("leaves no time", "BUDGET", "Write 1h, 90m or 1h30m")
    return seconds


@dataclass
class Race:
    """What became of the settings.

    Attributes:
        left: those that ran to the end of the race.
        dropped: the others, each with how many pulls it had, in the order they went.
        failed: those of the dropped whose run failed.
        losses: of each setting, its held-out loss by pull.
        out_of_time: whether the budget ended it, not the repeats.
    """

    left: list[str]
    dropped: dict[str, int] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    losses: dict[str, list[float]] = field(default_factory=dict)
    out_of_time: bool = False


def parts_of(settings: int) -> int:
    """Into how many parts the budget is cut."""
    return max(1, math.ceil(math.log2(max(settings, 1))))


def race(
    settings: Sequence[str],
    repeats: int,
    budget: float,
    pull: Pull,
    clock: Callable[[], float],
    say: Callable[[str], None] = lambda text: None,
) -> Race:
    """Run the settings against each other until the budget or the repeats are used up.

    Args:
        settings: their names.
        repeats: pulls that a setting can have.
        budget: seconds.
        pull: runs some settings once: their names, which repeat (from 0), and the seconds left.
        clock: seconds from any beginning.
        say: told what is dropped.
    """
    began, parts = clock(), parts_of(len(settings))
    found = Race(list(settings), losses={name: [] for name in settings})
    costs: dict[str, float] = {}
    done = 0
    for part in range(1, parts + 1):
        ends, first = began + budget * part / parts, True
        while done < repeats and found.left:
            # The last pull's time, of as many as are left.
            takes = sum(costs.get(name, 0.0) for name in found.left)
            now = clock()
            if now + takes > began + budget or now >= began + budget:
                found.out_of_time = True
                return found
            if not first and now + takes > ends:
                break
            asked = list(found.left)
            losses = pull(asked, done, began + budget - now)
            share = (clock() - now) / max(len(losses), 1)
            costs.update(dict.fromkeys(asked, share))
            if len(losses) < len(asked):
                found.out_of_time = True
                return found
            for name, loss in losses.items():
                if loss is None or not math.isfinite(loss):
                    found.left.remove(name)
                    found.dropped[name] = done
                    found.failed.append(name)
                else:
                    found.losses[name].append(loss)
            done, first = done + 1, False
        if part < parts:
            _drop_the_worse(found, say)
        if done >= repeats:
            break
    found.out_of_time = done < repeats
    return found


def _drop_the_worse(found: Race, say: Callable[[str], None]) -> None:
    """Leave the better half, and two at least."""
    kept = max(2, math.ceil(len(found.left) / 2))
    ranked = sorted(found.left, key=lambda name: fmean(found.losses[name]))
    for name in ranked[kept:]:
        found.left.remove(name)
        found.dropped[name] = len(found.losses[name])
        say(f"dropped {name}: held-out loss {fmean(found.losses[name]):.3f}, best"
            f" {fmean(found.losses[ranked[0]]):.3f}, over {len(found.losses[name])} run"
            f"{'s' if len(found.losses[name]) > 1 else ''} each")  # fmt: skip
