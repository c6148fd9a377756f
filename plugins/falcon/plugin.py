"""The Axolotl plugin for Falcon."""

from __future__ import annotations

from typing import Any

from torch import nn

from plugins.falcon import quantization
from plugins.falcon.model import FALCON, find_falcon, install, why_not_fused
from plugins.fused.backends import Choice
from plugins.fused.plugin import FusedPlugin
from recipes.runner.core.errors import UserError

_KEEPS_APART = ("sdpa", "eager", None)


class FalconPlugin(FusedPlugin):
    """Train Falcon quantised when asked, packed without leaks, and fast where the machine can."""

    key = "falcon"
    model_types = ("falcon",)
    architecture = FALCON
    attends_in_modules = True

    def get_input_args(self) -> str:
        """Where Axolotl finds the schema of the `falcon:` block."""
        return "plugins.falcon.args.FalconArgs"

    def find(self, model: nn.Module) -> Any:
        """As `FusedPlugin.find`."""
        return find_falcon(model)

    def why_not_fused(self, found: Any) -> str:
        """As `FusedPlugin.why_not_fused`."""
        return why_not_fused(found)

    def install(self, model: nn.Module, choice: Choice) -> None:
        """As `FusedPlugin.install`."""
        install(model, choice)

    def pre_model_load(self, cfg: Any) -> None:
        """Let the loader quantise Falcon, and refuse models that this plugin is not for.

        Raises:
            UserError: not a Falcon, or attention that can't keep packed sequences apart.
        """
        super().pre_model_load(cfg)
        if not self.options(cfg).enabled:
            return
        quantization.enable()
        if cfg.sample_packing and cfg.attn_implementation not in _KEEPS_APART:
            raise UserError(
                f"transformers' Falcon under {cfg.attn_implementation} takes no mask that keeps"
                " packed conversations apart",
                where="attn_implementation",
                todo="Set attn_implementation: sdpa (the fused block has its own attention)",
            )

    def post_model_build(self, cfg: Any, model: nn.Module) -> None:
        """Refuse packing that can't be right.

        Raises:
            UserError: packing asked of a Falcon with alibi.
        """
        config: Any = model.config
        if self.options(cfg).enabled and cfg.sample_packing and config.alibi:
            raise UserError(
                "this Falcon has alibi positions, and packed conversations would share them",
                where="sample_packing",
                todo="Set sample_packing: false",
            )
