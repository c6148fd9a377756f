"""What an estimate leaves out or takes for granted, said beside it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from recipes.runner.estimate.activations import way_through, widths_of
from recipes.runner.estimate.memory import GIB, Memory, offloads, recomputes
from recipes.runner.estimate.optimizer import kind_of
from recipes.runner.estimate.own_shards import own_strategy
from recipes.runner.estimate.passes import copies_reference, passes_of
from recipes.runner.estimate.trained import is_quantised
from recipes.runner.models.architecture import Architecture
from recipes.runner.models.families import FAMILIES, family_of

# What changes memory in ways that are not estimated: key to what it does.
_UNKNOWN = {
    "peft_layer_replication": "layers that are used several times",
    "relora": "merging the adapter again and again",
    "torch_compile": "what a compiled graph keeps",
    "qat": "fake quantisation",
    "layer_offloading": "layers that wait on the host",
    "selective_checkpointing": "which tensors are kept",
    "gptq": "a GPTQ base",
    "model_quantization_config": "a base quantised in another way",
    "quantize_moe_experts": "experts in few bits",
    "reward_model": "a head for rewards in place of the model's",
    "process_reward_model": "a head for rewards in place of the model's",
    "lisa_n_layers": "layers that take turns",
    "tokens": "rows that new tokens add to embeddings and head",
    "resize_token_embeddings_to_32x": "rows that are added to embeddings and head",
}
_PARALLEL = ("tensor_parallel_size", "context_parallel_size", "expert_parallel_size")
_TRAINERS = {
    "spectrum": "which layers Spectrum picks",
    ".kd": "the teacher",
    ".mora": "MoRA",
    "diffusion": "diffusion training",
}


def remarks(
    config: dict[str, Any], shape: Architecture, memory: Memory, sharded: bool = False
) -> list[str]:
    """What `plan` can't know or took for granted, a sentence each.

    Args:
        config: the recipe's keys.
        shape: the base model's.
        memory: the estimate.
        sharded: whether no device holds a whole model.
    """
    return [*_unknown(config, shape), *_assumed(config, shape, memory, sharded)]


def _unknown(config: dict[str, Any], shape: Architecture) -> Iterator[str]:
    for key, what in _UNKNOWN.items():
        if config.get(key):
            yield f"{key}: {what}, not counted"
    for key in _PARALLEL:
        if isinstance(config.get(key), int) and config[key] > 1:
            yield f"{key}: parts of layers on other cards, not counted; this is for a whole model"
    for named, what in _TRAINERS.items():
        if any(named in str(plugin) for plugin in config.get("plugins") or []):
            yield f"{what}, not counted"
    if kind_of(config) is None:
        yield (
            f"optimizer: {config['optimizer']} is not known here, counted as two moments in the"
            " dtype of what is trained"
        )
    if passes_of(config).unknown:
        yield f"rl: {passes_of(config).unknown}"
    if any(len(sizes) > 2 and module.kind == "other" for module in shape.modules
           for _, sizes in module.parameters):  # fmt: skip
        yield "what the experts of a mixture pass among themselves is not counted"
    if shape.model_type not in FAMILIES or widths_of(shape).others:
        yield (
            f"{shape.model_type} has layers whose kernels are not known here: their activations"
            " are counted by width, and may be far off"
        )


def _assumed(
    config: dict[str, Any], shape: Architecture, memory: Memory, sharded: bool
) -> Iterator[str]:
    family = family_of(shape.model_type)
    bits = config.get("load_in_4bit") or config.get("load_in_8bit")
    own = family.own_linear and not family.helped(config)
    if bits and own and not any(is_quantised(module, config, shape) for module in shape.body):
        yield (
            f"{shape.model_type}'s linear layers are its own class, which is not quantised without"
            " this repository's plugin: the base stands in float32"
        )
    whole_bits = config.get("adapter") and not bits
    if whole_bits and (config.get("deepspeed") and own_strategy(config) == "zero3"):
        yield (
            "DeepSpeed held 10 GiB more than this for Falcon-7B on two cards, and why is not known"
            " (recipes/launch/README.md)"
        )
    if bits and config.get("adapter") == "lora" and not config.get("load_in_8bit"):
        yield "Axolotl quantises to 4 bits for adapter: qlora alone: the base stands in float32"
    if memory.paged:
        yield (
            f"{memory.paged / GIB:.2f} GiB of the optimizer move to the host where the card is full"
        )
    if way_through(config, shape, sharded) == "kernels":
        yield "with Axolotl's LoRA kernels, which it switches on by itself (lora_*_kernel)"
    options = config.get(str(family.options)) or {}
    auto = family.helped(config) and options.get("memory", "auto") == "auto" and not sharded
    if auto and recomputes(config, shape, sharded):
        yield "the least it needs: memory: auto keeps more where the card has room, and is faster"
    if offloads(config):
        yield "what is kept for the backward lies on the host or the disk, which must have room"
    if copies_reference(config):
        yield "the reference is a second copy of the model; with an adapter it would be none"
    if not config.get("sample_packing"):
        yield "rows are counted at sequence_len; shorter ones take less"
