"""What Axolotl and a recipe's plugins accept, key by key, from their own pydantic models."""

from __future__ import annotations

import enum
import importlib
import inspect
import types
import typing
from collections.abc import Iterator
from typing import Annotated, Any, Union

from pydantic import AliasChoices, BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from recipes.runner.core.nearest import did_you_mean
from recipes.runner.core.yaml_file import Fault, KeyPath


def root_models(plugin_names: list[str]) -> list[type[BaseModel]]:
    """Axolotl's configuration model and the argument models of these plugins."""
    from axolotl.utils.schemas.config import AxolotlConfigWCapabilities

    models: list[type[BaseModel]] = [AxolotlConfigWCapabilities]
    for name in plugin_names:
        dotted_args = load_plugin_class(name)().get_input_args()
        if dotted_args:
            module, attribute = dotted_args.rsplit(".", 1)
            models.append(getattr(importlib.import_module(module), attribute))
    return models


def load_plugin_class(name: str) -> type:
    """The class that Axolotl would load for a plugin's name.

    Raises:
        ImportError: there is no such module or class.
    """
    module_name, _, class_name = str(name).rpartition(".")
    for candidate in (module_name, f"axolotl.integrations.{module_name}"):
        try:
            module = importlib.import_module(candidate) if candidate else None
        except ModuleNotFoundError as error:
            # A plugin that is there, but misses a package, is another matter than no such plugin.
            if error.name and not candidate.startswith(error.name):
                raise
            continue
        found = getattr(module, class_name, None)
        if inspect.isclass(found):
            return found
    raise ImportError(name)


def check_mapping(
    value: dict[Any, Any], models: list[type[BaseModel]], path: KeyPath
) -> Iterator[Fault]:
    """Unknown keys and values of the wrong type, at any depth of ``value``."""
    fields = {key: info for model in models for key, info in _fields(model).items()}
    for key, item in value.items():
        child = (*path, str(key))
        if key not in fields:
            yield (
                child,
                "unknown key",
                did_you_mean(str(key), fields)
                if len(fields) < 40
                else _near_or_nothing(str(key), fields),
            )
            continue
        yield from _check_value(item, fields[key].annotation, child)


def _near_or_nothing(key: str, fields: dict[str, FieldInfo]) -> str:
    hint = did_you_mean(key, fields)
    return hint if hint.startswith("Did") else "No key of Axolotl or a plugin is like it: remove it"


def _fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    found: dict[str, FieldInfo] = {}
    for name, info in model.model_fields.items():
        found[name] = info
        for alias in (info.alias, info.validation_alias):
            if isinstance(alias, str):
                found[alias] = info
            elif isinstance(alias, AliasChoices):
                found.update({choice: info for choice in alias.choices if isinstance(choice, str)})
    return found


def _check_value(value: Any, annotation: Any, path: KeyPath) -> Iterator[Fault]:
    if value is None:
        return
    options = list(_options(annotation))
    models = [option for option in options if _is_model(option)]
    if isinstance(value, dict) and models:
        yield from check_mapping(value, [_best_model(value, models)], path)
        return
    if isinstance(value, dict) and path[-1] in _KEYWORD_ARGUMENTS:
        yield from _check_keywords(value, path)
        return
    if isinstance(value, list):
        items = [typing.get_args(option) for option in options if _is_sequence(option)]
        if items:
            for index, item in enumerate(value):
                yield from _check_item(item, items, (*path, index))
            return
    yield from _check_scalar(value, annotation, options, path)


def _check_item(item: Any, arguments: list[tuple[Any, ...]], path: KeyPath) -> Iterator[Fault]:
    """One item of a list whose type may be one of several."""
    annotations = [argument[0] if argument else Any for argument in arguments]
    yield from _check_value(item, Union[tuple(annotations)], path)  # noqa: UP007


def _check_scalar(
    value: Any, annotation: Any, options: list[Any], path: KeyPath
) -> Iterator[Fault]:
    if Any in options:
        return
    # pydantic takes true for 1; a person who wrote `lora_r: true` meant something else.
    if isinstance(value, bool) and not _accepts_bool(options):
        yield path, f"is {str(value).lower()}, which is no {_spell(options)}", "Give one"
        return
    try:
        TypeAdapter(annotation, config={"arbitrary_types_allowed": True}).validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        if _only_types(error):
            yield path, f"is {value!r}, which is no {_spell(options)}", "Give one"
        else:
            yield path, f"is {value!r}: {first['msg']}", ""
    except Exception:  # a type that pydantic can't build alone: Axolotl's validation sees it later
        return


def _only_types(error: ValidationError) -> bool:
    return all("type" in item["type"] or "parsing" in item["type"] for item in error.errors())


def _check_keywords(value: dict[str, Any], path: KeyPath) -> Iterator[Fault]:
    known = _KEYWORD_ARGUMENTS[str(path[-1])]()
    for key in value:
        if key not in known:
            yield (*path, str(key)), "unknown key", did_you_mean(str(key), known)


def _bitsandbytes_keywords() -> set[str]:
    from transformers import BitsAndBytesConfig

    return set(inspect.signature(BitsAndBytesConfig.__init__).parameters) - {"self", "kwargs"}


def _checkpoint_keywords() -> set[str]:
    from torch.utils.checkpoint import checkpoint

    return set(inspect.signature(checkpoint).parameters) - {"function", "args", "kwargs"}


# Free-form dictionaries of Axolotl's schema whose keys are another function's parameters.
_KEYWORD_ARGUMENTS = {
    "bnb_config_kwargs": _bitsandbytes_keywords,
    "gradient_checkpointing_kwargs": _checkpoint_keywords,
}


def _best_model(value: dict[Any, Any], models: list[type[BaseModel]]) -> type[BaseModel]:
    return max(models, key=lambda model: sum(key in _fields(model) for key in value))


def _options(annotation: Any) -> Iterator[Any]:
    """The members of an annotation, without unions, None and annotations around them."""
    origin = typing.get_origin(annotation)
    if origin is Annotated:
        yield from _options(typing.get_args(annotation)[0])
    elif origin in (Union, types.UnionType):
        for member in typing.get_args(annotation):
            yield from _options(member)
    elif annotation is not type(None):
        yield annotation


def _is_model(option: Any) -> bool:
    return inspect.isclass(option) and issubclass(option, BaseModel)


def _is_sequence(option: Any) -> bool:
    return option is list or typing.get_origin(option) in (list, tuple, set)


def _accepts_bool(options: list[Any]) -> bool:
    return any(
        option is bool
        or (
            typing.get_origin(option) is typing.Literal
            and any(isinstance(choice, bool) for choice in typing.get_args(option))
        )
        for option in options
    )


_WORDS = {int: "whole number", float: "number", str: "text", bool: "true or false"}


def _spell(options: list[Any]) -> str:
    words = []
    for option in options:
        if typing.get_origin(option) is typing.Literal:
            words.append("one of " + ", ".join(str(choice) for choice in typing.get_args(option)))
        elif inspect.isclass(option) and issubclass(option, enum.Enum):
            words.append("one of " + ", ".join(str(member.value) for member in option))
        elif _is_sequence(option):
            words.append("list")
        elif _is_model(option) or option is dict or typing.get_origin(option) is dict:
            words.append("mapping of keys")
        else:
            words.append(_WORDS.get(option, getattr(option, "__name__", str(option))))
    return " or ".join(dict.fromkeys(words))
