"""A data set's definition: one YAML file, checked whole before anything is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from datasets_prep.settings import (
    AnonymiseSettings,
    CleanSettings,
    DedupeSettings,
    FilterSettings,
    ProveSettings,
    Settings,
    SplitSettings,
)
from recipes.runner.core.errors import UserError
from recipes.runner.core.nearest import did_you_mean
from recipes.runner.core.yaml_model import read_model

DEFINITIONS = Path(__file__).parent / "definitions"

Role = Literal["user", "assistant", "system"]
Format = Literal["csv", "tsv", "jsonl", "json", "parquet"]
SHAPES: dict[str, tuple[str, ...]] = {
    "text": ("text",),
    "prompt_response": ("prompt", "response"),
    "alpaca": ("instruction", "input", "output"),
    "sharegpt": ("conversations",),
    "messages": ("messages",),
    "turns": ("turns",),
    "turn_rows": ("conversation", "text"),
}


class Source(Settings):
    """Where the rows come from: a Hub data set or a local file, not both."""

    hub: str | None = None
    config: str | None = None
    hub_split: str = "train"
    revision: str | None = None
    file: str | None = None
    format: Format | None = None
    encoding: str = "utf-8-sig"
    delimiter: str | None = Field(default=None, min_length=1, max_length=1)
    quotes: bool = True
    records: str = "item"

    @model_validator(mode="after")
    def _one_place(self) -> Source:
        if (self.hub is None) == (self.file is None):
            raise ValueError("give either hub or file")
        return self

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, value: str) -> str:
        try:
            "".encode(value)
        except LookupError as error:
            raise ValueError(str(error)) from None
        return value


class Columns(Settings):
    """Names of the columns; which ones are needed depends on the shape.

    Attributes:
        prompt: one column, or several whose texts make one question (a title and its text).
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
    id: str | None = None
    topic: str | None = None
    author: list[str] = Field(default=[])
    group: list[str] = Field(default=[])


class Turns(Settings):
    """How turns become a conversation that starts with a user and alternates."""

    role_key: str | None = None
    content_key: str | None = None
    roles_by: Literal["name", "appearance", "position"] = "name"
    first_speaker: Literal["user", "assistant"] = "user"
    merge_with: str = "\n\n"
    leading_assistant: Literal["drop_turn", "drop_row", "fail"] = "drop_turn"
    trailing_user: Literal["drop_turn", "drop_row", "fail"] = "drop_turn"


class Steps(Settings):
    """Settings of the steps; ``false`` switches one off. Their order is `steps.STEPS`."""

    clean: CleanSettings | Literal[False] = CleanSettings()
    anonymise: AnonymiseSettings | Literal[False] = AnonymiseSettings()
    filter: FilterSettings | Literal[False] = FilterSettings()
    dedupe: DedupeSettings | Literal[False] = DedupeSettings()
    prove: ProveSettings | Literal[False] = ProveSettings()

    @field_validator("*", mode="before")
    @classmethod
    def _bare_step_means_defaults(cls, value: Any) -> Any:
        return {} if value is None or value is True else value


class Definition(Settings):
    """A whole definition file."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    title: str = ""
    licence: str = "unknown"
    homepage: str = ""
    description: str = ""
    notice: str = ""
    recipe: str | None = None
    source: Source
    shape: Literal[
        "text", "prompt_response", "alpaca", "sharegpt", "messages", "turns", "turn_rows"
    ]
    columns: Columns = Columns()
    roles: dict[Role, list[str]] = Field(default={})
    markers: dict[str, Role] = Field(default={"<HUMAN>:": "user", "<ASSISTANT>:": "assistant"})
    turns: Turns = Turns()
    steps: Steps = Steps()
    split: SplitSettings = SplitSettings()

    @model_validator(mode="after")
    def _shape_has_its_columns(self) -> Definition:
        for column in SHAPES[self.shape]:
            if getattr(self.columns, column) is None:
                if self.shape in ("turn_rows", "turns"):
                    raise ValueError(f"shape {self.shape} needs columns.{column}")
                setattr(self.columns, column, column)
        nameless = self.turns.roles_by != "position" and not self.columns.speaker
        if self.shape == "turn_rows" and nameless:
            raise ValueError("shape turn_rows needs columns.speaker, or turns.roles_by: position")
        return self


def load_definition(name_or_path: str | Path) -> tuple[Definition, Path]:
    """Read and check a definition.

    Args:
        name_or_path: a name in ``datasets_prep/definitions`` or the path of a YAML file.

    Returns:
        The definition and the file it was read from.

    Raises:
        UserError: there is no such file, or it is not a valid definition.
    """
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        path = DEFINITIONS / f"{name_or_path}.yaml"
    if not path.is_file():
        known = sorted(p.stem for p in DEFINITIONS.glob("*.yaml"))
        raise UserError(
            f"no data set definition '{name_or_path}'",
            todo=did_you_mean(str(name_or_path), known),
        )
    name = {"name": path.stem}
    return read_model(path, Definition, "Start from another definition", name), path
