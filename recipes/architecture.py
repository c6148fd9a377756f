"""The shape of a base model, without its weights and, for our recipes, without the Hub."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recipes.errors import UserError
from recipes.recipe import RECIPES, ROOT


@dataclass(frozen=True)
class Linear:
    """One linear layer: its last name, its sizes, and whether it is the head."""

    name: str
    in_features: int
    out_features: int
    is_head: bool


@dataclass(frozen=True)
class Architecture:
    """What memory and time are reckoned from.

    Attributes:
        model_type: transformers' name for the family.
        parameters: all of them, tied ones once.
        linears: every linear layer.
        hidden_size: width of the residual stream.
        layers: number of decoder blocks.
        vocabulary: number of token embeddings.
    """

    model_type: str
    parameters: int
    linears: tuple[Linear, ...]
    hidden_size: int
    layers: int
    vocabulary: int

    def adapted(self, targets: list[str]) -> list[Linear]:
        """The linear layers that these `lora_target_modules` name."""
        return [linear for linear in self.linears if linear.name in targets]


def architecture(base_model: str) -> Architecture:
    """Build the model on the meta device, from the nearest description of it.

    Looks for a local folder, then for the description kept in `recipes/architectures`, then into
    the Hub's cache.

    Raises:
        UserError: none of them is there.
    """
    config = _config(base_model)
    import torch
    from torch import nn
    from transformers import AutoConfig, AutoModelForCausalLM

    built = AutoConfig.for_model(**config) if isinstance(config, dict) else config
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(built)
    model.tie_weights()
    head = model.get_output_embeddings()
    linears = tuple(
        Linear(name.rsplit(".", 1)[-1], module.in_features, module.out_features, module is head)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
    )
    return Architecture(
        model_type=built.model_type,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        linears=linears,
        hidden_size=built.hidden_size,
        layers=built.num_hidden_layers,
        vocabulary=built.vocab_size,
    )


def _config(base_model: str) -> Any:
    local = Path(base_model).expanduser()
    local = local if local.is_absolute() else ROOT / local
    if (local / "config.json").is_file():
        return json.loads((local / "config.json").read_text(encoding="utf-8"))
    kept = RECIPES / "architectures" / f"{base_model.replace('/', '--')}.json"
    if kept.is_file():
        return json.loads(kept.read_text(encoding="utf-8"))
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(base_model, trust_remote_code=False)
    except (OSError, ValueError):
        raise UserError(
            f"{base_model} is neither a local model nor in reach on the Hub",
            "base_model",
            "Mend the name, or check the network",
        ) from None
