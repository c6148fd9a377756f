"""What each strategy asks of a recipe and of a GPU, and the combinations that can't be right."""

from __future__ import annotations

import importlib.util
from typing import Any

import yaml

from recipes.runner.core.errors import UserError
from recipes.runner.core.overrides import Overrides
from recipes.runner.core.recipe import RECIPES, display_path
from recipes.runner.models.architecture import architecture
from recipes.runner.models.families import FAMILIES, family_of

STRATEGIES = ("ddp", "zero2", "zero3", "fsdp")
FOLDER = RECIPES / "accelerate"
_STORAGE = "bnb_config_kwargs.bnb_4bit_quant_storage"
_WHOLE_UNDER_FSDP = ("dpo", "ipo", "kto", "orpo")  # of a 4-bit base, by Axolotl's own refusal
PARTS_WEIGHTS = ("zero3", "fsdp")
"""Those that leave no GPU with a whole model; the Falcon plugin steps aside there."""


def strategy_settings(strategy: str, config: dict[str, Any], given: Overrides) -> Overrides:
    """Keys that Axolotl needs beside the recipe's own.

    Args:
        strategy: one of `STRATEGIES`.
        config: the recipe's keys, the command line's applied.
        given: those of the command line.

    Raises:
        UserError: this recipe can't run so.
    """
    if strategy == "ddp":
        return {}
    for key in ("deepspeed", "fsdp_config"):
        if config.get(key):
            raise UserError(
                f"the recipe has {key} of its own, and STRATEGY={strategy} would bring another",
                key,
                "Leave one out",
            )
    if strategy == "fsdp":
        return _fsdp(config, given)
    return _deepspeed(strategy, config)


def refuse_uninstalled(strategy: str) -> None:
    """Stop where a strategy's library is missing.

    Raises:
        UserError: DeepSpeed is not installed.
    """
    if strategy.startswith("zero") and importlib.util.find_spec("deepspeed") is None:
        raise UserError(
            f"{strategy} needs DeepSpeed, which is not installed",
            "STRATEGY",
            "make setup EXTRAS=deepspeed, or STRATEGY=ddp",
        )


def _deepspeed(strategy: str, config: dict[str, Any]) -> Overrides:
    settings: Overrides = {"deepspeed": display_path(FOLDER / f"{strategy}.json")}
    if strategy == "zero3":
        return settings | _parted_base(strategy, config)
    if config.get("load_in_4bit"):
        # DeepSpeed casts every floating-point parameter, and packed 4-bit weights are no numbers.
        settings[_STORAGE] = "uint8"
    return settings


def _fsdp(config: dict[str, Any], given: Overrides) -> Overrides:
    keys = yaml.safe_load((FOLDER / "fsdp.yaml").read_text(encoding="utf-8"))["fsdp_config"]
    plain = {key.removeprefix("fsdp_"): value for key, value in keys.items()}
    settings: Overrides = {"fsdp_version": plain.pop("version")}
    settings |= {f"fsdp_config.{key}": value for key, value in plain.items()}
    settings["fsdp_config.transformer_layer_cls_to_wrap"] = _block(str(config.get("base_model")))
    if config.get("load_in_4bit"):
        # bitsandbytes quantises on the GPU, each rank for itself.
        settings["fsdp_config.cpu_ram_efficient_loading"] = False
    settings |= _parted_base("fsdp", config)
    optimizer = str(config.get("optimizer") or "")
    if "8bit" in optimizer or optimizer.startswith("paged_"):
        if "optimizer" in given:
            raise UserError(
                f"{optimizer} of bitsandbytes can't step parameters in FSDP's shards",
                "optimizer",
                "SET=optimizer=adamw_torch_fused, or STRATEGY=zero2",
            )
        settings["optimizer"] = "adamw_torch_fused"
    return settings


def _parted_base(strategy: str, config: dict[str, Any]) -> Overrides:
    """What a base in shards asks for, where it is quantised."""
    if config.get("load_in_8bit"):
        raise UserError(
            f"an 8-bit base has not been tried in {strategy}'s shards",
            "load_in_8bit",
            "STRATEGY=zero2 or ddp keep it whole; load_in_4bit can be in shards",
        )
    if not config.get("load_in_4bit"):
        return {}
    if strategy == "fsdp" and config.get("rl") in _WHOLE_UNDER_FSDP:
        raise UserError(
            f"Axolotl puts no 4-bit base under rl: {config['rl']} in FSDP2's shards",
            "load_in_4bit",
            "STRATEGY=zero2 or ddp keep it whole",
        )
    if strategy == "fsdp":
        # Bytes are copied as they are. Packed in 16 bits, FSDP2 would copy them as numbers by way
        # of float32 (`torch._foreach_copy_` on a GPU), where pairs that look like NaN change.
        return {_STORAGE: "uint8"}
    # Shards travel in the dtype of computing, and packed 4-bit weights must arrive as they left.
    if config.get("fp16"):
        return {_STORAGE: "float16"}
    return {_STORAGE: "bfloat16", "bf16": True}


def _block(base_model: str) -> str:
    family = family_of(architecture(base_model).model_type)
    if family.block is None:
        raise UserError(
            f"fsdp has not been set up for {family.model_type} models"
            f" ({', '.join(FAMILIES)} it knows)",
            "STRATEGY",
            "STRATEGY=zero3 or ddp",
        )
    return family.block
