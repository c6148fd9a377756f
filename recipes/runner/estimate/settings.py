"""The values that an estimate reads, refused in a line where they are of another type."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from recipes.runner.core.errors import UserError, UserErrors

_WHOLE = (
    "micro_batch_size",
    "eval_batch_size",
    "gradient_accumulation_steps",
    "sequence_len",
    "max_steps",
)
_NUMBERS = ("num_epochs", "val_set_size")
_MAPPINGS = (
    "bnb_config_kwargs", "lora_rank_pattern", "lora_alpha_pattern", "falcon", "fused",
    "gradient_checkpointing_kwargs", "fsdp_config",
)  # fmt: skip
_NAMES = (
    "lora_modules_to_save",
    "unfrozen_parameters",
    "plugins",
    "lora_target_modules",
    "lora_target_parameters",
    "lora_exclude_modules",
    "peft_layers_pattern",
)
_LAYERS = "peft_layers_to_transform"


def refuse_unreadable(config: Mapping[str, Any]) -> None:
    """Stop at values that no estimate can be made from; `make check` knows the other keys.

    Raises:
        UserErrors: each of them, with its key.
    """
    problems = []
    if not isinstance(config.get("base_model"), str) or not config["base_model"]:
        problems.append(UserError("names no model", "base_model", "Write base_model: its/name"))
    for key in _WHOLE:
        value = config.get(key)
        if value is not None and (
            isinstance(value, bool) or not isinstance(value, int) or value < 1
        ):
            if key == "max_steps" and value == -1:  # transformers' word for: not given
                continue
            problems.append(
                UserError(
                    f"is {value!r}, and has to be a whole number from 1 on",
                    key,
                    "Correct it",
                )
            )
    epochs = config.get("num_epochs")
    if epochs is not None and (
        isinstance(epochs, bool) or not isinstance(epochs, int | float) or not 0 < epochs < math.inf
    ):
        problems.append(UserError(f"is {epochs!r}, no number above 0", "num_epochs", "Correct it"))
    for key in _MAPPINGS:
        if not isinstance(config.get(key) or {}, dict):
            problems.append(UserError(f"is {config[key]!r}, no block of keys", key, "Correct it"))
    for key in _NAMES:
        if not isinstance(config.get(key) or [], list | str):
            problems.append(UserError(f"is {config[key]!r}, no list of names", key, "Correct it"))
    for key in ("datasets", "test_datasets"):
        value = config.get(key)
        if value is not None and not (
            isinstance(value, list) and all(isinstance(entry, dict) for entry in value)
        ):
            problems.append(UserError(f"is {value!r}, no list of data sets", key, "Correct it"))
    layers = config.get(_LAYERS)
    listed = layers if isinstance(layers, list) else [layers]
    if layers is not None and any(type(layer) is not int for layer in listed):
        problems.append(UserError(f"is {layers!r}, no list of numbers", _LAYERS, "Correct it"))
    if problems:
        raise UserErrors(problems)


def as_axolotl_reads(config: Mapping[str, Any]) -> dict[str, Any]:
    """The same keys, with numbers in place of texts like ``1e1``, which Axolotl takes for them."""
    read = dict(config)
    for key in (*_WHOLE, "lora_r", *_NUMBERS):
        value = config.get(key)
        if not isinstance(value, str | float):
            continue
        try:
            number = float(value)
            exact = key in _NUMBERS
            # A whole number may be 8.0, and as a text has no exponent.
            read[key] = number if exact else int(value if isinstance(value, str) else number)
            if not exact and isinstance(value, float) and value != read[key]:
                read[key] = value
        except (ValueError, OverflowError):
            continue  # which is refused
    return read


def whole(config: Mapping[str, Any], key: str, default: int) -> int:
    """A whole number, or the default where it is not given."""
    value = config.get(key)
    return int(value) if value and value > 0 else default
