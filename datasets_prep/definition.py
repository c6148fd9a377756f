"""A data set's definition: one YAML file, checked whole before anything is read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, PrivateAttr, field_validator, model_validator

from datasets_prep.columns import SHAPES, Columns
from datasets_prep.settings import (
    AnonymiseSettings,
    CleanSettings,
    ContaminationSettings,
    DedupeSettings,
    FilterSettings,
    ProveSettings,
    Settings,
    SplitSettings,
)
from datasets_prep.source import Source
from datasets_prep.where import parse_condition
from recipes.runner.core.errors import UserError
from recipes.runner.core.nearest import did_you_mean
from recipes.runner.core.patterns import BadPattern, guarded
from recipes.runner.core.yaml_file import read_yaml
from recipes.runner.core.yaml_model import read_model

DEFINITIONS = Path(__file__).parent / "definitions"

Role = Literal["user", "assistant", "system", "tool"]
Shape = Literal[
    "text",
    "transcript",
    "prompt_response",
    "alpaca",
    "sharegpt",
    "messages",
    "turns",
    "turn_rows",
    "history",
    "tree",
    "intents",
    "preference",
    "kto",
]


class Turns(Settings):
    """How turns become a conversation that starts with a user and alternates."""

    role_key: str | None = None
    content_key: str | None = None
    roles_by: Literal["name", "appearance", "position"] = "name"
    first_speaker: Literal["user", "assistant"] = "user"
    merge_with: str = "\n\n"
    leading_assistant: Literal["drop_turn", "drop_row", "fail"] = "drop_turn"
    trailing_user: Literal["drop_turn", "drop_row", "fail"] = "drop_turn"
    paths: Literal["best", "all"] = "best"
    line: str | None = None
    separator: str | None = Field(default=None, min_length=1)
    before: Literal["drop_row", "system", "leave_out"] | None = None

    @field_validator("line")
    @classmethod
    def _names_a_speaker(cls, value: str | None) -> str | None:
        try:
            with guarded():
                groups = re.compile(value or "").groupindex
        except BadPattern as error:
            raise ValueError(f"'{value}' {error}") from None
        if value is not None and not {"speaker", "text"} <= groups.keys():
            raise ValueError("needs the groups (?P<speaker>...) and (?P<text>...)")
        return value


class Steps(Settings):
    """Settings of the steps; ``false`` switches one off. Their order is `steps.STEPS`."""

    clean: CleanSettings | Literal[False] = CleanSettings()
    anonymise: AnonymiseSettings | Literal[False] = AnonymiseSettings()
    filter: FilterSettings | Literal[False] = FilterSettings()
    contamination: ContaminationSettings | Literal[False] = ContaminationSettings()
    dedupe: DedupeSettings | Literal[False] = DedupeSettings()
    prove: ProveSettings | Literal[False] = ProveSettings()

    @field_validator("*", mode="before")
    @classmethod
    def _bare_step_means_defaults(cls, value: Any) -> Any:
        return {} if value is None or value is True else value

    def kept_language(self) -> str:
        """ISO code of the language that the filter keeps; English where it keeps all."""
        language = self.filter.language if self.filter else False
        return language.keep if language else "en"


class Part(Settings):
    """One source, how its rows become conversations, and how many of them are wanted.

    Attributes:
        where: conditions on columns that a row must meet, all of them.
        limit: most rows of it, drawn evenly by the split's seed.
        weight: how often each of its training rows is written; a fraction below 1 keeps that share.
        system_prompt: a system turn for conversations that have none.
        model_written: whether a model wrote the answers; a column's name reads it per row.
        tools: what happens to rows that call tools: ``auto`` keeps them where the recipe's chat
            template takes tools.
    """

    source: Source | None = None
    shape: Shape | None = None
    columns: Columns = Columns()
    roles: dict[Role, list[str]] = Field(default={})
    markers: dict[str, Role] = Field(default={"<HUMAN>:": "user", "<ASSISTANT>:": "assistant"})
    turns: Turns = Turns()
    steps: Steps = Steps()
    where: list[str] = Field(default=[])
    limit: int | None = Field(default=None, ge=1)
    weight: float = Field(default=1.0, gt=0, le=20)
    system_prompt: str = ""
    model_written: bool | str | None = None
    tools: Literal["auto", "keep", "drop"] = "auto"

    @field_validator("where", mode="before")
    @classmethod
    def _one_condition_or_several(cls, value: Any) -> Any:
        found = [value] if isinstance(value, str) else value
        faults = []
        for condition in found if isinstance(found, list) else []:
            try:
                parse_condition(str(condition))
            except ValueError as error:
                faults.append(str(error))
        if faults:
            raise ValueError("; ".join(faults))
        return found

    @model_validator(mode="after")
    def _shape_has_its_columns(self) -> Part:
        if self.shape is None:
            return self
        for column in SHAPES[self.shape]:
            if getattr(self.columns, column) is None:
                if self.shape in ("turn_rows", "turns", "history"):
                    raise ValueError(f"shape {self.shape} needs columns.{column}")
                setattr(self.columns, column, column)
        if self.shape == "transcript" and self.source and self.source.separator is None:
            # A talk has blank lines within.
            self.source.separator = "none"
        nameless = self.turns.roles_by != "position" and not self.columns.speaker
        if self.shape == "turn_rows" and nameless:
            raise ValueError("shape turn_rows needs columns.speaker, or turns.roles_by: position")
        if self.shape == "history" and not (self.columns.candidates or self.columns.response):
            raise ValueError("shape history needs columns.candidates or columns.response")
        return self


class NamedPart(Part):
    """One of several sources.

    Attributes:
        name: stands in the ids of its rows, and on the card.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")


class Replay(NamedPart):
    """General conversations against forgetting.

    Attributes:
        share: most of all rows that they make up.
    """

    name: str = Field(default="replay", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    share: float = Field(default=0.2, gt=0, lt=1)


class Definition(Part):
    """A whole definition file: one source, or several under ``sources``."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    title: str = ""
    licence: str = "unknown"
    homepage: str = ""
    description: str = ""
    notice: str = ""
    recipe: str | None = None
    sources: list[NamedPart] = Field(default=[])
    replay: Replay | None = None
    split: SplitSettings = SplitSettings()
    _part: str = PrivateAttr(default="")
    _why_no_tools: str = PrivateAttr(default="")

    @field_validator("replay", mode="before")
    @classmethod
    def _definition_by_name(cls, value: Any) -> Any:
        """``replay: general`` is the source of a definition of this folder."""
        if not isinstance(value, str):
            return value
        path = DEFINITIONS / f"{value}.yaml"
        if not path.is_file():
            known = sorted(p.stem for p in DEFINITIONS.glob("*.yaml"))
            raise ValueError(f"no definition '{value}'. {did_you_mean(value, known)}")
        found = read_yaml(path, "Start from another definition").content
        kept = {key: found[key] for key in Part.model_fields if key in found}
        if "file" in kept["source"]:
            kept["source"] = {**kept["source"], "file": str(DEFINITIONS / kept["source"]["file"])}
        return kept

    @model_validator(mode="after")
    def _has_a_source(self) -> Definition:
        if self.sources and (self.source or self.shape):
            raise ValueError("give either source and shape, or sources")
        if not self.sources and self.source is None:
            raise ValueError("missing key 'source' (or sources, for several)")
        if not self.sources and self.shape is None:
            raise ValueError("missing key 'shape'")
        parts: list[NamedPart] = [*self.sources]
        if self.replay:
            parts.append(self.replay)
        for part in parts:
            for key in ("source", "shape"):
                if getattr(part, key) is None:
                    raise ValueError(f"source '{part.name}' has no {key}")
        names = [part.name for part in parts]
        if len(set(names)) < len(names):
            raise ValueError(f"two sources are called '{max(names, key=names.count)}'")
        kinds = {_kind(part.shape) for part in parts} or {_kind(self.shape)}
        if self.replay and self.shape:
            kinds.add(_kind(self.shape))
        if len(kinds) > 1:
            raise ValueError(f"one data set is of one kind, not of {' and '.join(sorted(kinds))}")
        return self

    def parts(self) -> list[Definition]:
        """The definition of each source by itself; a single one is the definition as it is."""
        listed: list[NamedPart] = [*self.sources]
        if self.replay:
            listed.append(self.replay)
        made = [] if self.sources else [self]
        for part in listed:
            steps = {name: getattr(part.steps, name) for name in part.steps.model_fields_set}
            keys = {name: getattr(part, name) for name in Part.model_fields if name != "steps"}
            keys["steps"] = self.steps.model_copy(update=steps)
            one = self.model_copy(update={**keys, "sources": [], "replay": None})
            one._part = part.name
            made.append(one)
        return made

    @property
    def part(self) -> str:
        """The name of the source that this definition is about; empty when there is only one."""
        return self._part

    @property
    def kind(self) -> str:
        """What a row is: ``chat``, ``preference`` or ``kto``."""
        return _kind(self.shape or self.sources[0].shape)

    @property
    def why_no_tools(self) -> str:
        """Why rows that call tools are dropped."""
        return self._why_no_tools or "steps of tools are dropped, as the definition says"

    def settle_tools(self, why_not: str | None) -> None:
        """Decide ``tools: auto``: keep calls when ``why_not`` is None."""
        if self.tools == "auto":
            self.tools = "drop" if why_not else "keep"
            self._why_no_tools = why_not or ""

    def by_model(self, row: dict[str, Any]) -> bool | None:
        """Whether a model wrote the answers of a row; None when the definition does not say."""
        if not isinstance(self.model_written, str):
            return self.model_written
        value = row.get(self.model_written)
        text = str(value).strip().lower()
        return None if value is None else text not in ("false", "0", "no", "human", "")


def _kind(shape: str | None) -> str:
    return shape if shape in ("preference", "kto") else "chat"


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
