"""Settings that name parameters or modules of the base model, beside those of its adapter."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from recipes.runner.check.base_model import Modules, built_config, embedding_modules, modules_of
from recipes.runner.check.conditions import LOW_RANK, is_given
from recipes.runner.check.finding import Finding, listed, mapping, number
from recipes.runner.core.nearest import did_you_mean, nearest
from recipes.runner.core.patterns import BadPattern, guarded, shown
from recipes.runner.core.yaml_file import KeyPath
from recipes.runner.models.saved_adapter import MADE_BY_TRL

_ADAPTERS = ("lora", "qlora")


def check_parameters(config: dict[str, Any]) -> Iterator[Finding]:
    """Names that match nothing of the base model, or more than they look like."""
    modules = modules_of(config)
    if modules is None:
        return
    yield from _unfrozen(config, modules)
    yield from _learning_rates(config, modules)
    yield from _low_rank(config, modules)
    yield from _taking_turns(config, modules)
    yield from _unquantised(config, modules)


def _is_of_peft(config: dict[str, Any], text: str) -> bool:
    """Whether a text is of names that the base has only once an adapter is in it."""
    return config.get("adapter") in _ADAPTERS and ("lora_" in text or "base_layer" in text)


def _unfrozen(config: dict[str, Any], modules: Modules) -> Iterator[Finding]:
    """Axolotl's own reading of each pattern: a dot is a dot, and the start must match."""
    from axolotl.utils.freeze import LayerNamePattern

    # Axolotl looks once the adapter is there, and freezes it too where nothing matches; where TRL
    # makes the adapter, it is not there yet.
    there = config.get("adapter") in _ADAPTERS and config.get("rl") not in MADE_BY_TRL
    adapted = "base_model.model." if there else ""
    for index, text in enumerate(listed(config.get("unfrozen_parameters"))):
        place: KeyPath = ("unfrozen_parameters", index)
        names = [f"{adapted}{name}" for name in modules.parameters]
        try:
            with guarded():
                pattern = LayerNamePattern(str(text))
                matches = [(name, pattern.name_regex.match(name)) for name in names]
        except ValueError as error:  # BadPattern, or Axolotl's own for the range behind it
            reason = " ".join(str(error).split())
            yield Finding(place, f"{shown(text)} {_as_told(error, reason)}", "Correct it")
            continue
        if _is_of_peft(config, str(text)):
            continue
        ends = [(name, found.end()) for name, found in matches if found]
        if not ends and adapted:
            what = f"{text} matches nothing beside an adapter, which would be frozen too"
            todo = f"Names begin with {adapted}: take it out, or name what PEFT names"
            yield Finding(place, what, todo)
            continue
        if not ends:
            near = nearest(str(text), {name.rsplit(".", 1)[0] for name in modules.parameters})
            todo = f"Did you mean {near}?" if near else f"A name here: {modules.parameters[0]}"
            yield Finding(place, f"{text} matches no parameter of this model", todo)
            continue
        cut = [name for name, end in ends if _inside_a_name(name, end)]
        if len(cut) == len(ends) or (cut and str(text)[-1:].isdigit()):
            what = f"{text} ends inside a name: it matches {cut[0]} too, {len(ends)} in all"
            yield Finding(place, what, "End it with a dot, or with $", "warning")


def _as_told(error: ValueError, reason: str) -> str:
    return reason if isinstance(error, BadPattern) else f"is no pattern: {reason}"


def _inside_a_name(name: str, end: int) -> bool:
    return 0 < end < len(name) and name[end] != "." and name[end - 1] != "."


def _learning_rates(config: dict[str, Any], modules: Modules) -> Iterator[Finding]:
    for index, group in enumerate(listed(config.get("lr_groups"))):
        names = group.get("modules") if isinstance(group, dict) else None
        for number_of, name in enumerate(listed(names)):
            if not isinstance(name, str) or _is_of_peft(config, name):
                continue
            # Axolotl looks for the text anywhere in a parameter's name.
            if not any(name in one for one in modules.parameters):
                last = {part for one in modules.parameters for part in one.split(".")}
                todo = did_you_mean(name, {part for part in last if not part.isdigit()}, "It has")
                place = ("lr_groups", index, "modules", number_of)
                yield Finding(place, f"{name} matches no parameter of this model", todo)
    # What is saved whole, and single tokens, are of the embeddings' group whatever their names.
    whole = ("lora_modules_to_save", "peft_trainable_token_indices")
    named = str(config.get("lora_target_modules"))
    embeds = any(is_given(config.get(key)) for key in whole)
    embeds = embeds or any(name in named for name in ("embed_tokens", "lm_head"))
    for key in ("embedding_lr", "embedding_lr_scale"):
        if is_given(config.get(key)) and config.get("adapter") in _ADAPTERS and not embeds:
            what = "is not read: this adapter trains no embeddings"
            names = ", ".join(embedding_modules(config))
            todo = f"Add lora_modules_to_save: [{names}], or take it out"
            yield Finding((key,), what, todo, "warning")


def _low_rank(config: dict[str, Any], modules: Modules) -> Iterator[Finding]:
    """Layers whose gradients GaLore and APOLLO project, found by transformers' own rule."""
    from transformers.trainer_utils import check_target_module_exists as exists

    wanted = config.get("optim_target_modules")
    optimizer = str(config.get("optimizer"))
    if not any(part in optimizer for part in LOW_RANK) or wanted in (None, "all_linear"):
        return
    linear = [module.name for module in modules.modules if module.kind.endswith("Linear")]
    targets = wanted if isinstance(wanted, list) else [wanted]
    for index, target in enumerate(targets):
        if not isinstance(target, str):
            continue
        one = [target] if isinstance(wanted, list) else target
        place: KeyPath = ("optim_target_modules",)
        place += (index,) if isinstance(wanted, list) else ()
        try:
            with guarded():
                found = any(exists(one, name) for name in linear)
        except BadPattern as error:
            yield Finding(place, f"{shown(target)} {error}", "Correct it: .* for *")
            continue
        if not found:
            parts = {part for name in linear for part in name.split(".") if not part.isdigit()}
            todo = did_you_mean(target, parts, "It has")
            yield Finding(place, f"{target} matches no linear layer of this model", todo)


def _taking_turns(config: dict[str, Any], modules: Modules) -> Iterator[Finding]:
    """LISA: where the layers are, and how many of them work at a time."""
    if not is_given(config.get("lisa_n_layers")):
        return
    path = config.get("lisa_layers_attribute")
    names = [module.name for module in modules.modules]
    if isinstance(path, str) and path and path not in names:
        lists = [name for name in names if f"{name}.0" in names]
        todo = did_you_mean(path, lists, "It has")
        yield Finding(("lisa_layers_attribute",), f"this model has no {path}", todo)
    layers = getattr(built_config(config), "num_hidden_layers", None)
    wanted = number(config.get("lisa_n_layers"))
    if isinstance(layers, int) and wanted is not None and wanted > layers:
        what = f"is {wanted:g}, and the model has {layers} layers"
        yield Finding(("lisa_n_layers",), what, "Lower it")


def _unquantised(config: dict[str, Any], modules: Modules) -> Iterator[Finding]:
    """Layers that bitsandbytes is told to pass over."""
    given = mapping(config, "bnb_config_kwargs").get("llm_int8_skip_modules")
    names = {part for module in modules.modules for part in module.name.split(".")}
    for index, name in enumerate(listed(given)):
        if not isinstance(name, str) or name in names:
            continue
        if not any(module.name.endswith(name) for module in modules.modules):
            place = ("bnb_config_kwargs", "llm_int8_skip_modules", index)
            todo = did_you_mean(name, {one for one in names if not one.isdigit()}, "It has")
            yield Finding(place, f"{name} matches no module of this model", todo, "warning")
