"""The card of a data set: ``card.md`` and ``card.html``, one file each, no network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

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
                }
            )
            rows -= dropped
        return lines

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


def _quote(value: str) -> str:
    """Text as a Markdown block quote, with no live HTML in it."""
    return "\n".join("> " + _cell(line) for line in value.splitlines())
