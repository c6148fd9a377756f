"""How a chat answers: system prompt and decoding, as the run's recipe says."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from recipes.runner.core.recipe import ROOT

# As Axolotl's own `inference --gradio` takes it; no key of a recipe names it.
TOP_P = 0.95
MAX_NEW_TOKENS = 256
TEMPERATURE = 0.7
_ROWS_LOOKED_AT = 50


@dataclass(frozen=True)
class ChatSettings:
    """Settings of every answer, the same for base and tuned.

    Attributes:
        system: first message of every conversation; None leaves it to the chat template.
        max_new_tokens: limit of one answer, in tokens.
        temperature: 0 takes the likeliest token always.
        top_p: nucleus, used when ``temperature`` is above 0.
        seed: where the random seed of each answer is derived from.
    """

    system: str | None = None
    max_new_tokens: int = MAX_NEW_TOKENS
    temperature: float = TEMPERATURE
    top_p: float = TOP_P
    seed: int = 42

    def to_json(self) -> dict[str, Any]:
        """A plain dict for the exported file."""
        return asdict(self)


def settings_of(config: dict[str, Any]) -> ChatSettings:
    """The settings that a run's configuration names, all of them Axolotl's own keys.

    ``gradio_max_new_tokens`` and ``gradio_temperature`` give the decoding. The system prompt is
    ``default_system_message``, or the one that the training rows share: a model answers best to
    what it was trained on.
    """
    limit, temperature = config.get("gradio_max_new_tokens"), config.get("gradio_temperature")
    seed = config.get("seed")
    return ChatSettings(
        system=config.get("default_system_message") or _system_of_data(config),
        max_new_tokens=MAX_NEW_TOKENS if limit is None else int(limit),
        temperature=TEMPERATURE if temperature is None else float(temperature),
        seed=42 if seed is None else int(seed),
    )


def _system_of_data(config: dict[str, Any]) -> str | None:
    """The system turn with which all of the first training rows open, or None."""
    sources = config.get("datasets") or [{}]
    path = ROOT / str(sources[0].get("path", ""))
    if path.suffix != ".jsonl" or not path.is_file():
        return None
    found = {_opening(path, line) for line in islice(path.open(encoding="utf-8"), _ROWS_LOOKED_AT)}
    return found.pop() if len(found) == 1 else None


def _opening(path: Path, line: str) -> str | None:
    try:
        first = json.loads(line)["messages"][0]
        return str(first["content"]) if first["role"] == "system" else None
    except (ValueError, LookupError, TypeError):
        return None
