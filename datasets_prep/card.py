"""The card of a data set: ``card.md`` and ``card.html``, one file each, no network."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from datasets_prep.conversation import turns_of
from datasets_prep.definition import Definition
from datasets_prep.split import SPLITS
from datasets_prep.steps import NAMES, STEPS
from datasets_prep.tally import Tally
from datasets_prep.token_lengths import Tokens

_TEMPLATES = Path(__file__).parent / "templates"
_WHAT = {step.name: step.what for step in STEPS}


@dataclass
class CardFacts:
    """Everything a card shows."""

    definition: Definition
    source: str
    tally: Tally
    written: list[int]
    turns: list[int]
    topics: dict[str, list[int]]
    examples: list[dict[str, Any]]
    tokens: Tokens | None
    unproven: str | None
    warnings: list[str]
    shares: list[dict[str, Any]] = field(default_factory=list)

    def steps(self) -> list[dict[str, Any]]:
        """A line a step: rows in, dropped, changed and out."""
        rows = self.tally.read
        lines = []
        for step in NAMES:
            dropped = self.tally.dropped[step]
            changed = self.tally.changed[step]
            lines.append(
                {
                    "step": step,
                    "what": _WHAT[step],
                    "in": rows,
                    "dropped": dropped,
                    "changed": changed,
                    "out": rows - dropped,
                    "on": self._is_on(step),
                    **self._flow(step),
                }
            )
            rows -= dropped
        return lines

    def _flow(self, step: str) -> dict[str, int | None]:
        """Turns, words and trained tokens left after a step; None where nothing is counted yet.

        Tokens are estimated from the assistant's words, at the ratio that the proof measured.
        """
        counts = self.tally.flow.get(step)
        if counts is None or not counts[0]:
            return {"turns": None, "words": None, "tokens": None}
        turns, words, spoken = counts
        last = self.tally.flow.get("prove", [0, 0, 0])[2]
        trained = self.tokens.trained if self.tokens else 0
        tokens = round(trained * spoken / last) if trained and last else None
        return {"turns": turns, "words": words, "tokens": tokens}

    def _is_on(self, step: str) -> bool:
        if step == "prove" and self.tokens is None:
            return False
        return bool(getattr(self.definition.steps, step, True))


def write_cards(folder: Path, facts: CardFacts) -> None:
    """Write ``card.md`` and ``card.html`` into a folder."""
    values = {
        "definition": facts.definition,
        "source": facts.source,
        "tally": facts.tally,
        "kept": facts.tally.read - sum(facts.tally.dropped.values()),
        "steps": facts.steps(),
        "reasons": sorted(
            facts.tally.reasons.items(), key=lambda r: (NAMES.index(r[0][0]), -r[1], r[0])
        ),
        "whole": facts.tally.whole,
        "shown": sorted(facts.tally.shown.items(), key=lambda s: (NAMES.index(s[0][0]), s[0][1])),
        "shares": facts.shares,
        "unused": sorted(facts.tally.unused),
        "unused_keys": sorted(facts.tally.unused_keys),
        "masked": sorted(facts.tally.masked.items(), key=lambda m: (-m[1], m[0])),
        "splits": list(zip(SPLITS, facts.written, facts.turns, strict=True)),
        "topics": sorted(facts.topics.items(), key=lambda t: (-sum(t[1]), t[0])),
        "examples": facts.examples,
        "tokens": facts.tokens,
        "unproven": facts.unproven,
        "warnings": facts.warnings,
        "split_names": SPLITS,
    }
    for name in ("card.md", "card.html"):
        environment = Environment(
            loader=FileSystemLoader(_TEMPLATES),
            autoescape=name.endswith(".html"),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        environment.filters["cell"] = _cell
        environment.filters["quote"] = _quote
        environment.filters["count"] = _count
        environment.filters["turns"] = _turns
        text = environment.get_template(f"{name}.jinja").render(values)
        (folder / name).write_text(text, encoding="utf-8")


def _cell(value: object) -> str:
    """Text that cannot break out of a Markdown table, nor be read as HTML."""
    text = " ".join(str(value).split())
    for mark, escaped in (
        ("&", "&amp;"),
        ("<", "&lt;"),
        (">", "&gt;"),
        ("|", "\\|"),
        ("](", "]\\("),
    ):
        text = text.replace(mark, escaped)
    return text


def _turns(row: dict[str, Any]) -> list[dict[str, Any]]:
    """All turns of a row, a rejected answer under its name."""
    rejected = [{**row["rejected"], "role": "rejected"}] if "rejected" in row else []
    return [*turns_of(row), *rejected]


def _count(value: int | None) -> str:
    """A number with its thousands apart; nothing where nothing was counted."""
    return "" if value is None else f"{value:,}"


def _quote(value: str) -> str:
    """Text as a Markdown block quote, with no live HTML in it."""
    return "\n".join("> " + _cell(line) for line in value.splitlines())
