"""Preference rows before weights load: none yet, another model's answers, or near a suite's."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from datasets_prep.contamination import Prompts
from datasets_prep.settings import ContaminationSettings
from recipes.runner.core.errors import UserError, UserErrors
from recipes.runner.core.local_data import definitions
from recipes.runner.core.paths import ROOT, display_path
from recipes.runner.core.terminal import send

_SOURCES = {"preferences": "preferences.jsonl", "preferences_kto": "preferences_kto.jsonl"}
_ASKED = ("prompt", "messages", "question", "instruction", "conversations")
_ANSWERED = ("chosen", "completion")


def look_at_rows(config: dict[str, Any]) -> None:
    """Stop where there is nothing to train on, or what the evaluation asks; say whose they are.

    Args:
        config: the recipe's keys.

    Raises:
        UserError: `make pairs` has made no rows yet.
        UserErrors: rows of a user's own file that are near a prompt of the suites, each with its
            line. Rows of ``data/`` have been through the data preparation, which drops such.
    """
    own = []
    looked = set()
    for entry in [*(config.get("datasets") or []), *(config.get("test_datasets") or [])]:
        path = Path(str(entry.get("path")))
        made = len(path.parts) == 3 and path.parts[0] == "data" and path.parts[1] in definitions()
        source = path.parts[1] if made else str(path)
        if source in looked:
            continue
        looked.add(source)
        if made and source in _SOURCES:
            _look_at_pairs(ROOT / "data" / "sources" / _SOURCES[source], config)
        elif not made and (ROOT / path).is_file() and path.suffix in (".jsonl", ".json"):
            own.append(ROOT / path)
    if near := list(_near_suites(own)):
        raise UserErrors(near)


def _look_at_pairs(source: Path, config: dict[str, Any]) -> None:
    before = config.get("lora_model_dir")
    run = Path(str(before)).name if before else "..."
    if not source.is_file():
        raise UserError(
            "there are no preference rows yet",
            display_path(source),
            f"Make them from a run's own answers: make pairs RUN={run}",
        )
    answered = {str(row["run"]) for _, row in _rows(source) if row.get("run")}
    if before and answered - {run}:
        send(
            "warning",
            text=f"the preferences are over answers of {', '.join(sorted(answered))}, and"
            f" training goes on from {run}: make pairs RUN={run} asks that one",
        )


def _near_suites(files: Sequence[Path]) -> Iterator[UserError]:
    if not files:
        return
    known = Prompts.of_suites(ContaminationSettings())
    for place, row in (found for path in files for found in _rows(path)):
        if reason := known.near({"messages": list(_turns(row))}):
            todo = "Take it out: suites judge what is trained on it"
            yield UserError(f"is {reason}", place, todo)


def _turns(row: dict[str, Any]) -> Iterator[dict[str, str]]:
    """What is asked and what is to be learnt in a row; what is rejected is unlearnt."""
    for role, keys in (("user", _ASKED), ("assistant", _ANSWERED)):
        for value in filter(None, map(row.get, keys)):
            for turn in value if isinstance(value, list) else [value]:
                said = turn.get("content") if isinstance(turn, dict) else turn
                if isinstance(said, str):
                    own = turn.get("role") if isinstance(turn, dict) else None
                    yield {"role": str(own or role), "content": said}


def _rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of a file of JSON lines or of one JSON array, each with its file and place there.

    Axolotl says what can't be read.
    """
    text, name = path.read_text(encoding="utf-8"), display_path(path)
    if text.lstrip().startswith("["):
        try:
            listed = json.loads(text)
        except ValueError:
            return
        for number, row in enumerate(listed, 1):
            if isinstance(row, dict):
                yield f"{name}: row {number}", row
        return
    for number, line in enumerate(text.split("\n"), 1):
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            yield f"{name}:{number}", row
