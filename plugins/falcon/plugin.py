"""The Axolotl plugin: which part of this package acts when."""

from __future__ import annotations

from typing import Any

from axolotl.integrations.base import BasePlugin
from torch import nn

from plugins.falcon import quantization
from plugins.falcon.args import FalconOptions
from plugins.falcon.model import install
from recipes.errors import UserError

LORA_KERNELS = ("lora_qkv_kernel", "lora_o_kernel", "lora_mlp_kernel")


def options_of(cfg: Any) -> FalconOptions:
    """The recipe's `falcon:` block, with defaults where it is silent."""
    return FalconOptions(**dict(cfg.get("falcon") or {}))


class FalconPlugin(BasePlugin):
    """Train Falcon quantised when asked, packed without leaks, and fast where the machine can."""

    def get_input_args(self) -> str:
        """Where Axolotl finds the schema of the `falcon:` block."""
        return "plugins.falcon.args.FalconArgs"

    def register(self, cfg: dict) -> None:
        """Switch off Axolotl's LoRA kernels, which stop on Falcon's fused query_key_value.

        Raises:
            UserError: the recipe asks for one of them.
        """
        for key in LORA_KERNELS:
            if cfg.get(key):
                raise UserError(
                    "Axolotl's LoRA kernels don't know Falcon's fused query_key_value",
                    where=key,
                    todo="Remove the key: the Falcon plugin brings its own",
                )
            cfg[key] = False

    def pre_model_load(self, cfg: Any) -> None:
        """Let the loader quantise Falcon, and refuse models that this plugin is not for.

        Raises:
            UserError: not a Falcon, or packing asked of a Falcon with alibi.
        """
        if cfg.model_config_type != "falcon":
            raise UserError(
                f"plugins.falcon.FalconPlugin is for model type falcon, not {cfg.model_config_type}",
                where="plugins",
                todo="Remove it from this recipe",
            )
        if options_of(cfg).enabled:
            quantization.enable()

    def post_model_build(self, cfg: Any, model: nn.Module) -> None:
        """Keep packed documents apart.

        Raises:
            UserError: packing asked of a Falcon with alibi.
        """
        if not options_of(cfg).enabled:
            return
        if cfg.sample_packing and model.config.alibi:
            raise UserError(
                "this Falcon has alibi positions, and packed conversations would share them",
                where="sample_packing",
                todo="Set sample_packing: false",
            )
        install(model)
