"""Names that Axolotl's schema takes as any text, and that are one of a few where they are read."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from typing import Any

from recipes.runner.check.finding import Finding, Level, mapping, spelt, words
from recipes.runner.core.nearest import did_you_mean, nearest
from recipes.runner.core.yaml_file import KeyPath


def _fsdp_options() -> tuple[str, ...]:
    from transformers.trainer_utils import FSDPOption

    return tuple(member.value for member in FSDPOption)


# Keys, dotted where they stand in a block, to the names; ``fsdp`` lists several.
_NAMES: dict[str, Callable[[], tuple[str, ...]]] = {
    "fsdp": _fsdp_options,
    "qgalore_proj_type": lambda: ("std", "reverse_std", "right", "left", "full"),
    "sample_packing_mp_start_method": lambda: ("fork", "spawn", "forkserver"),
    "comet_mode": lambda: ("create", "get", "get_or_create"),
    "wandb_watch": lambda: ("false", "gradients", "all", "parameters"),
    "fsdp_config.mixed_precision_policy": lambda: words("no fp16 bf16 fp32 fp8 float16 bfloat16"),
    "vllm.dtype": lambda: words("auto half float16 bfloat16 float float32"),
    "experts_implementation": lambda: words("eager batched_mm grouped_mm"),
}
# Placements by name; a mapping places each module.
_PLACEMENTS = words("auto balanced balanced_low_0 sequential cpu cuda mps disk")
# Open sets, in which others may bring a name of their own: only what is near one is a slip.
_OPEN = ("experts_implementation", "fsdp_config.mixed_precision_policy")
_SIZE = re.compile(r"\d+(\.\d+)?\s*([KMGT]i?B)", re.IGNORECASE)


def check_enumerations(config: dict[str, Any]) -> Iterator[Finding]:
    """Names and texts of a form that what reads them doesn't know."""
    for key, names in _NAMES.items():
        place: KeyPath = tuple(key.split("."))
        value: Any = config
        for step in place:
            value = value.get(step) if isinstance(value, dict) else None
        listed = value if isinstance(value, list) else [value]
        for index, name in enumerate(listed):
            if not isinstance(name, str) or not name or name in names():
                continue
            near = nearest(name, names())
            if key in _OPEN and not near:
                continue
            where = (*place, index) if isinstance(value, list) else place
            todo = did_you_mean(name, names(), "There are")
            yield Finding(where, f"there is no {key.replace('_', ' ')} {name}", todo)
    yield from _placements(config)
    yield from _sizes(config)
    yield from _repositories(config)
    yield from _classes(config)


def _placements(config: dict[str, Any]) -> Iterator[Finding]:
    value = config.get("device_map")
    known = value in _PLACEMENTS or re.fullmatch(r"(cuda|cpu|mps|xpu)(:\d+)?", str(value))
    if isinstance(value, str) and value and not known:
        todo = did_you_mean(value, _PLACEMENTS, "There are")
        yield Finding(("device_map",), f"there is no placement {value}", todo)


def _sizes(config: dict[str, Any]) -> Iterator[Finding]:
    """Amounts of memory as accelerate reads them: 20GiB, 500MB."""
    sizes: list[tuple[KeyPath, Any]] = [(("gpu_memory_limit",), config.get("gpu_memory_limit"))]
    given = mapping(config, "max_memory")
    sizes += [(("max_memory", str(device)), size) for device, size in given.items()]
    for place, size in sizes:
        if isinstance(size, str) and size and not _SIZE.fullmatch(size.strip()):
            what = f"is {spelt(size)}, which is no amount of memory"
            yield Finding(place, what, "Write it as 20GiB")
        elif isinstance(size, int) and not isinstance(size, bool) and size <= 0:
            yield Finding(place, f"is {size}: must be above 0", "Write it as 20GiB")


def _repositories(config: dict[str, Any]) -> Iterator[Finding]:
    """Names of repositories that the Hub itself would refuse, after the run."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    for key in ("hub_model_id", "push_dataset_to_hub"):
        name = config.get(key)
        if not isinstance(name, str) or not name:
            continue
        try:
            validate_repo_id(name)
        except HFValidationError as error:
            reason = " ".join(str(error).split()).split(": '")[0]
            what = f"{name} is no name of a repository: {reason}"
            # <your-name> waits to be filled in.
            level: Level = "warning" if "<" in name else "error"
            yield Finding((key,), what, "Write owner/name", level)


# Key to what a name of transformers must be; Axolotl's `model_type` is `type_of_model` inside.
_CLASSES = ("model_type", "type_of_model", "tokenizer_type", "processor_type", "cls_model_config")
_OF_AXOLOTL = ("MambaLMHeadModel",)  # which it loads from a package of its own


def _classes(config: dict[str, Any]) -> Iterator[Finding]:
    """Classes of transformers by name: of model, tokenizer, processor, configuration."""
    for key in _CLASSES:
        value = config.get(key)
        if not isinstance(value, str) or not value or value in _OF_AXOLOTL:
            continue
        if value in _of_transformers():
            continue
        near = nearest(value, _of_transformers())
        # A model's own code may bring its class.
        level: Level = "warning" if config.get("trust_remote_code") or not near else "error"
        todo = f"Did you mean {near}?" if near else "Take it out: Axolotl finds the class itself"
        yield Finding((key,), f"transformers has no {value}", todo, level)


@functools.cache
def _of_transformers() -> frozenset[str]:
    import transformers

    return frozenset(dir(transformers))
