"""A YAML file into a pydantic model: every fault at once, with its line and the nearest key."""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union

from pydantic import BaseModel, ConfigDict, ValidationError

from recipes.runner.core.errors import UserErrors
from recipes.runner.core.nearest import did_you_mean
from recipes.runner.core.yaml_file import Fault, KeyPath, YamlFile, read_yaml

Model = TypeVar("Model", bound=BaseModel)
_Loc = tuple[int | str, ...]
# What pydantic calls an input of the wrong type, in words.
_WANTED = {
    "string": "text", "int": "whole number", "float": "number", "bool": "true or false",
    "list": "list", "tuple": "list", "dict": "mapping of keys", "model": "mapping of keys",
    "date": "date", "mapping": "mapping of keys",
}  # fmt: skip


class Strict(BaseModel):
    """Base of what a file may say: an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def read_model(
    path: Path, model: type[Model], todo: str, defaults: dict[str, Any] | None = None
) -> Model:
    """Read one YAML file into ``model``.

    Args:
        path: the file.
        model: what it holds.
        todo: what to do about a file without keys.
        defaults: keys that need not stand in the file.

    Raises:
        UserError: it can't be read.
        UserErrors: every fault in it, each with file, line and key.
    """
    file = read_yaml(path, todo)
    faults = list(file.faults)
    try:
        made = model.model_validate({**(defaults or {}), **file.content})
    except ValidationError as error:
        faults += model_faults(error, model, file)
        raise UserErrors(file.errors(faults)) from None
    file.refuse_faults()
    return made


def model_faults(error: ValidationError, model: type[BaseModel], file: YamlFile) -> list[Fault]:
    """What pydantic found, a fault for each place.

    Args:
        error: of a validation of ``file``'s content.
        model: that was validated against.
        file: for what is written at a place, and how YAML read it.
    """
    places: dict[KeyPath, list[Any]] = defaultdict(list)
    for item in error.errors():
        places[_place(item, file.content)].append(item)
    # A value that fits no member of a union fails once for each: the deepest says most.
    above = {place[:length] for place in places for length in range(len(place))}
    union = {place for place in above & places.keys() if all(map(_of_type, places[place]))}
    faults = [
        _fault(place, items, model, file) for place, items in places.items() if place not in union
    ]
    # A misspelt key is what its right spelling is missing for.
    meant = {(*place[:-1], todo[13:-1]) for place, what, todo in faults if what == "unknown key"}
    return [fault for fault in faults if fault[1] != "is missing" or fault[0] not in meant]


def _place(item: Any, content: Any) -> KeyPath:
    """Where in the file a fault is: its location without the names of union members."""
    place: list[int | str] = []
    node = content
    for step in item["loc"]:
        present = (isinstance(node, dict) and step in node) or (
            isinstance(node, list) and isinstance(step, int) and step < len(node)
        )
        if present:
            node = node[step]
            place.append(step)
    if item["type"] == "missing":
        place.append(item["loc"][-1])
    return tuple(str(part) if not isinstance(part, int) else part for part in place)


def _of_type(item: Any) -> bool:
    kind = item["type"]
    return kind == "literal_error" or kind.rsplit("_", 1)[-1] in ("type", "parsing")


def _fault(place: KeyPath, items: list[Any], model: type[BaseModel], file: YamlFile) -> Fault:
    first = next((item for item in items if not _of_type(item)), items[0])
    trap = file.traps.get(place)
    if first["type"] == "extra_forbidden":
        valid = valid_keys(model, first["loc"][:-1])
        return place, "unknown key", did_you_mean(str(place[-1]), valid, "Valid keys")
    if first["type"] == "missing":
        return place, "is missing", "Add it"
    if first["type"] == "union_tag_invalid":
        tags = [tag.strip(" '") for tag in first["ctx"]["expected_tags"].split(",")]
        tag, key = str(first["ctx"]["tag"]), first["ctx"]["discriminator"].strip("'")
        return place, f"there is no {key} {tag!r}", did_you_mean(tag, tags)
    if first["type"] == "union_tag_not_found":
        return place, f"{first['ctx']['discriminator']} is missing", "Add it"
    if trap and all(map(_of_type, items)):
        return place, str(trap), trap.todo
    if first["type"] == "literal_error" and len(items) == 1:
        expected = first["ctx"]["expected"]
        return place, f"{_shown(first['input'])} is none of {expected}", _near(first)
    if all(map(_of_type, items)):
        wanted = " or ".join(dict.fromkeys(map(_wanted, items)))
        return place, f"is {_shown(first['input'])}, which is no {wanted}", "Give one"
    message = first["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    if first["type"] == "value_error":
        return place, " ".join(message.split()), ""
    return place, f"is {_shown(first['input'])}: {message}", ""


def _wanted(item: Any) -> str:
    if item["type"] == "literal_error":
        return str(item["ctx"]["expected"]).lower()
    return _WANTED.get(item["type"].split("_")[0], item["type"].rsplit("_", 1)[0])


def _near(item: Any) -> str:
    choices = re.findall(r"'([^']*)'", item["ctx"]["expected"])
    hint = did_you_mean(str(item["input"]), choices)
    return hint if hint.startswith("Did") else ""


def _shown(value: Any) -> str:
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def valid_keys(model: type[BaseModel], loc: _Loc) -> list[str]:
    """The keys that may stand at a place of a model.

    Args:
        model: the whole file's.
        loc: the place as pydantic gives it, names of union members among the keys.
    """
    options: list[Any] = [model]
    for step in loc:
        options = list(_below(options, step)) or [o for o in options if _named(o, step)] or options
    models = [option for option in options if _is_model(option)]
    return list(dict.fromkeys(name for found in models for name in found.model_fields))


def _below(options: Iterable[Any], step: int | str) -> Iterator[Any]:
    """The types that may stand under a key or an index."""
    for option in options:
        if _is_model(option):
            if step in option.model_fields:
                yield from _members(option.model_fields[step].annotation)
        elif typing.get_origin(option) in (list, tuple, set) and isinstance(step, int):
            yield from _members(typing.get_args(option)[0])


def _named(option: Any, tag: int | str) -> bool:
    """Whether pydantic means this member of a union: by its class or by its discriminator."""
    if not _is_model(option):
        return False
    literals = (
        typing.get_args(field.annotation)
        for field in option.model_fields.values()
        if typing.get_origin(field.annotation) is Literal
    )
    return option.__name__ == tag or any(tag in choices for choices in literals)


def _members(annotation: Any) -> Iterator[Any]:
    """The members of a union, without annotations around them."""
    if typing.get_origin(annotation) is Annotated:
        yield from _members(typing.get_args(annotation)[0])
    elif typing.get_origin(annotation) in (Union, types.UnionType):
        for member in typing.get_args(annotation):
            yield from _members(member)
    else:
        yield annotation


def _is_model(option: Any) -> bool:
    return inspect.isclass(option) and issubclass(option, BaseModel)
