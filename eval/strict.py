"""Strict YAML: every fault of a file with its line, and the nearest key for a misspelt one."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from recipes.runner.core.errors import UserError
from recipes.runner.core.recipe import did_you_mean, display_path
from recipes.runner.core.yaml_file import positions_in, refuse_duplicates


class Strict(BaseModel):
    """Base of what a suite file may say: an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Model = TypeVar("Model", bound=BaseModel)


def read_strictly(path: Path, model: type[Model]) -> Model:
    """Read one YAML file into ``model``.

    Raises:
        UserError: not YAML or not valid; one line with ``file:line`` of the first fault, what is
            wrong, and how many more faults there are.
    """
    try:
        text = path.read_text(encoding="utf-8")
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{display_path(path)}:{mark.line + 1}" if mark else display_path(path)
        raise UserError(f"is not YAML: {getattr(error, 'problem', error)}", where) from None
    except UnicodeDecodeError:
        raise UserError("is not UTF-8 text", display_path(path), "Save it as UTF-8") from None
    if not isinstance(data, dict):
        raise UserError("holds no keys", display_path(path), "Start from another suite")
    refuse_duplicates(positions_in(tree), display_path(path))
    try:
        return model.model_validate(data)
    except ValidationError as error:
        # A misspelt key is often the cause of a missing one, so it is said first.
        faults = sorted(
            (fault["type"] != "extra_forbidden", _line(tree, fault["loc"]), index)
            for index, fault in enumerate(error.errors())
        )
        _, line, index = faults[0]
        first = _explain(dict(error.errors()[index]), data)
        more = f" (and {len(faults) - 1} more after it)" if len(faults) > 1 else ""
        raise UserError(first + more, f"{display_path(path)}:{line}") from None


def _explain(fault: dict[str, Any], data: Any) -> str:
    place = [part for part in fault["loc"] if _exists_or_last(data, fault["loc"], part)]
    key = ".".join(str(part) for part in place)
    name = str(fault["loc"][-1]) if fault["loc"] else ""
    if fault["type"] == "extra_forbidden":
        valid = _siblings(fault)
        hint = did_you_mean(name, valid, "Valid keys") if valid else "Take it out"
        return f"unknown key '{key}'. {hint}"
    if fault["type"] == "union_tag_invalid":
        tags = [tag.strip(" '") for tag in fault["ctx"]["expected_tags"].split(",")]
        return f"unknown check '{fault['ctx']['tag']}'. {did_you_mean(fault['ctx']['tag'], tags)}"
    if fault["type"] == "missing":
        return f"missing key '{key}'"
    if fault["type"] == "literal_error":
        return f"{key}: {fault['input']!r} is none of {fault['ctx']['expected']}"
    message = fault["msg"].removeprefix("Value error, ")
    return f"{key}: {message}" if key else message


_KEYS_OF: dict[str, tuple[str, ...]] = {}


def register_keys(name: str, model: type[BaseModel]) -> None:
    """Tell the error messages which keys stand under ``name`` (a key, or a check's tag)."""
    _KEYS_OF[name] = tuple(model.model_fields)


def _siblings(fault: dict[str, Any]) -> tuple[str, ...]:
    """Valid keys beside the faulty one, by the nearest named ancestor."""
    for part in reversed(fault["loc"][:-1]):
        if isinstance(part, str) and part in _KEYS_OF:
            return _KEYS_OF[part]
    return _KEYS_OF.get("", ())


def _exists_or_last(data: Any, loc: tuple[Any, ...], part: Any) -> bool:
    """Leave out union tags, which pydantic puts into a location but the file does not hold."""
    node = data
    for step in loc:
        if step == part and step == loc[-1]:
            return True
        present = (isinstance(node, dict) and step in node) or (
            isinstance(node, list) and isinstance(step, int) and step < len(node)
        )
        if step == part:
            return present
        if present:
            node = node[step]
    return False


def _line(tree: yaml.Node | None, loc: tuple[Any, ...]) -> int:
    """Line (from 1) of the deepest node of ``loc`` that the file holds."""
    node, line = tree, 1
    for step in loc:
        if isinstance(node, yaml.MappingNode):
            found = next(((k, v) for k, v in node.value if k.value == step), None)
            if found:
                line, node = found[0].start_mark.line + 1, found[1]
        elif isinstance(node, yaml.SequenceNode) and step in range(len(node.value)):
            node = node.value[step]
            line = node.start_mark.line + 1
    return line
