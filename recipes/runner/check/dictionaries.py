"""Free dictionaries: their keys are the parameters of another library's function."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

from recipes.runner.check.base_model import built_config, config_keys
from recipes.runner.check.deepspeed import check_deepspeed
from recipes.runner.check.finding import Finding, mapping, number, spelt, words
from recipes.runner.check.values import optimizers, schedulers
from recipes.runner.core.nearest import did_you_mean, nearest
from recipes.runner.core.yaml_file import KeyPath


def check_dictionaries(config: dict[str, Any]) -> Iterator[Finding]:
    """Keys that what reads the dictionary doesn't take, and values that it refuses."""
    for key, known in _PARAMETERS.items():
        given = mapping(config, key)
        if given:
            yield from _unknown(given, known(), (key,), "takes")
        for name in _SWITCHES:
            if name in given and not isinstance(given[name], bool):
                what = f"is {spelt(given[name])}, which is no true or false"
                yield Finding((key, name), what, "Give one")
    yield from _quantisation(mapping(config, "bnb_config_kwargs"))
    if config.get("bnb_config_kwargs") and config.get("adapter") != "qlora":
        what = "is not read: Axolotl hands it on for adapter: qlora alone"
        yield Finding(("bnb_config_kwargs",), what, "Take it out", "warning")
    yield from _scheduler(config)
    yield from _optimizer(config)
    yield from check_deepspeed(config)
    yield from _model_config(config)


_LISTED = 12  # names in one line


def _unknown(
    given: dict[Any, Any], known: set[str], place: KeyPath, verb: str
) -> Iterator[Finding]:
    for key in given:
        if key not in known:
            hint = nearest(str(key), known)
            listed = ", ".join(sorted(known)) if len(known) <= _LISTED else "no key like it"
            listed = listed or "none"
            todo = f"Did you mean {hint}?" if hint else f"It {verb} {listed}"
            yield Finding((*place, str(key)), "unknown key", todo)


def _keywords(function: Any, without: set[str]) -> set[str]:
    kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    parameters = inspect.signature(function).parameters
    named = {name for name, parameter in parameters.items() if parameter.kind not in kinds}
    return named - without - {"self"}


@functools.cache
def _bitsandbytes() -> set[str]:
    from transformers import BitsAndBytesConfig

    return _keywords(BitsAndBytesConfig.__init__, set())


@functools.cache
def _checkpoint() -> set[str]:
    from torch.utils.checkpoint import checkpoint

    return _keywords(checkpoint, {"function"})


@functools.cache
def _accelerator() -> set[str]:
    from transformers.trainer_pt_utils import AcceleratorConfig

    return {field.name for field in dataclasses.fields(AcceleratorConfig)}


_PARAMETERS: dict[str, Callable[[], set[str]]] = {
    "bnb_config_kwargs": _bitsandbytes,
    "gradient_checkpointing_kwargs": _checkpoint,
    "accelerator_config": _accelerator,
}
_SWITCHES = words("""
    use_reentrant early_stop split_batches dispatch_batches even_batches use_seedable_sampler
    non_blocking use_configured_state
    """)
_QUANT_TYPES = ("nf4", "fp4")


def _quantisation(given: dict[Any, Any]) -> Iterator[Finding]:
    """Each value alone through BitsAndBytesConfig, so that every fault is told."""
    from transformers import BitsAndBytesConfig

    for key, value in given.items():
        place = ("bnb_config_kwargs", str(key))
        if key not in _bitsandbytes():
            continue
        if key == "bnb_4bit_quant_type":
            if value not in _QUANT_TYPES:
                todo = did_you_mean(str(value), _QUANT_TYPES, "There are")
                yield Finding(place, f"there is no 4-bit type {spelt(value)}", todo)
            continue
        try:
            BitsAndBytesConfig(**{key: value})
        except Exception as error:  # a TypeError, a ValueError, or an AttributeError for a dtype
            yield Finding(place, f"is {spelt(value)}: {' '.join(str(error).split())}")


# Schedulers that stop without one of these.
_ONE_OF = {
    "cosine_with_min_lr": ("min_lr", "min_lr_rate"),
    "cosine_warmup_with_min_lr": ("min_lr", "min_lr_rate"),
}


def _scheduler(config: dict[str, Any]) -> Iterator[Finding]:
    given = mapping(config, "lr_scheduler_kwargs")
    name = str(config.get("lr_scheduler") or "cosine")
    if name not in schedulers():
        return
    own = config.get("lr_quadratic_warmup") or config.get("cosine_min_lr_ratio")
    if (own and name == "cosine") or name == "rex":
        if given:
            what = "is not read: this scheduler is Axolotl's own and takes none"
            yield Finding(("lr_scheduler_kwargs",), what, "Take it out")
        return
    yield from _unknown(given, _scheduler_keywords(name), ("lr_scheduler_kwargs",), "takes")
    for key, value in given.items():
        wrong = isinstance(value, bool | str) or number(value) is None
        if key in _scheduler_numbers(name) and wrong and value is not None:
            yield Finding(
                ("lr_scheduler_kwargs", str(key)), f"is {spelt(value)}, which is no number"
            )
    for needed in _scheduler_needs(name) - {str(key) for key in given}:
        what = f"is {name}, which needs lr_scheduler_kwargs: {{{needed}: ...}}"
        yield Finding(("lr_scheduler",), what, "Add it")
    one_of = _ONE_OF.get(name, ())
    found = [key for key in one_of if given.get(key) is not None]
    if one_of and len(found) != 1:
        what = f"is {name}, which needs lr_scheduler_kwargs: one of {', '.join(one_of)}"
        yield Finding(("lr_scheduler",), what, f"Write {{{one_of[1]}: 0.1}}")


def _scheduler_function(name: str) -> Any:
    if name == "one_cycle":
        from torch.optim.lr_scheduler import OneCycleLR

        return OneCycleLR.__init__
    from transformers.optimization import TYPE_TO_SCHEDULER_FUNCTION, SchedulerType

    return TYPE_TO_SCHEDULER_FUNCTION[SchedulerType(name)]


@functools.cache
def _scheduler_keywords(name: str) -> set[str]:
    given = {"optimizer", "num_warmup_steps", "num_training_steps", "last_epoch"}
    return _keywords(_scheduler_function(name), given | {"max_lr", "total_steps"})


@functools.cache
def _scheduler_needs(name: str) -> set[str]:
    """Those of a scheduler's parameters that have no default and that the Trainer doesn't give."""
    needed = set()
    for key in _scheduler_keywords(name):
        parameter = inspect.signature(_scheduler_function(name)).parameters[key]
        if parameter.default is inspect.Parameter.empty:
            needed.add(key)
    return needed


@functools.cache
def _scheduler_numbers(name: str) -> set[str]:
    """Those of a scheduler's parameters that are numbers, by annotation or default."""
    found = set()
    for key, parameter in inspect.signature(_scheduler_function(name)).parameters.items():
        default = parameter.default
        is_number = isinstance(default, int | float) and not isinstance(default, bool)
        if is_number or re.search(r"\b(float|int)\b", str(parameter.annotation)):
            found.add(key)
    return found


def _optimizer(config: dict[str, Any]) -> Iterator[Finding]:
    given = config.get("optim_args")
    name = config.get("optimizer") or "adamw_torch_fused"
    if not given or name not in optimizers():
        return
    if isinstance(given, str):
        pairs = [part.partition("=") for part in given.replace(" ", "").split(",") if part]
        if any(not equals for _, equals, _ in pairs):
            yield Finding(("optim_args",), f"is {spelt(given)}", 'Write "key=value,key=value"')
            return
        given = {key: value for key, _, value in pairs}
    if not isinstance(given, dict):
        return
    known = _optimizer_keywords(str(name))
    if known is None:
        return
    for key in given:
        if key not in known:
            hint = nearest(str(key), known)
            takes = f"{name} reads {', '.join(sorted(known)) or 'none'} here"
            todo = f"Did you mean {hint}?" if hint else takes
            what = f"{name} doesn't read it"
            if str(key) in ("betas", "beta1", "beta2", "eps", "bta1"):
                todo = "Axolotl's names are adam_beta1, adam_beta2 and adam_epsilon"
            yield Finding(("optim_args", str(key)), what, todo)


@functools.cache
def _optimizer_keywords(name: str) -> set[str] | None:
    """What is read of ``optim_args``; None where that can't be known here."""
    from axolotl.utils.schemas.enums import CustomSupportedOptimizers

    if name in [member.value for member in CustomSupportedOptimizers]:
        return _custom_keywords(name)
    # transformers hands the parsed arguments to one function, which asks for the keys it knows.
    from transformers import trainer_optimizer

    handler = getattr(trainer_optimizer, "_OPTIMIZER_HANDLERS", {}).get(name)
    if handler is None:
        return None
    source = inspect.getsource(handler)
    read = set(re.findall(r"optim_args(?:\.get|\.pop)?[\[(]\s*\"(\w+)\"", source))
    read |= set(re.findall(r"\"(\w+)\" in ctx\.optim_args", source))
    for names in re.findall(r"for key in [\[(]([^\])]*)[\])]", source):
        read |= set(re.findall(r"\"(\w+)\"", names))
    if "ademamix" not in name and "bitsandbytes" in source:
        read -= {"beta1", "beta2", "beta3", "alpha", "eps", "t_alpha", "t_beta3"}
    whole = re.search(r"= ctx\.optim_args\b(?![\[.])|\(ctx\.optim_args\)", source)
    return None if whole and "bitsandbytes" not in source else read


def _custom_keywords(name: str) -> set[str] | None:
    places = {
        "adopt_adamw": ("axolotl.utils.optimizers.adopt", "ADOPT"),
        "adamc": ("axolotl.utils.optimizers.adamc", "AdamC"),
        "ao_adamw_fp8": ("torchao.optim.adam", "AdamWFp8"),
        "optimi_adamw": ("optimi", "AdamW"),
        "came_pytorch": ("came_pytorch", "CAME"),
        "flash_adamw": ("flashoptim", "FlashAdamW"),
        "flash_lion": ("flashoptim", "FlashLion"),
    }
    if name not in places:
        return None
    import importlib

    module, attribute = places[name]
    try:
        return _keywords(getattr(importlib.import_module(module), attribute).__init__, {"params"})
    except Exception:  # its package is not installed here
        return None


def _model_config(config: dict[str, Any]) -> Iterator[Finding]:
    """Misspelt keys of the model's own configuration, and of from_pretrained."""
    given = mapping(config, "overrides_of_model_config")
    if given and (known := config_keys(config)):
        if "rope_theta" in given and "rope_theta" not in known and "rope_parameters" in known:
            place: KeyPath = ("overrides_of_model_config", "rope_theta")
            what = "is not read: transformers 5 has it in rope_parameters alone"
            todo = (
                f"Write rope_parameters: {{rope_type: default, rope_theta: {given['rope_theta']}}}"
            )
            yield Finding(place, what, todo)
            known = known | {"rope_theta"}
        if hasattr(built_config(config), "rope_scaling"):  # another name of rope_parameters
            known = known | {"rope_scaling"}
        yield from _unknown(given, known, ("overrides_of_model_config",), "has")
    for key in ("rope_scaling", "rope_parameters"):
        yield from _rope(mapping(given, key), ("overrides_of_model_config", key))
    built = built_config(config)
    for key, value in given.items():
        current = getattr(built, str(key), None)
        is_number = isinstance(current, int | float) and not isinstance(current, bool)
        place = ("overrides_of_model_config", str(key))
        unread = isinstance(value, str) or number(value) is None
        if is_number and unread and value is not None:
            yield Finding(place, f"is {spelt(value)}, which is no number", f"It is {current} there")
        elif isinstance(current, bool) and not isinstance(value, bool):
            yield Finding(place, f"is {spelt(value)}, which is no true or false", "Give one")
    kwargs = mapping(config, "overrides_of_model_kwargs")
    for key in kwargs:
        takes = _FROM_PRETRAINED | (config_keys(config) or set())
        if key not in takes and (hint := nearest(str(key), takes)):
            place = ("overrides_of_model_kwargs", str(key))
            yield Finding(place, "unknown key", f"Did you mean {hint}?")


def _rope(given: dict[Any, Any], place: KeyPath) -> Iterator[Finding]:
    """How positions are scaled: a way that transformers knows, and by how much."""
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    key = "type" if "type" in given else "rope_type"
    kind, known = given.get(key), ("default", *ROPE_INIT_FUNCTIONS)
    if isinstance(kind, str) and kind not in known:
        todo = did_you_mean(kind, known, "There are")
        yield Finding((*place, key), f"there is no scaling of positions {kind}", todo)
    elif (
        kind not in (None, "default", "longrope", "proportional")
        and number(given.get("factor")) is None
    ):
        yield Finding(place, f"needs a factor for {kind}", "Write factor: 2.0")


_FROM_PRETRAINED = set(
    words(
        """
    attn_implementation cache_dir config device_map dtype experts_implementation
    force_download from_tf gguf_file ignore_mismatched_sizes key_mapping local_files_only
    low_cpu_mem_usage max_memory offload_buffers offload_folder offload_state_dict
    output_loading_info proxies quantization_config revision state_dict subfolder token
    torch_dtype tp_plan tp_size trust_remote_code use_cache use_kernels use_safetensors
    variant weights_only
    """
    )
)
