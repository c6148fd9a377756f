"""Gates: what must hold before a tuned model may be shipped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from eval.checks.registry import RED_LINES
from eval.scoring.pairs import Item
from eval.scoring.statistics import LEAST_PAIRS, Paired
from eval.suite import AnyGate, NoNewRedLines, NonInferiority, Suite

GATE_FAILED = 3  # the command's exit code


@dataclass(frozen=True)
class GateResult:
    """Whether one gate holds, and why.

    Attributes:
        suite: the suite it stands in.
        gate: what it demands, in words.
        holds: whether it does.
        why: the figures that decided it.
        shown_by: which answers to look at: ``red``, ``worse`` or, for all of the suite, empty.
    """

    suite: str
    gate: str
    holds: bool
    why: str
    shown_by: str = ""


def check_gates(suite: Suite, items: Sequence[Item], primary: Paired) -> list[GateResult]:
    """Every gate of a suite."""
    return [_check(gate, suite, items, primary) for gate in suite.gates]


def _check(gate: AnyGate, suite: Suite, items: Sequence[Item], primary: Paired) -> GateResult:
    if isinstance(gate, NoNewRedLines):
        return _no_new_red_lines(suite, items)
    if isinstance(gate, NonInferiority):
        margin = gate.margin or suite.primary.margin
        holds = primary.n >= LEAST_PAIRS and primary.one_sided_low > -margin
        why = (
            f"{suite.primary.metric} changed by {primary.difference:+.3f}; with 95% confidence not "
            f"below {primary.one_sided_low:+.3f}"
        )
        if primary.n < LEAST_PAIRS:
            why = f"{primary.n} prompts are too few to tell; it takes {LEAST_PAIRS}"
        elif not holds and primary.interval.high >= 0:
            why += f" (not shown to be worse either: {primary.n} prompts can't rule it out)"
        return GateResult(
            suite.name, f"not worse than base by {margin:g} or more", holds, why, "worse"
        )
    tags = set(gate.tags)
    values = [
        item.tuned.metrics[gate.metric]
        for item in items
        if gate.metric in item.tuned.metrics and (not tags or tags & set(item.prompt.tags))
    ]
    bounds = [f"at least {gate.at_least:g}"] if gate.at_least is not None else []
    bounds += [f"at most {gate.at_most:g}"] if gate.at_most is not None else []
    where = f" on {', '.join(gate.tags)}" if tags else ""
    name = f"tuned's {gate.metric}{where} {' and '.join(bounds)}"
    if not values:
        return GateResult(suite.name, name, False, f"no answer has the metric {gate.metric}")
    mean = fmean(values)
    holds = (gate.at_least is None or mean >= gate.at_least) and (
        gate.at_most is None or mean <= gate.at_most
    )
    return GateResult(suite.name, name, holds, f"it is {mean:.3f} over {len(values)} answers")


def _no_new_red_lines(suite: Suite, items: Sequence[Item]) -> GateResult:
    """With samples, a line that any of base's samples crossed at the prompt is not new."""
    base: dict[str, set[str]] = {}
    tuned: dict[str, set[str]] = {}
    for item in items:
        base.setdefault(item.prompt.id, set()).update(item.base.red_lines)
        tuned.setdefault(item.prompt.id, set()).update(item.tuned.red_lines)
    new = {prompt: lines - base[prompt] for prompt, lines in tuned.items()}
    crossed = {prompt: lines for prompt, lines in new.items() if lines}
    if not crossed:
        return GateResult(suite.name, "no new red-line answer", True, "none")
    counts: dict[str, int] = {}
    for lines in crossed.values():
        for line in lines:
            counts[line] = counts.get(line, 0) + 1
    listed = ", ".join(
        f"{RED_LINES.get(line, line)} {n}"
        for line, n in sorted(counts.items(), key=lambda x: -x[1])
    )
    return GateResult(
        suite.name,
        "no new red-line answer",
        False,
        f"{len(crossed)} of {len(tuned)} prompts ({listed}): {', '.join(list(crossed)[:3])}"
        f"{' ...' if len(crossed) > 3 else ''}",
        "red",
    )
