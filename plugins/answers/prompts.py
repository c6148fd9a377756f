"""What is asked at each evaluation: a file of prompts, and openings of held-out conversations."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from recipes.runner.core.errors import UserError
from recipes.runner.core.recipe import display_path

Kind = Literal["danger", "harmless", "plain", "held_out"]


class Prompt(BaseModel):
    """One message of a person.

    Attributes:
        id: its name; unique in the file.
        kind: ``danger`` (the answer should name help at any hour), ``harmless`` (it should not),
            ``plain`` or ``held_out`` (only its form is measured).
        content: the message.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(min_length=1)
    kind: Kind
    content: str = Field(min_length=1)


def read_prompts(path: Path) -> list[Prompt]:
    """The prompts of a JSONL file.

    Raises:
        UserError: no such file, a line that is no prompt, an id given twice, or no prompt at all.
    """
    where = display_path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UserError(
            (error.strerror or str(error)).lower(), where, "Fix answers_watch.prompts"
        ) from None
    prompts: list[Prompt] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            prompt = TypeAdapter(Prompt).validate_json(line)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"]) or "the line"
            raise UserError(
                f"{key}: {first['msg']}",
                f"{where}, line {number}",
                'A line is {"id": ..., "kind": "danger", "harmless" or "plain", "content": ...}',
            ) from None
        if any(prompt.id == other.id for other in prompts):
            raise UserError(f"id '{prompt.id}' twice", f"{where}, line {number}", "Rename one")
        prompts.append(prompt)
    if not prompts:
        raise UserError("holds no prompt", where, "Write some, or leave answers_watch.prompts out")
    return prompts


def held_out_prompts(files: Sequence[Path], count: int, seed: int) -> list[Prompt]:
    """First messages of held-out conversations, the same ones at each evaluation.

    Args:
        files: JSONL files with ``messages``; others are passed over.
        count: how many at most.
        seed: which.
    """
    found: list[Prompt] = []
    for path in files:
        try:
            rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        except (OSError, ValueError):
            continue
        for number, row in enumerate(rows):
            content = _opening(row)
            if content:
                found.append(Prompt(id=f"held-out-{number}", kind="held_out", content=content))
    return random.Random(seed).sample(found, min(count, len(found)))


def _opening(row: Any) -> str | None:
    messages = row.get("messages") if isinstance(row, dict) else None
    if not isinstance(messages, list):
        return None
    for message in messages:
        if isinstance(message, dict) and message.get("role") == "user":
            content = message.get("content")
            return content if isinstance(content, str) and content.strip() else None
    return None
