"""talks.html: every talk, base beside tuned, with its lines marked; one file, works offline.

What a model wrote is untrusted: it reaches the page only through the template's escaping.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from eval.checks.registry import RED_LINES, decides
from eval.checks.worth import measured
from eval.report.charts import verdict_class
from eval.report.templating import page_environment
from eval.scoring.danger import HARMFUL, severity_of
from eval.scoring.decision import number_of
from eval.talks.measures import MEASURES, NO_FALSE_ALARM, Mark, ScoredTalk, counted
from eval.talks.outcome import LEAST_SHOWN
from eval.talks.reading import RED_LINES as LINES_READ

TEMPLATES = Path(__file__).parent / "templates"
_REPORT_STYLE = Path(__file__).parents[1] / "report" / "templates" / "report.css"
# Held where they apply, these say something; the others only when they do not hold.
_WORTH_SAYING = ("risk_asked", "help_named", "kept", "context")
_LINE_MARKS = {
    "signal": "shows danger",
    "discloses": "owns up to it",
    "refuses": "turns help down",
    "accepts": "takes help",
    "wants": "wants a fact used",
}
_RISKS = {
    "none": "no danger",
    "distress": "low, but safe",
    "danger": "in danger",
    "other": "somebody else in danger",
}
_CHARTS = 4
_GRAVEST = 3  # answers beside the decision
Piece = tuple[str, str]


def talk_rows(base: Sequence[ScoredTalk], tuned: Sequence[ScoredTalk]) -> list[dict[str, Any]]:
    """Lines of talks.jsonl: one persona each, with both arms' talks and marks."""
    rows = []
    for pair in zip(base, tuned, strict=True):
        persona = pair[0].read.persona
        facts = pair[0].read.talk.facts
        rows.append(
            {
                "id": persona.id,
                "who": persona.who,
                "risk": persona.risk,
                "opens_up": persona.opens_up,
                "help": persona.help,
                "facts": {name: fact.said for name, fact in facts.items()},
                "base": _side(pair[0]),
                "tuned": _side(pair[1]),
            }
        )
    return rows


def _side(talk: ScoredTalk) -> dict[str, Any]:
    marks = [
        {name: {"holds": mark.holds, "words": mark.words} for name, mark in counted(turn).items()}
        for turn in talk.marks
    ]
    crossed = [sorted(heard.crossed) for heard in talk.read.heard]
    return {
        **talk.read.talk.to_json(),
        "marks": marks,
        "red_lines": sorted({name for names in crossed for name in names}),
        "crossed": crossed,
    }


def render_talks(summary: dict[str, Any], rows: Sequence[dict[str, Any]]) -> str:
    """The whole page, the talks that need reading most first.

    Args:
        summary: content of summary.json.
        rows: lines of talks.jsonl.
    """
    environment = page_environment(TEMPLATES)
    environment.filters["verdict_class"] = verdict_class
    environment.globals["number_of"] = number_of
    environment.filters["capitalize_first"] = lambda text: text[:1].upper() + text[1:]
    talks = sorted((_talk(row) for row in rows), key=lambda talk: talk["order"])
    gravest = sorted(
        (talk for talk in talks if talk["gravest"]),
        key=lambda talk: (not talk["at_stake"], -talk["gravest"]["severity"]),
    )
    drawn = charts(summary)
    return environment.get_template("talks.html.j2").render(
        summary=summary,
        decision=summary["decision"],
        counts=_counted_lines(summary),
        doubted=_doubted(summary),
        talks=talks,
        gravest=gravest[:_GRAVEST],
        charts=drawn,
        alarm_chart=_alarm_chart(summary, drawn),
        few=summary["talks"] < LEAST_SHOWN,
        risks=_RISKS,
        style=_REPORT_STYLE.read_text(encoding="utf-8"),
        own_style=(TEMPLATES / "talks.css").read_text(encoding="utf-8"),
    )


def counts_said(summary: dict[str, Any]) -> list[str]:
    """Absolute figures in words: red lines, who is named no help, alarms, and what checks err."""
    return [*_counted_lines(summary), *_doubted(summary)]


def _counted_lines(summary: dict[str, Any]) -> list[str]:
    said = []
    for arm, lines in summary["red_lines"].items():
        listed = ", ".join(f"{line} {n}" for line, n in lines.items())
        every = sum(lines.values())
        said.append(f"red lines crossed, {arm}: {every}{f' ({listed})' if listed else ''}")
    unhelped = summary["unhelped"]
    if unhelped["of"]:
        said.append(
            f"of {number_of(unhelped['of'], 'person')} in danger, base names no help at any hour "
            f"to {unhelped['base']} in the whole talk, tuned to {unhelped['tuned']}"
        )
    alarms = summary["false_alarms"]
    if alarms["of"]:
        said.append(
            f"false alarms with {number_of(alarms['of'], 'person')} in no danger: "
            f"base {_alarms_of(alarms['base'])}, tuned {_alarms_of(alarms['tuned'])}"
        )
    return said


def _alarms_of(arm: dict[str, int]) -> str:
    people = f" (to {number_of(arm['people'], 'person')})" if arm["people"] else ""
    return f"{arm['answers']}{people}"


def _doubted(summary: dict[str, Any]) -> list[str]:
    """On the red lines crossed whose checks may not decide: what each is worth, a line each."""
    crossed = {line for lines in summary["red_lines"].values() for line in lines}
    found = []
    for name in LINES_READ:
        line = RED_LINES.get(name, name)
        if line in crossed and not decides(name):
            worth = measured().get(name, "was not measured")
            found.append(f"\u201c{line}\u201d: its check {worth}")
    if not found:
        return []
    err, these = ("errs", "This check") if len(found) == 1 else ("err", "These checks")
    inform = "informs" if len(found) == 1 else "inform"
    return [f"{these} {err} too often to decide and only {inform}, so read the answers", *found]


def _talk(row: dict[str, Any]) -> dict[str, Any]:
    """A row with its turns side by side, and its place in the order of reading."""
    new = set(row["tuned"]["red_lines"]) - set(row["base"]["red_lines"])
    broken = {arm: _broken(row[arm]) for arm in ("base", "tuned")}
    at_stake = row["risk"] in ("danger", "other")
    turns = [
        {arm: _turn(row[arm], turn, row["facts"]) for arm in ("base", "tuned")}
        for turn in range(len(row["base"]["lines"]))
    ]
    return {
        **row,
        "turns": turns,
        "broken": broken,
        "marked": {arm: sum(map(len, row[arm]["marks"])) for arm in ("base", "tuned")},
        "new_red_lines": sorted(RED_LINES.get(name, name) for name in new),
        "gravest": _gravest(row["tuned"]),
        "at_stake": at_stake,
        "order": (
            not (at_stake and row["tuned"]["red_lines"]),
            broken["base"] - broken["tuned"],
            row["id"],
        ),
    }


def _broken(side: dict[str, Any]) -> int:
    """How many marks of a talk do not hold."""
    return sum(not mark["holds"] for marks in side["marks"] for mark in marks.values())


def _gravest(side: dict[str, Any]) -> dict[str, Any] | None:
    """The answer of a talk that can do most harm, with what it answers; None without such a one."""
    found = [
        (severity_of(name), -turn, name)
        for turn, names in enumerate(side["crossed"])
        for name in names
    ]
    severity, place, name = max(found, default=(0, 0, ""))
    if severity < HARMFUL:
        return None
    return {
        "severity": severity,
        "turn": 1 - place,
        "line": RED_LINES.get(name, name),
        "said": side["lines"][-place]["text"],
        "answer": side["answers"][-place]["text"],
    }


def _turn(side: dict[str, Any], turn: int, facts: dict[str, str]) -> dict[str, Any]:
    line, answer = side["lines"][turn], side["answers"][turn]
    marks = {name: Mark(**mark) for name, mark in side["marks"][turn].items()}
    tags = [_LINE_MARKS[name] for name in line["marks"] if name in _LINE_MARKS]
    if line["wants"]:
        wanted = ", ".join(f"{name}: {facts[name]}" for name in line["wants"])
        tags = [f"wants used: {wanted}" if tag == _LINE_MARKS["wants"] else tag for tag in tags]
    return {
        "line": line["text"],
        "line_tags": tags,
        "pieces": pieces(answer["text"], marks),
        "tags": [
            {"title": measure.title, "holds": mark.holds, "words": mark.words}
            for measure in MEASURES
            if (mark := marks.get(measure.name))
            and (not mark.holds or measure.name in _WORTH_SAYING)
        ],
        "cut": not answer["stopped"],
    }


def pieces(text: str, marks: dict[str, Mark]) -> list[Piece]:
    """The answer in pieces of (text, kind): ``good``, ``bad``, or empty where nothing is marked."""
    spans: list[tuple[int, int, str]] = []
    # What is wrong is marked first; where two marks overlap, the first one stays.
    for mark in sorted(marks.values(), key=lambda mark: mark.holds):
        words = re.findall(r"\w+", mark.words.split(": ", 1)[-1])
        pattern = r"\W+".join(map(re.escape, words))
        for found in re.finditer(pattern, text, re.IGNORECASE) if words else ():
            span = (*found.span(), "good" if mark.holds else "bad")
            if all(span[1] <= start or end <= span[0] for start, end, _ in spans):
                spans.append(span)
    cut, done = [], 0
    for start, end, kind in sorted(spans):
        cut += [(text[done:start], ""), (text[start:end], kind)]
        done = end
    return [piece for piece in [*cut, (text[done:], "")] if piece[0]]


def charts(summary: dict[str, Any]) -> list[dict[str, Any]]:
    """The measures that changed by more than chance, the clearest first; else all marks."""
    shown = [
        row
        for row in summary["measures"]
        if row["change"] and row["change"]["shown"] and not row["sums_up"]
    ]
    shown.sort(key=lambda row: (not row["change"]["worse"], row["change"]["p"]))
    if not shown:
        return [{"title": "All marks", "svg": by_turn_chart(summary["by_turn"])}]
    return [{"title": r["title"], "svg": by_turn_chart(r["by_turn"])} for r in shown[:_CHARTS]]


def _alarm_chart(summary: dict[str, Any], drawn: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """False alarms by turn, where there are any that the charts drawn don't show."""
    there = any(summary["false_alarms"][arm]["answers"] for arm in ("base", "tuned"))
    titles = {chart["title"] for chart in drawn}
    return [
        {"title": row["title"], "svg": by_turn_chart(row["by_turn"])}
        for row in summary["measures"]
        if there and row["name"] == NO_FALSE_ALARM and row["title"] not in titles
    ]


def by_turn_chart(by_turn: dict[str, list[float | None]]) -> Markup:
    """Share of marks that hold, by turn, one line an arm; turns without a share are passed over."""
    left, top, width, height = 46, 12, 400, 170
    last = max(map(len, by_turn.values()))

    def at(index: int, value: float) -> tuple[float, float]:
        return left + width * index / max(last - 1, 1), top + height * (1 - value)

    parts = [f'<rect class="frame" x="{left}" y="{top}" width="{width}" height="{height}"/>']
    for value in (1.0, 0.5, 0.0):
        parts.append(_label(left - 6, at(0, value)[1] + 4, f"{value:.0%}", "end"))
    for turn in range(1, last + 1, 1 if last < 8 else 3):
        parts.append(_label(at(turn - 1, 0)[0], top + height + 18, str(turn), "middle"))
    parts.append(_label(left + width / 2, top + height + 36, "turn", "middle"))
    said = []
    for arm, kind in (("base", "train"), ("tuned", "held")):
        known = [(index, value) for index, value in enumerate(by_turn[arm]) if value is not None]
        points = [at(index, value) for index, value in known]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline class="curve {kind}" points="{line}"/>')
        parts += [
            f'<circle class="mark {kind}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in points
        ]
        end = top + 18 + 20 * (arm == "tuned")
        parts.append(
            f'<text class="legend {kind}" x="{left + width + 10}" y="{end}">{escape(arm)}</text>'
        )
        if known:
            said.append(f"{arm} from {known[0][1]:.0%} to {known[-1][1]:.0%}")
    return Markup(
        f'<svg class="curves" viewBox="0 0 {left + width + 64} {top + height + 44}" role="img" '
        f'aria-label="Share of marks that hold, by turn: {escape("; ".join(said))}">'
        f"{''.join(parts)}</svg>"
    )


def _label(x: float, y: float, words: str, anchor: str) -> str:
    return (
        f'<text class="tick" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'
    )
