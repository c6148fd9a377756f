"""The Axolotl plugin for Llama and its kind."""

from __future__ import annotations

from typing import Any

from torch import nn

from plugins.fused.backends import Choice
from plugins.fused.plugin import FusedPlugin
from plugins.llama.model import LLAMA, MODEL_TYPES, find_llama, install, why_not_fused


class LlamaPlugin(FusedPlugin):
    """Train Llama, Mistral, Qwen2, Qwen3, Falcon3 and SmolLM2 packed without leaks, and fast."""

    key = "fused"
    model_types = MODEL_TYPES
    architecture = LLAMA
    pads_in_modules = True

    def get_input_args(self) -> str:
        """Where Axolotl finds the schema of the `fused:` block."""
        return "plugins.llama.args.LlamaArgs"

    def find(self, model: nn.Module) -> Any:
        """As `FusedPlugin.find`."""
        return find_llama(model)

    def why_not_fused(self, found: Any) -> str:
        """As `FusedPlugin.why_not_fused`."""
        return why_not_fused(found)

    def install(self, model: nn.Module, choice: Choice) -> None:
        """As `FusedPlugin.install`."""
        install(model, choice)
