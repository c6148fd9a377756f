"""`SET="lora_r=64 learning_rate=1e-4"`: overrides of a recipe, as Axolotl's own flags."""

from __future__ import annotations

import shlex
from typing import Any

from recipes.runner.core.errors import UserError
from recipes.runner.core.yaml_file import read_value

Overrides = dict[str, Any]

_FORM = 'Write SET="key=value key=value"'


def parse_overrides(text: str) -> Overrides:
    """Read ``key=value`` pairs, with values as in YAML: ``[a, b]`` is a list.

    A key one level down is written with a dot: ``falcon.memory=low``.

    Raises:
        UserError: a pair without ``=``, a key more than one level down or into a list, or a value
            that YAML can't read.
    """
    overrides: Overrides = {}
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UserError(f"can't be read: {error}", "SET", _FORM) from None
    for word in words:
        key, separator, value = word.partition("=")
        if not separator or not key:
            raise UserError(f"{word!r} is no key=value", "SET", _FORM)
        parts = key.lstrip("-").split(".")
        if len(parts) > 2 or any(part.isdigit() or "[" in part for part in parts):
            raise UserError(
                f"{key} lies too deep: Axolotl's flags reach a key, or one key inside it",
                "SET",
                "Copy the recipe and change it there",
            )
        overrides[".".join(parts)] = _value(key, value)
    return overrides


def _value(key: str, text: str) -> Any:
    try:
        value = read_value(text)
    except ValueError:
        raise UserError(f"the value of {key} can't be read: {text!r}", "SET", "Quote it") from None
    if isinstance(value, str):
        try:
            return float(value)  # 1e-4, which YAML 1.1 takes for text
        except ValueError:
            return value
    return value


def as_flags(overrides: Overrides) -> list[str]:
    """The overrides as flags of `python -m axolotl.cli.train`, whose parser reads Python values."""
    return [f"--{key.replace('.', '__')}={value!r}" for key, value in overrides.items()]


def apply(config: dict[str, Any], overrides: Overrides) -> dict[str, Any]:
    """The recipe's keys with the overrides in place, as Axolotl will see them."""
    merged = dict(config)
    for key, value in overrides.items():
        parent, _, child = key.partition(".")
        if child:
            below = merged.get(parent)
            merged[parent] = {**(below if isinstance(below, dict) else {}), child: value}
        else:
            merged[key] = value
    return merged
