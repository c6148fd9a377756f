"""Columns of a source, as a definition names them, and those that each shape needs."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from datasets_prep.settings import Settings

SHAPES: dict[str, tuple[str, ...]] = {
    "text": ("text",),
    "transcript": ("text",),
    "prompt_response": ("prompt", "response"),
    "alpaca": ("instruction", "input", "output"),
    "sharegpt": ("conversations",),
    "messages": ("messages",),
    "turns": ("turns",),
    "turn_rows": ("conversation", "text"),
    "history": ("history",),
    "tree": (),
    "intents": ("patterns", "responses"),
    "preference": ("chosen", "rejected"),
    "kto": ("completion", "label"),
}


def _several(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Names = Annotated[list[str], BeforeValidator(_several)]


class Columns(Settings):
    """Names of the columns; which ones are needed depends on the shape.

    Attributes:
        prompt: one column, or several whose texts make one question (a title and its text).
        numbers_as_text: a number where a text is wanted is taken as it is written.
        ignore: columns that mean something (a label, images) and are left out on purpose.
    """

    text: str | None = None
    prompt: str | list[str] | None = None
    response: str | None = None
    system: str | None = None
    instruction: str | None = None
    input: str | None = None
    output: str | None = None
    conversations: str | None = None
    messages: str | None = None
    turns: str | None = None
    speaker: str | None = None
    conversation: str | None = None
    order: str | None = None
    history: str | None = None
    candidates: str | None = None
    patterns: str | None = None
    responses: str | None = None
    chosen: str | None = None
    rejected: str | None = None
    completion: str | None = None
    label: str | None = None
    tools: str | None = None
    message: str = "message_id"
    parent: str | None = None
    replies: str = "replies"
    id: str | None = None
    topic: str | None = None
    author: Names = Field(default=[])
    group: Names = Field(default=[])
    numbers_as_text: bool = False
    ignore: Names = Field(default=[])

    def prompts(self) -> list[str]:
        """The columns of the question."""
        prompt = self.prompt or []
        return [prompt] if isinstance(prompt, str) else prompt
