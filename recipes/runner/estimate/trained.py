"""What a recipe trains, tensor by tensor, and in which dtype it is held."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from recipes.runner.core.errors import UserError, UserErrors
from recipes.runner.core.patterns import BadPattern, guarded, shown
from recipes.runner.estimate.own_shards import own_strategy
from recipes.runner.estimate.sharding import PARTS_WEIGHTS
from recipes.runner.models.adapted import Targets
from recipes.runner.models.architecture import Architecture, CannotEstimate, Module
from recipes.runner.models.families import family_of
from recipes.runner.models.saved_adapter import with_saved_adapter
from recipes.runner.models.targets import resolve

_ADAPTERS = ("lora", "qlora")
FLOAT32 = 4
# Axolotl's names for what sees and hears (`freeze_mm_modules`).
_MULTIMODAL = (
    "vision_tower", "vision_model", "vision_encoder", "embed_vision", "multi_modal_projector",
    "visual", "audio_tower", "audio_model", "embed_audio",
)  # fmt: skip

# nf4: half a byte a weight and, for each block of 64, an 8-bit absmax; the absmax of 256 blocks
# share one float32 (double quantisation, QLoRA, arXiv 2305.14314, section 3).
NF4_BYTES = 0.5 + (1 + 4 / 256) / 64
NF4_BYTES_SINGLE = 0.5 + 4 / 64
UNPACKED_MOST = 500_000_000
"""Weights that a CPU keeps out of four bits at most: 1 GB in 16 bits (plugins/cpu_lora.py)."""
_INT8_SCALE = 4  # bytes an output: bitsandbytes' SCB (arXiv 2208.07339, section 2)


@dataclass(frozen=True)
class Tensor:
    """One trained tensor.

    Attributes:
        shape: its sizes.
        width: bytes of an element, and of its gradient.
        embedding: whether it is the weight of an embedding, which bitsandbytes' optimizers keep
            in 32 bits (transformers' `register_module_override`).
        in_base: whether it is a weight of the base itself, not one beside it.
        by_adamw: whether optimizers for matrices leave it to AdamW (Axolotl 0.19's
            `MuonOptimizerFactory`: embeddings and head by their names, modules to save).
    """

    shape: tuple[int, ...]
    width: int
    embedding: bool = False
    in_base: bool = False
    by_adamw: bool = False

    @property
    def size(self) -> int:
        """Its elements."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """Bytes that it takes."""
        return self.size * self.width


@dataclass(frozen=True)
class Held:
    """How the base's weights are loaded.

    Attributes:
        base: bytes of a weight that is not quantised, in the decoder's linear layers.
        upcast: bytes of embeddings, norms and head, which Axolotl may hold in float32.
        quantised: ``nf4``, ``nf4 single`` (no double quantisation), ``int8``, or None.
    """

    base: int
    upcast: int
    quantised: Literal["nf4", "nf4 single", "int8"] | None


def trained_tensors(config: dict[str, Any], shape: Architecture) -> list[Tensor]:
    """Every tensor that gets a gradient.

    Args:
        config: the recipe's keys.
        shape: the base model's.

    Raises:
        CannotEstimate: an adapter of another kind than LoRA.
        UserErrors: names that match nothing.
    """
    adapter = config.get("adapter")
    if not adapter:
        found = list(_whole(config, shape))
        if not found:
            raise UserError(
                "match no parameter of this model, and nothing would be trained",
                "unfrozen_parameters",
                f"A parameter here is {shape.modules[-1].path}.weight",
            )
        return found
    if adapter not in _ADAPTERS:
        raise CannotEstimate(
            f"what {adapter} trains is not known here (only {' and '.join(_ADAPTERS)} are)",
            "adapter",
            "Train it for a few steps and read the peak in its log",
        )
    config = with_saved_adapter(config)
    targets = resolve(config, shape)
    if targets.problems:
        raise UserErrors([problem.error() for problem in targets.problems])
    return list(_beside(config, shape, targets))


def held(config: dict[str, Any], shape: Architecture) -> Held:
    """The dtypes in which Axolotl 0.19 leaves the base (`_configure_embedding_dtypes`).

    Embeddings, norms and head go to float32; with an adapter, under FSDP or where attention's
    kernels ask for it, they come back. PEFT lifts to float32 what of a quantised model is not
    quantised; the fused path takes that back where it has whole weights.

    Raises:
        CannotEstimate: of a quantised base nobody knows whether its weights are in shards.
    """
    computing = computing_bytes(config)
    quantised = _quantised(config)
    # PEFT's k-bit preparation, which Axolotl calls whether or not anything was quantised.
    lifted = config.get("adapter") and (config.get("load_in_4bit") or config.get("load_in_8bit"))
    if lifted:
        cut = own_strategy(config) in PARTS_WEIGHTS
        lifted = not family_of(shape.model_type).fused_path(config, cut)
    if config.get("fsdp_config") or config.get("adapter") or config.get("cut_cross_entropy"):
        upcast = computing
    else:
        attention = str(config.get("attn_implementation") or "")
        upcast = computing if "flash" in attention or "xformers" in attention else FLOAT32
    return Held(FLOAT32 if lifted else computing, upcast, quantised)


def head_of(shape: Architecture) -> Module | None:
    """The module whose weight the output layer reads: itself, or the embeddings it is tied to."""
    head = next((module for module in shape.modules if module.path == shape.head), None)
    if head is None or not head.tied:
        return head
    tables = (module for module in shape.modules if module.kind == "embedding")
    return next((module for module in tables if module.weight == head.weight), head)


def trains_head(config: dict[str, Any], shape: Architecture) -> bool:
    """Whether `head_of`'s weight gets a gradient, in the base or as a copy beside it."""
    head = head_of(shape)
    if head is None:
        return False
    if config.get("adapter"):
        return any(saved.path in (head.path, shape.head) for saved in resolve(config, shape).saved)
    return any(found is head for found, name, _ in _chosen(config, shape) if name == "weight")


def computing_bytes(config: dict[str, Any]) -> int:
    """Bytes of the dtype that the base is loaded and computed in.

    ``bf16: auto`` counts as 16 bits: every card has bf16 or fp16.
    """
    sixteen = ("bf16", "bfloat16", "fp16", "float16")
    lower = config.get("load_in_8bit") or any(config.get(key) for key in sixteen)
    return 2 if lower else FLOAT32


def _quantised(config: dict[str, Any]) -> Literal["nf4", "nf4 single", "int8"] | None:
    """How Axolotl 0.19 quantises (`_set_quantization_config`): 4 bits for qlora, 8 for lora."""
    if config.get("load_in_4bit") and config.get("adapter") == "qlora":
        keywords = config.get("bnb_config_kwargs") or {}
        return "nf4" if keywords.get("bnb_4bit_use_double_quant", True) else "nf4 single"
    eight = config.get("load_in_8bit") and config.get("adapter") == "lora"
    return "int8" if eight else None


def base_bytes(config: dict[str, Any], shape: Architecture) -> tuple[float, float]:
    """Bytes of the base as it is held: in the blocks' linear layers, and in all the rest."""
    how = held(config, shape)
    body = {module.path for module in shape.body}
    blocks = rest = 0.0
    for module in shape.modules:
        size = module_bytes(module, how, config, shape)
        if module.path in body:
            blocks += size
        else:
            rest += size
    return blocks, rest


def unpacked_bytes(config: dict[str, Any], shape: Architecture) -> float:
    """Bytes of what plain LoRA on a CPU keeps out of four bits beside the base."""
    how = held(config, shape)
    plain = config.get("adapter") and not config.get("lora_dropout")
    if how.quantised not in ("nf4", "nf4 single") or not plain or config.get("peft_use_dora"):
        return 0.0
    packed = [m.weight for m in shape.body if is_quantised(m, config, shape)]
    count = sum(math.prod(weight) for weight in packed)
    return float(count * computing_bytes(config)) if count <= UNPACKED_MOST else 0.0


def module_bytes(module: Module, how: Held, config: dict[str, Any], shape: Architecture) -> float:
    """Bytes of one module's own weights."""
    if how.quantised and is_quantised(module, config, shape):
        weight = math.prod(module.weight)
        bias = (module.size - weight) * FLOAT32
        if how.quantised == "int8":
            return weight + module.out_features * _INT8_SCALE + bias
        return weight * (NF4_BYTES if how.quantised == "nf4" else NF4_BYTES_SINGLE) + bias
    return module.own_size * width_of(module, how, shape)


def width_of(module: Module, how: Held, shape: Architecture) -> int:
    """Bytes of a weight of this module where it is not quantised."""
    outside = module.kind == "embedding" or module.path == shape.head or "norm" in module.path
    return how.upcast if outside else how.base


def is_quantised(module: Module, config: dict[str, Any], shape: Architecture) -> bool:
    """Whether transformers 5 quantises it: a plain linear layer that is neither head nor left out.

    A family's own linear class is passed over in silence, unless its plugin helps.
    """
    if module.kind != "linear" or module.path == shape.head:
        return False
    family = family_of(shape.model_type)
    if module.name in family.bypassed:
        return False
    if module.class_name == "Linear" or module.class_name == "Conv1D":
        skipped = (config.get("bnb_config_kwargs") or {}).get("llm_int8_skip_modules") or []
        return not any(
            module.path.endswith(name) or module.path.startswith(name) for name in skipped
        )
    return family.helped(config)


def _whole(config: dict[str, Any], shape: Architecture) -> Iterator[Tensor]:
    """All weights, or those that `unfrozen_parameters` and `freeze_mm_modules` leave trainable.

    Rows that a pattern names (``weight[:100]``) are masked in the gradient of the whole.
    """
    how = held(config, shape)
    for module, name, sizes in _chosen(config, shape):
        table = module.kind == "embedding" and name == "weight"
        named = any(part in module.path for part in ("embed_tokens", "lm_head"))
        yield Tensor(sizes, width_of(module, how, shape), table, True, named)


def _chosen(
    config: dict[str, Any], shape: Architecture
) -> Iterator[tuple[Module, str, tuple[int, ...]]]:
    """Each parameter of the base that is trained: its module, name and sizes."""
    wanted = _unfrozen(config)
    paths = [f"{module.path}.{name}" for module in shape.modules for name, _ in module.parameters]
    chosen = {path for entry in wanted for path in _matched(str(entry), paths)}
    for module in shape.modules:
        if config.get("freeze_mm_modules") and set(module.path.split(".")) & set(_MULTIMODAL):
            continue
        for name, sizes in module.parameters:
            if module.tied and name == "weight":
                continue
            path = f"{module.path}.{name}"
            if not wanted or path in chosen:
                yield module, name, sizes


def _unfrozen(config: dict[str, Any]) -> list[str]:
    entries = config.get("unfrozen_parameters") or []
    return [entries] if isinstance(entries, str) else list(entries)


def _matched(pattern: str, paths: list[str]) -> list[str]:
    """What an entry of `unfrozen_parameters` matches: from the start on, and its dots are dots.

    Raises:
        UserError: it is no regular expression, or one that tries for ever.
    """
    plain = re.sub(r"\.(?!\+)", r"\\.", re.sub(r"\[\d*(:\d*)?\]$", "", pattern))
    try:
        with guarded():
            return [path for path in paths if re.match(plain, path)]
    except BadPattern as error:
        raise UserError(f"{shown(pattern)} {error}", "unfrozen_parameters", "Correct it") from None


def _beside(config: dict[str, Any], shape: Architecture, targets: Targets) -> Iterator[Tensor]:
    """An adapter's tensors, which PEFT holds in float32, and modules trained whole."""
    how = held(config, shape)
    sizes: tuple[int, ...]
    for adapted in targets.adapted:
        is_table = adapted.module.kind == "embedding"
        for sizes in adapted.shapes:
            yield Tensor(sizes, FLOAT32)
        if config.get("peft_use_dora"):
            width = adapted.module.out_features
            yield Tensor((width, 1) if is_table else (width,), FLOAT32)
    for sizes in (*targets.experts, *targets.tokens):
        yield Tensor(sizes, FLOAT32)
    for module in targets.saved:
        for name, sizes in module.parameters:
            table = module.kind == "embedding" and name == "weight"
            by_adamw = name == "weight"
            yield Tensor(sizes, width_of(module, how, shape), table, by_adamw=by_adamw)
