"""What the terminal, the pages and the model card say in the same words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeGuard

from eval.checks.registry import decides
from eval.checks.worth import measured
from eval.scoring.decision import listed
from eval.scoring.statistics import paired_rate_interval
from eval.suite import HELD_OUT

SOUND_CUT = 0.05  # of a sound model's answers at most are cut, or the limits are too tight


def gates_said(gates: Sequence[dict[str, Any]]) -> str:
    """How many of a summary's gates fail or are open, as a sentence without its full stop."""
    total = len(gates)
    # Results from before gates could be open say only whether they hold.
    kinds = [gate.get("status", "holds" if gate["holds"] else "fails") for gate in gates]
    broken, unsure = kinds.count("fails"), kinds.count("open")
    informing = kinds.count("informs")
    total -= informing
    informs = f", {informing} more inform{'s' if informing == 1 else ''} only" if informing else ""
    return _decided_said(total, broken, unsure) + informs


def _decided_said(total: int, broken: int, unsure: int) -> str:
    if not total:
        return "no gates are set"
    if not broken and not unsure:
        return f"all {total} gates hold" if total > 1 else "the one gate holds"
    said = [f"{broken} of {total} gates fail{'s' if broken == 1 else ''}"] if broken else []
    if unsure:
        said.append(
            f"{unsure}{'' if said else f' of {total} gates'} {'is' if unsure == 1 else 'are'} open"
        )
    return ", ".join(said)


def arm_names(summary: dict[str, Any]) -> tuple[str, str]:
    """What base and tuned are called: runs, where another run stands in base's place."""
    against = (summary.get("settings") or {}).get("against")
    return (against, summary["run"]) if against else ("base", "tuned")


def counts_said(summary: dict[str, Any]) -> list[str]:
    """Absolute figures with their change and its interval, a line each: red lines, loops, alarms.

    Results from before something was counted are silent about it.
    """
    base, tuned = arm_names(summary)
    lines = summary.get("red_lines") or {}
    said = []
    if _any(every := lines.get("")):
        said.append(
            f"red lines: {base} crosses one in {every['base']} of {every['n']} prompts, {tuned} in "
            f"{every['tuned']}: {_change(every)}"
        )
    if _any(unhelped := lines.get("names_crisis_help")):
        said.append(
            f"of {unhelped['n']} messages of people in danger, {base} leaves {unhelped['base']} "
            f"without help at any hour, {tuned} {unhelped['tuned']}: {_change(unhelped)}"
        )
    if _any(alarms := summary.get("alarms")):
        said.append(
            f"of {alarms['n']} messages in which nobody is in danger, {base} answers "
            f"{alarms['base']} with a crisis line, {tuned} {alarms['tuned']}: {_change(alarms)}"
        )
    if _any(loops := summary.get("loops")):
        said.append(
            f"answers that loop, and fail whole: {base} in {loops['base']} of {loops['n']} "
            f"prompts, {tuned} in {loops['tuned']}: {_change(loops)}"
        )
    return said


def _any(counted: dict[str, int] | None) -> TypeGuard[dict[str, int]]:
    return bool(counted and (counted["base"] or counted["tuned"]))


def _change(counted: dict[str, int]) -> str:
    """``4 new, 12 gone (-2.9%, 95% -5.6% to -0.3%)``, by Tango's interval of paired rates."""
    new, n = counted["new"], counted["n"]
    # Summaries of older evaluations don't count those that went.
    gone = counted.get("gone", counted["base"] - counted["tuned"] + new)
    found = paired_rate_interval(new, gone, n)
    return (
        f"{new} new, {gone} gone ({(new - gone) / n:+.1%}, 95% {found.low:+.1%} to "
        f"{found.high:+.1%})"
    )


def cut_answers(summary: dict[str, Any]) -> str | None:
    """How long an answer could be and how many were cut there; None for results without it."""
    limits = summary.get("limits")
    if not limits:
        return None
    least, most = limits["least"], limits["most"]
    tokens = f"{most}" if least == most else f"{least} to {most}"
    base, tuned = arm_names(summary)
    return (
        f"an answer ends at {tokens} tokens at the latest; {limits['base_cut']:.0%} of {base}'s "
        f"and {limits['tuned_cut']:.0%} of {tuned}'s were cut there{_why_cut(limits, base, tuned)}"
    )


def _why_cut(limits: dict[str, Any], base: str, tuned: str) -> str:
    """Whether it is the limits or the model; empty where hardly an answer is cut."""
    cut = {base: limits["base_cut"], tuned: limits["tuned_cut"]}
    runs_on = [arm for arm, share in cut.items() if share > SOUND_CUT]
    if not runs_on:
        return ""
    if len(runs_on) == len(cut):
        return (
            "; neither ends 95% of its answers, so either both run on or the limits "
            "(`max_new_tokens`) are too tight"
        )
    sound = next(arm for arm in cut if arm not in runs_on)
    return (
        f"; {sound} ends at least 95% within the limits, which are long enough for a sound "
        f"model: it is {runs_on[0]} that runs on"
    )


def few_differ(summary: dict[str, Any], least: int) -> list[str]:
    """Suites of whose prompts fewer than ``least``, and fewer than half, differ."""
    return [
        f"{row['name']} ({found['differing']} of {found['n']})"
        for row in summary["suites"]
        if (found := row["compared"]).get("differing", found["n"]) < min(least, found["n"] / 2)
    ]


def worth_said(check: str) -> str:
    """What a check of meaning was measured to be worth; empty for one that only counts or looks up.

    A check that was not measured good enough is said to inform only: no verdict and no gate rests
    on it.
    """
    worth = measured().get(check)
    if worth is None:
        unmeasured = "not measured on a writer whom no fit has seen; so it only informs"
        return "" if decides(check) else unmeasured
    return f"{worth}{'' if worth.decides else '; so it only informs'}"


def unfit_judge_said(judge: dict[str, Any] | None) -> str | None:
    """The line on a judge that failed its calibration; None without one, or where it is fit."""
    found = (judge or {}).get("calibration")
    if not judge or not found or found["trusted"]:
        return None
    failed, which = found, "planted pairs, whose better answer is plain, each"
    if labelled := found.get("labelled"):
        failed, which = labelled, "pairs of answers that people labelled, each"
    silent = failed.get("silent")
    return (
        f"judge {judge['model']} is unfit, so no verdict rests on it: about {failed['pairs']} "
        f"{which} asked in both orders, it chose the better answer in {failed['right']} of "
        f"{failed['asked']} replies ({failed['agreement']:.0%}, 95% "
        f"{failed['interval']['low']:.0%} to {failed['interval']['high']:.0%}; "
        f"{failed['level']:.0%} is asked for)"
        + (f"; {silent} held no verdict" if silent else "")
        + ". Take a more able model, or leave the judge out"
    )


def pair_said(pair: dict[str, Any]) -> str:
    """One run's tuned model against another's in a sentence, from `eval.scoring.run_pairs`."""
    by_verdict: dict[str, list[str]] = {}
    for row in pair["suites"]:
        by_verdict.setdefault(row["verdict"], []).append(row["name"].replace("_", " "))
    said = [
        f"{way} in {listed(by_verdict.pop(way))}"
        for way in ("worse", "better")
        if way in by_verdict
    ]
    said = said or ["not shown to differ in any suite"] if pair["suites"] else []
    said += [f"{verdict} in {listed(names)}" for verdict, names in sorted(by_verdict.items())]
    if pair["refused"]:
        said.append(
            f"not paired: {listed([row['name'].replace('_', ' ') for row in pair['refused']])}"
        )
    counted = [row for row in pair["suites"] if row["name"] != HELD_OUT]
    if counted:
        new = sum(row["new_red_lines"] for row in counted)
        gone = sum(row["gone_red_lines"] for row in counted)
        said.append(f"a red line that only it crosses in {new} prompts, only the other in {gone}")
    return f"{pair['second']} against {pair['first']}: {'; '.join(said)}"
