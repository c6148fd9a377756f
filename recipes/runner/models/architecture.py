"""The shape of a base model, without its weights and, for our recipes, without the Hub."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recipes.runner.core.errors import UserError
from recipes.runner.core.files import write_text
from recipes.runner.core.recipe import RECIPES, ROOT


@dataclass(frozen=True)
class Linear:
    """One linear layer: its last name, its sizes, and whether it is the head."""

    name: str
    in_features: int
    out_features: int
    is_head: bool


@dataclass(frozen=True)
class Architecture:
    """What memory and time are estimated from.

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
    """The shape of a base model, from the nearest description of it.

    Looks for one kept in `recipes/architectures`, which needs no import of transformers; then for
    a local folder; then into the Hub's cache and the Hub.

    Raises:
        UserError: none of them is there.
    """
    kept = _kept(base_model)
    if kept is not None:
        return _from_shape(kept["shape"])
    return build(_config(base_model))


def build(config: Any) -> Architecture:
    """Build the model on the meta device, where it takes no memory, and read its shape.

    Args:
        config: a transformers configuration, or the content of a config.json.
    """
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


def as_json(shape: Architecture) -> dict[str, Any]:
    """The shape as `recipes/architectures` keeps it: like layers together, with their count."""
    counts = Counter(shape.linears)
    return {
        "model_type": shape.model_type,
        "parameters": shape.parameters,
        "hidden_size": shape.hidden_size,
        "layers": shape.layers,
        "vocabulary": shape.vocabulary,
        "linears": [{**vars(linear), "count": count} for linear, count in counts.items()],
    }


def kept_file(base_model: str) -> Path:
    """Where the description of a model would be kept."""
    return RECIPES / "architectures" / f"{base_model.replace('/', '--')}.json"


def keep(base_model: str) -> Path:
    """Write the description of a model, so that `plan` and `check` need neither it nor the Hub.

    Returns:
        The file in `recipes/architectures`, written by rename.

    Raises:
        UserError: the model is neither local nor in reach on the Hub.
    """
    config = _config(base_model)
    plain = config if isinstance(config, dict) else config.to_diff_dict()
    path = kept_file(base_model)
    kept = {"config": plain, "shape": as_json(build(dict(plain)))}
    write_text(path, json.dumps(kept, indent=2) + "\n")
    return path


def _from_shape(shape: dict[str, Any]) -> Architecture:
    linears = []
    for entry in shape["linears"]:
        fields = {key: value for key, value in entry.items() if key != "count"}
        linears += [Linear(**fields)] * entry["count"]
    return Architecture(**{**shape, "linears": tuple(linears)})


def _kept(base_model: str) -> dict[str, Any] | None:
    path = kept_file(base_model)
    if not path.is_file():
        return None
    kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return kept


def _config(base_model: str) -> Any:
    local = Path(base_model).expanduser()
    local = local if local.is_absolute() else ROOT / local
    if (local / "config.json").is_file():
        return json.loads((local / "config.json").read_text(encoding="utf-8"))
    from huggingface_hub.utils import logging as hub_logging
    from transformers import AutoConfig

    hub_logging.set_verbosity_error()  # its retries; what they come to is said below
    try:
        return AutoConfig.from_pretrained(base_model, trust_remote_code=False)
    except (OSError, ValueError):
        raise UserError(
            f"{base_model} is neither a local model nor in reach on the Hub",
            "base_model",
            "Correct the name, or check the network",
        ) from None
