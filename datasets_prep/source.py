"""Where the rows of a data set come from."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator, model_validator

from datasets_prep.settings import Settings
from recipes.runner.core.patterns import BadPattern, guarded

Format = Literal["csv", "tsv", "jsonl", "json", "parquet", "xlsx", "txt"]


def _pattern(value: str | None) -> str | None:
    try:
        with guarded():
            re.compile(value or "")
    except BadPattern as error:
        raise ValueError(f"'{value}' {error}") from None
    return value


class Source(Settings):
    """A Hub data set or local files, not both.

    Attributes:
        file: a file, a folder, or a pattern with ``*``; beside the definition.
        format: of the files, whatever their names say.
        header: of a CSV or a sheet: whether the first row names the columns; else they are
            ``column_1``, ``column_2`` and so on.
        records: where the rows stand in a JSON file.
        separator: of a text file: the regular expression of the line that begins the next text;
            ``none``: the file is one. Else blank lines stand between texts.
        each: a column that holds a list: every element of it makes a row.
    """

    hub: str | None = None
    config: str | None = None
    hub_split: str = "train"
    revision: str | None = None
    file: str | None = None
    format: Format | None = None
    encoding: str = "utf-8-sig"
    delimiter: str | None = Field(default=None, min_length=1, max_length=1)
    quotes: bool = True
    header: bool = True
    records: str = "item"
    each: str | None = None
    separator: str | None = None

    @model_validator(mode="after")
    def _one_place(self) -> Source:
        if (self.hub is None) == (self.file is None):
            raise ValueError("give either hub or file")
        return self

    @field_validator("separator")
    @classmethod
    def _a_pattern(cls, value: str | None) -> str | None:
        return _pattern(value)

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, value: str) -> str:
        try:
            "".encode(value)
        except LookupError as error:
            raise ValueError(str(error)) from None
        return value
