"""What sets one model family apart from another, said once: a descriptor for each `model_type`.

A base of a family that stands here needs its recipe and its kept shape (`python -m recipes shape`)
and no code. A new family is one more descriptor.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

_LLAMA = "plugins.llama.LlamaPlugin"
LORA_KERNELS = ("lora_qkv_kernel", "lora_o_kernel", "lora_mlp_kernel")
"""Axolotl's, which it switches on by itself."""


@dataclass(frozen=True)
class Family:
    """One model family, as transformers builds it.

    Attributes:
        model_type: its name in a model's config.json.
        block: class of its decoder block, gathered as one by FSDP (`_no_split_modules`); None
            where it is not known, and FSDP is refused.
        norm: of the residual stream.
        activation: of the MLP.
        projections: ``joined``: one layer gives queries, keys and values; ``separate``: one each,
            and gate and up apart.
        own_linear: its linear layers are a subclass of nn.Linear, which transformers' 4-bit
            loading passes over unless the family's plugin helps it.
        bypassed: linear layers whose weight the family's kernels read by themselves, so that a LoRA
            there is never used (PEFT refuses it); Axolotl loads them unquantised.
        state_space: its layers carry a state along the row, so that packed conversations would run
            into one another, and need kernels of their own to be quick and small.
        lora_kernels: Axolotl's LoRA kernels can rewrite its attention. Where they can't, a run on a
            GPU that leaves them on stops ("Original QKV code not found").
        plugin: of the fused path, as a recipe names it; None where the family has none of ours.
        options: key of a recipe under which the fused path's options stand.
        names: regular expression of the names that its models have on the Hub, for where their
            configuration is out of reach; empty where none is needed.
    """

    model_type: str
    block: str | None
    norm: Literal["layer", "rms", "unknown"] = "rms"
    activation: Literal["gelu", "swiglu", "geglu", "unknown"] = "swiglu"
    projections: Literal["joined", "separate", "unknown"] = "separate"
    own_linear: bool = False
    bypassed: tuple[str, ...] = ()
    state_space: bool = False
    lora_kernels: bool = True
    plugin: str | None = None
    options: str | None = None
    names: str = ""

    def helped(self, config: Mapping[str, Any]) -> bool:
        """Whether a recipe names our plugin of this family, which helps ``own_linear``."""
        return self.plugin is not None and self.plugin in (config.get("plugins") or [])

    def fused_path(self, config: Mapping[str, Any], shards_weights: bool = False) -> bool:
        """Whether a recipe of this family trains on the fused path of `plugins`.

        Args:
            config: the recipe's keys.
            shards_weights: the run leaves no device with a whole model; the path steps aside there.
        """
        enabled = (config.get(str(self.options)) or {}).get("enabled") is not False
        return self.helped(config) and enabled and not shards_weights

    def fuses_loss(self, config: Mapping[str, Any], shards_weights: bool = False) -> bool:
        """Whether the loss is computed without the logits of a whole batch at once.

        By the fused path, unless its options say ``loss: plain``, or by liger where the recipe
        asks for it.
        """
        if self.fused_path(config, shards_weights):
            return (config.get(str(self.options)) or {}).get("loss") != "plain"
        return bool(config.get("liger_fused_linear_cross_entropy"))

    def recomputes(self, config: Mapping[str, Any]) -> bool:
        """Whether a block's inside can be made again in the backward instead of being kept."""
        return self.fused_path(config) or bool(config.get("gradient_checkpointing"))


FAMILIES: dict[str, Family] = {
    family.model_type: family
    for family in (
        Family(
            "falcon",
            "FalconDecoderLayer",
            norm="layer",
            activation="gelu",
            projections="joined",
            own_linear=True,
            lora_kernels=False,
            plugin="plugins.falcon.FalconPlugin",
            options="falcon",
            names=r"tiiuae/falcon-(rw-)?\d+b(-instruct)?",
        ),
        Family("llama", "LlamaDecoderLayer", plugin=_LLAMA, options="fused"),
        Family("mistral", "MistralDecoderLayer", plugin=_LLAMA, options="fused"),
        Family("qwen2", "Qwen2DecoderLayer", plugin=_LLAMA, options="fused"),
        Family("qwen3", "Qwen3DecoderLayer", plugin=_LLAMA, options="fused"),
        Family("gemma", "GemmaDecoderLayer", activation="geglu"),
        Family("gemma2", "Gemma2DecoderLayer", activation="geglu"),
        Family("gemma3_text", "Gemma3DecoderLayer", activation="geglu"),
        Family("phi3", "Phi3DecoderLayer", projections="joined", lora_kernels=False),
        Family("olmo2", "Olmo2DecoderLayer", lora_kernels=False),
        Family(
            "falcon_h1",
            "FalconH1DecoderLayer",
            bypassed=("out_proj", "conv1d"),
            state_space=True,
            lora_kernels=False,
        ),
    )
}


def family_of(model_type: str) -> Family:
    """The family's descriptor; one that knows nothing for a family that has none."""
    unknown = Family(model_type, None, norm="unknown", activation="unknown", projections="unknown")
    return FAMILIES.get(model_type, unknown)


def family_by_name(base_model: str) -> Family | None:
    """The family that a model's name on the Hub gives away; None where it doesn't."""
    for family in FAMILIES.values():
        if family.names and re.fullmatch(family.names, base_model, re.IGNORECASE):
            return family
    return None
