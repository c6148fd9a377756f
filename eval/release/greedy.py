"""Greedy answers of a merged model, kept beside it: every type is set against the same."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from eval.answers import Answer, Messages
from recipes.runner.core.files import write_json

FILE = "greedy.json"


def greedy_answers(
    model: Any,
    tokenizer: Any,
    asked: list[Messages],
    limit: int,
    ends: list[int],
    folder: Path | None,
) -> list[Answer]:
    """One greedy answer a conversation; read from ``folder`` where they were given before.

    Args:
        model: a causal language model in eval mode.
        tokenizer: its tokenizer.
        asked: conversations that end in a user turn.
        limit: tokens of an answer.
        ends: ids that end an answer.
        folder: the model's own, which goes when its adapter changes; None keeps nothing.
    """
    from eval.generation.decoding import Decoding
    from eval.generation.generate import generate

    key = hashlib.sha256(json.dumps([asked, limit, ends]).encode()).hexdigest()
    if folder is not None and (there := _read(folder / FILE, key)):
        return there
    answers = generate(model, tokenizer, asked, Decoding(limit), ends, "export")
    if folder is not None:
        write_json(folder / FILE, {"key": key, "answers": [asdict(one) for one in answers]})
    return answers


def _read(file: Path, key: str) -> list[Answer]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        if found["key"] != key:
            return []
        return [Answer(**{**one, "special": tuple(one["special"])}) for one in found["answers"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []
