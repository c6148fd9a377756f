"""What a judge said: its last whole JSON object, or why there is none."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, Literal

Fault = Literal["cut", "refused", "no verdict"]
_THOUGHT = re.compile(r"<think(?:ing)?>.*?</think(?:ing)?>", re.DOTALL | re.IGNORECASE)
_OPEN_THOUGHT = re.compile(r"<think(?:ing)?>", re.IGNORECASE)
_NUMBER = re.compile(r"\s*([1-5](?:\.\d+)?)\s*(?:/\s*5|out of 5)?\s*")
_REFUSES = re.compile(
    r"\b(?:i\s*(?:'m|am)\s+(?:sorry|unable|not\s+able)|i\s+(?:can'?t|cannot|can\s+not|won'?t)|as\s+an\s+ai"
    r"|not\s+(?:able|appropriate|comfortable))\b",
    re.IGNORECASE,
)


def read_rubric(text: str, dimensions: Sequence[str]) -> dict[str, float] | None:
    """Scores by dimension, or None when the reply does not give every one from 1 to 5."""
    data = last_object(text) or {}
    scores = {name: _score(data.get(name)) for name in dimensions}
    read = {name: value for name, value in scores.items() if value is not None}
    return read if read and len(read) == len(dimensions) else None


def read_pair(text: str) -> str | None:
    """``A``, ``B`` or ``tie``; None when the reply is none of them."""
    better = str((last_object(text) or {}).get("better", "")).strip().lower()
    return {"a": "A", "b": "B", "tie": "tie"}.get(better)


def fault_of(text: str, stopped: bool) -> Fault:
    """Why a reply holds no verdict: cut at its limit, a refusal, or neither."""
    if not stopped or _OPEN_THOUGHT.search(_THOUGHT.sub("", text)):
        return "cut"
    return "refused" if _REFUSES.search(text.replace("\u2019", "'")) else "no verdict"


def last_object(text: str) -> dict[str, Any] | None:
    """The last JSON object that stands whole in what was said after thinking; None without one."""
    said = _THOUGHT.sub("", text)
    if _OPEN_THOUGHT.search(said):  # cut while it thought: what stands there is no verdict
        return None
    decoder, found, place = json.JSONDecoder(), None, said.find("{")
    while place >= 0:
        try:
            value, end = decoder.raw_decode(said, place)
        except (json.JSONDecodeError, RecursionError):
            end = place + 1
        else:
            found = value if isinstance(value, dict) else found
        place = said.find("{", end)
    return found


def _score(value: object) -> float | None:
    """A number from 1 to 5, also written as text: "4", "4/5"."""
    if isinstance(value, str):
        match = _NUMBER.fullmatch(value)
        value = float(match.group(1)) if match else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 1 <= value <= 5 else None
