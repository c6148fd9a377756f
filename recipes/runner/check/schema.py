"""What Axolotl and a recipe's plugins accept, key by key, from their own pydantic models."""

from __future__ import annotations

import copy
import enum
import functools
import importlib
import inspect
import re
import types
import typing
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Union

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    TypeAdapter,
    ValidationError,
)

from recipes.runner.check.finding import Finding, Level, spelt, words
from recipes.runner.check.hints import unknown_key
from recipes.runner.core.nearest import did_you_mean
from recipes.runner.core.yaml_file import KeyPath

_FIELD_VALIDATORS = {"before": BeforeValidator, "after": AfterValidator}


def root_models(plugin_names: list[str]) -> list[type[BaseModel]]:
    """Axolotl's configuration model and the argument models of these plugins."""
    from axolotl.utils.schemas.config import AxolotlConfigWCapabilities

    models: list[type[BaseModel]] = [AxolotlConfigWCapabilities]
    for name in plugin_names:
        models += plugin_models(name)
    return models


def plugin_models(name: str) -> list[type[BaseModel]]:
    """The model of the keys that a plugin adds, as Axolotl would load it; none for no keys.

    Raises:
        ImportError: there is no such plugin, or it misses a package.
        AttributeError: it is no plugin of Axolotl's.
    """
    dotted_args = load_plugin_class(name)().get_input_args()
    if not dotted_args:
        return []
    module, attribute = dotted_args.rsplit(".", 1)
    return [getattr(importlib.import_module(module), attribute)]


def load_plugin_class(name: str) -> type:
    """The class that Axolotl would load for a plugin's name.

    Raises:
        ImportError: there is no such module or class.
    """
    module_name, _, class_name = str(name).rpartition(".")
    for candidate in (module_name, f"axolotl.integrations.{module_name}"):
        try:
            module = importlib.import_module(candidate) if candidate else None
        except (ModuleNotFoundError, ValueError, TypeError) as error:
            # A plugin that is there, but misses a package, is another matter than no such plugin.
            missing = getattr(error, "name", None)
            if missing and not candidate.startswith(missing):
                raise
            continue
        found = getattr(module, class_name, None)
        if inspect.isclass(found):
            return found
    raise ImportError(name)


def check_root(config: dict[str, Any], models: list[type[BaseModel]]) -> Iterator[Finding]:
    """Unknown keys and values of the wrong type of a whole recipe.

    Axolotl chooses the model of a data set by ``rl`` and the set's type, and takes old spellings
    inside ``fsdp_config``, before pydantic sees either.
    """
    fsdp = config.get("fsdp_config")
    if isinstance(fsdp, dict):
        from axolotl.utils.schemas.fsdp import FSDPConfig

        old = [str(key) for key in fsdp if str(key).startswith("fsdp_") and key != "fsdp_version"]
        old = [key for key in old if key[5:] in FSDPConfig.model_fields]
        if old:
            what = f"{old[0]} is an old spelling, which Axolotl reads as {old[0][5:]}"
            yield Finding(("fsdp_config",), what, "Leave fsdp_ away from its keys", "note")
    yield from check_mapping(config, models, ())


def data_set_model(config: dict[str, Any], entry: dict[Any, Any]) -> type[BaseModel]:
    """The model that Axolotl validates an entry of ``datasets`` by (its `validate_config`)."""
    from axolotl.utils.schemas import datasets as known

    if config.get("rl") in ("dpo", "ipo", "simpo"):
        return known.DPODataset
    if config.get("rl") == "kto":
        return known.KTODataset
    return known.SyntheticDataset if entry.get("type") == "_synthetic" else known.SFTDataset


def check_mapping(
    value: dict[Any, Any], models: list[type[BaseModel]], path: KeyPath
) -> Iterator[Finding]:
    """Unknown keys and values of the wrong type, at any depth of ``value``."""
    fields = {key: (model, name) for model in models for key, name in _names(model).items()}
    known = {key: model.model_fields[name] for key, (model, name) in fields.items()}
    for key, item in value.items():
        child = (*path, str(key))
        name = str(key)
        if path == ("fsdp_config",) and name.startswith("fsdp_") and name != "fsdp_version":
            name = name.replace("fsdp_", "")
        if name not in fields:
            # An empty one changes nothing, as in files of older versions of Axolotl.
            level: Level = "warning" if item is None else "error"
            yield Finding(child, *unknown_key(str(key), known, path, value), level)
        elif path == () and name == "datasets" and isinstance(item, list):
            yield from _check_data_sets(value, item)
        else:
            yield from _check_value(item, _annotation(*fields[name]), child)


def _check_data_sets(config: dict[str, Any], items: list[Any]) -> Iterator[Finding]:
    for index, item in enumerate(items):
        place = ("datasets", index)
        if not isinstance(item, dict):
            yield Finding(place, f"is {spelt(item)}, which is no mapping of keys", "Give one")
            continue
        yield from check_mapping(item, [data_set_model(config, item)], place)


@functools.cache
def _names(model: type[BaseModel]) -> dict[str, str]:
    """What may be written for each field: its name and its aliases."""
    found: dict[str, str] = {}
    for name, info in model.model_fields.items():
        found[name] = name
        for alias in (info.alias, info.validation_alias):
            if isinstance(alias, str):
                found[alias] = name
            elif isinstance(alias, AliasChoices):
                found.update({choice: name for choice in alias.choices if isinstance(choice, str)})
    return found


def _annotation(model: type[BaseModel], name: str) -> Any:
    """A field's type with its bounds and the validators that its model gives it."""
    info = model.model_fields[name]
    annotation: Any = info.annotation
    for bound in info.metadata:
        annotation = Annotated[annotation, bound]
    for decorator in model.__pydantic_decorators__.field_validators.values():
        kind = _FIELD_VALIDATORS.get(decorator.info.mode)
        if kind and name in decorator.info.fields:
            annotation = Annotated[annotation, kind(decorator.func)]
    return annotation


def _check_value(value: Any, annotation: Any, path: KeyPath) -> Iterator[Finding]:
    options = list(_options(annotation))
    if value is None:
        if options and not any(option in (Any, type(None)) for option in options):
            yield Finding(path, "is empty", "Give a value, or take the key out")
        return
    models = [option for option in options if _is_model(option)]
    if isinstance(value, dict) and models:
        yield from check_mapping(value, [_chosen_model(value, models)], path)
        return
    if isinstance(value, list):
        items = [typing.get_args(option) for option in options if _is_sequence(option)]
        if any(_is_model(o) for arguments in items for a in arguments for o in _options(a)):
            for index, item in enumerate(value):
                yield from _check_item(item, items, (*path, index))
            return
    yield from _check_scalar(value, annotation, options, path)


def _check_item(item: Any, arguments: list[tuple[Any, ...]], path: KeyPath) -> Iterator[Finding]:
    """One item of a list whose type may be one of several."""
    annotations = [argument[0] if argument else Any for argument in arguments]
    yield from _check_value(item, Union[tuple(annotations)], path)  # noqa: UP007


def _check_scalar(
    value: Any, annotation: Any, options: list[Any], path: KeyPath
) -> Iterator[Finding]:
    if Any in options:
        return
    # pydantic takes true for 1; a person who wrote `lora_r: true` meant something else.
    if isinstance(value, bool) and not _accepts_bool(options):
        word = str(value).lower()
        if path[-1] in _NUMBERS_ALONE or not {int, float} & set(options):
            yield Finding(path, f"is {word}, which is no {_spell(options)}", "Give one")
        elif value and path[-1] in _of_axolotl():
            what = f"is {word}, which Axolotl reads as the number 1"
            yield Finding(path, what, "Give a number", "warning")
        return
    try:
        TypeAdapter(annotation, config={"arbitrary_types_allowed": True}).validate_python(value)
    except ValidationError as error:
        yield from _of_validation(error, value, options, path)
    except Exception:  # a validator that asks for more than its value, or stumbles over its type
        plain = [option for option in options if option is not Any]
        try:
            TypeAdapter(Union[tuple(plain)]).validate_python(value)  # noqa: UP007
        except ValidationError as error:
            yield from _of_validation(error, value, options, path)
        except Exception:  # a type that pydantic can't build alone: Axolotl sees it later
            return


@functools.cache
def _of_axolotl() -> frozenset[str]:
    """Axolotl's own keys; a plugin may have a number for a switch (`kd_trainer`)."""
    from axolotl.utils.schemas.config import AxolotlInputConfig

    return frozenset(AxolotlInputConfig.model_fields)


# Numbers for which true and false can't be meant: the rest may be switched off by false.
_NUMBERS_ALONE = frozenset(
    words(
        """
    lora_r lora_alpha lora_dropout learning_rate num_epochs max_steps micro_batch_size
    batch_size gradient_accumulation_steps eval_batch_size sequence_len warmup_steps
    warmup_ratio weight_decay seed adam_beta1 adam_beta2 adam_epsilon logging_steps
    dpo_beta rl_beta
    """
    )
)


def _of_validation(
    error: ValidationError, value: Any, options: list[Any], path: KeyPath
) -> Iterator[Finding]:
    """What pydantic says about a value, at the item it is about."""
    faults = error.errors()
    place = path
    if isinstance(value, list | dict):
        inside = [fault["loc"] for fault in faults if fault["loc"]]
        steps = [step for step in max(inside, key=len, default=()) if _steps_into(value, step)]
        place = (*path, *(s if isinstance(s, int) else str(s) for s in steps[:1]))
    first = faults[0]
    shown = value
    if len(place) > len(path):
        step = place[-1]
        shown = value.get(step, value) if isinstance(value, dict) else value[int(step)]
        # Of a union's members the one that got furthest.
        first = max(faults, key=lambda fault: len(fault["loc"]))
    if len(place) == len(path) and all(_is_type_fault(fault) for fault in faults):
        yield Finding(path, f"is {spelt(value)}, which is no {_spell(options)}", "Give one")
        return
    if choices := _choices(first, options if len(place) == len(path) else []):
        what = (
            f"there is no {place[-1]} {shown}" if isinstance(shown, str) else f"is {spelt(shown)}"
        )
        yield Finding(place, what, did_you_mean(str(shown), choices, "There are"))
        return
    message = first["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    yield Finding(place, f"is {spelt(shown)}: {' '.join(message.split())}")


def _choices(fault: Any, options: list[Any]) -> list[str]:
    """The words that a value may be one of, where it may be no other."""
    if fault["type"] not in ("literal_error", "enum"):
        return []
    words = re.findall(r"'([^']*)'", fault["ctx"]["expected"])
    return [*words, *(("true", "false") if bool in options else ())]


def _steps_into(value: Any, step: int | str) -> bool:
    return (isinstance(value, list) and isinstance(step, int)) or (
        isinstance(value, dict) and step in value
    )


def _is_type_fault(fault: Any) -> bool:
    return "type" in fault["type"] or "parsing" in fault["type"]


def _chosen_model(value: dict[Any, Any], models: list[type[BaseModel]]) -> type[BaseModel]:
    """The model of a union that pydantic itself would choose for a value."""
    if len(models) == 1:
        return models[0]
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(Union[tuple(models)])  # noqa: UP007
        # Validators write into what they are given.
        return type(adapter.validate_python(copy.deepcopy(value)))
    except Exception:  # no member takes it: the nearest one says most about it
        return max(models, key=lambda model: sum(key in _names(model) for key in value))


def _options(annotation: Any) -> Iterator[Any]:
    """The members of an annotation, without unions and annotations around them."""
    origin = typing.get_origin(annotation)
    if origin is Annotated:
        yield from _options(typing.get_args(annotation)[0])
    elif origin in (Union, types.UnionType):
        for member in typing.get_args(annotation):
            yield from _options(member)
    else:
        yield annotation


def _is_model(option: Any) -> bool:
    return inspect.isclass(option) and issubclass(option, BaseModel)


def _is_sequence(option: Any) -> bool:
    return option is list or typing.get_origin(option) in (list, tuple, set)


def _accepts_bool(options: Iterable[Any]) -> bool:
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
        if option is type(None):
            continue
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
