"""The adapter that a recipe goes on with (`lora_model_dir`): its own settings count."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recipes.runner.core.recipe import ROOT
from recipes.runner.models.architecture import CannotEstimate

# Key of PEFT's adapter_config.json to Axolotl's.
_KEYS = {
    "r": "lora_r",
    "lora_alpha": "lora_alpha",
    "lora_dropout": "lora_dropout",
    "target_modules": "lora_target_modules",
    "target_parameters": "lora_target_parameters",
    "modules_to_save": "lora_modules_to_save",
    "exclude_modules": "lora_exclude_modules",
    "rank_pattern": "lora_rank_pattern",
    "alpha_pattern": "lora_alpha_pattern",
    "layers_to_transform": "peft_layers_to_transform",
    "layers_pattern": "peft_layers_pattern",
    "trainable_token_indices": "peft_trainable_token_indices",
    "use_dora": "peft_use_dora",
}
MADE_BY_TRL = ("dpo", "ipo", "kto")
"""Values of `rl` whose trainer makes the adapter by the recipe's keys, and has a reference."""
PREFERENCE_PLUGIN = "plugins.preference.PreferencePlugin"
"""Starts such a trainer from `lora_model_dir`, and keeps that for the reference."""


def names_preference_plugin(config: Mapping[str, Any]) -> bool:
    """Whether a recipe names `PREFERENCE_PLUGIN`."""
    return PREFERENCE_PLUGIN in (config.get("plugins") or ())


def with_saved_adapter(config: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe's keys with those of the saved adapter in place of its own.

    Axolotl loads it with `PeftModel.from_pretrained`, which asks the recipe for none of them; but
    where TRL makes the adapter, it is by the recipe's keys, and the saved weights come into it.

    Raises:
        CannotEstimate: the adapter is not on this machine.
    """
    folder = config.get("lora_model_dir")
    if not folder or not config.get("adapter") or config.get("rl") in MADE_BY_TRL:
        return dict(config)
    for place in (Path(str(folder)).expanduser(), ROOT / str(folder)):
        try:
            saved = json.loads((place / "adapter_config.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(saved, dict):
            kept = {ours: saved.get(theirs) for theirs, ours in _KEYS.items()}
            return {**config, **kept, "lora_target_linear": None, "lora_model_dir": None}
    raise CannotEstimate(
        f"there is no {folder}/adapter_config.json here, which says what is trained",
        "lora_model_dir",
        "Bring the adapter here, or leave it out of the plan",
    )
