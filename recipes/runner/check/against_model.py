"""A recipe against its base model: which layers it names, which tokens, which plugins it needs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from recipes.runner.check.base_model import (
    Modules,
    built_config,
    local_folder,
    model_type,
    modules_of,
    on_hub,
    raw_config,
    vocabulary,
)
from recipes.runner.check.finding import Finding, Level, is_ours, listed, mapping, number
from recipes.runner.check.tokenizers import end_of
from recipes.runner.core.errors import UserError
from recipes.runner.core.nearest import did_you_mean, nearest
from recipes.runner.core.paths import is_file
from recipes.runner.core.yaml_file import KeyPath
from recipes.runner.models.architecture import architecture
from recipes.runner.models.families import LORA_KERNELS, family_by_name, family_of
from recipes.runner.models.targets import resolve


def check_against_model(config: dict[str, Any]) -> Iterator[Finding]:
    """What a recipe says about layers, tokens and lengths that its base model hasn't."""
    yield from _needed_plugin(config)
    yield from _state_space(config)
    yield from _lora_kernels(config)
    yield from _adapter(config)
    modules = modules_of(config)
    if modules is not None:
        yield from _bypassed(config, modules)
        yield from _layers(config, modules)
    yield from _length(config)
    yield from _class(config)
    yield from _tokens(config)


def _adapter(config: dict[str, Any]) -> Iterator[Finding]:
    adapter = config.get("adapter")
    if adapter == "lora" and config.get("load_in_4bit") is True:
        what = "is lora, and Axolotl quantises to 4 bits for qlora alone: the base stands in fp32"
        yield Finding(("adapter",), what, "Write qlora, or load_in_4bit: false", "warning")


def _needed_plugin(config: dict[str, Any]) -> Iterator[Finding]:
    """A family whose own linear layers need our plugin: transformers' own Falcon packs wrongly, and
    is never quantised (plugins/falcon)."""
    kind = model_type(config)
    base = str(config.get("base_model") or "")
    family = family_of(kind) if kind else family_by_name(base)
    if family is None or not family.own_linear or family.plugin is None:
        return
    plugins = config.get("plugins")
    if isinstance(plugins, list) and family.plugin in plugins:
        return
    name, todo = family.model_type.capitalize(), f"Add {family.plugin} to plugins"
    place = ("plugins",) if plugins else ("base_model",)
    # A file for Axolotl alone runs there as it always did; one of ours has lost a line.
    level: Level = "error" if is_ours(config) else "warning"
    if config.get("sample_packing"):
        what = f"{name} without its plugin packs wrongly: conversations see each other"
        yield Finding(place, what, todo, level)
    if config.get("load_in_4bit") or config.get("load_in_8bit"):
        what = f"{name} without its plugin is never quantised: the base is trained over in fp32"
        yield Finding(place, what, todo, level)
    elif not config.get("sample_packing"):
        what = f"{name} without its plugin takes the slow way through attention"
        yield Finding(place, what, todo, "note")


def _state_space(config: dict[str, Any]) -> Iterator[Finding]:
    """Layers that carry a state along the row mix what is packed into it."""
    family = family_of(model_type(config) or "")
    if family.state_space:
        for key in ("sample_packing", "eval_sample_packing"):
            if config.get(key):
                what = (
                    f"the state-space layers of {family.model_type} carry one packed conversation"
                    " into the next"
                )
                todo = (
                    f"Set {key}: false (Axolotl parts them in mamba-ssm's kernels alone, which was"
                    " not tried here)"
                )
                yield Finding((key,), what, todo)


def _lora_kernels(config: dict[str, Any]) -> Iterator[Finding]:
    """Axolotl's LoRA kernels rewrite the source of attention; another one stops a run on a GPU."""
    family = family_of(model_type(config) or "")
    # Our fused path switches them off, and a Falcon without it is told to take it.
    without = family.own_linear and not family.helped(config)
    if family.lora_kernels or family.fused_path(config) or without:
        return
    said = [key for key in LORA_KERNELS[:2] if config.get(key)]
    by_itself = (
        config.get("adapter") in ("lora", "qlora")
        and not (config.get("adapter") == "lora" and config.get("load_in_8bit"))
        and not (config.get("rl") or config.get("trust_remote_code"))
        and all(config.get(key) is None for key in (*LORA_KERNELS, "lora_embedding_kernel"))
    )
    if said or by_itself:
        how = "are on" if said else "are switched on by Axolotl itself"
        what = f"its LoRA kernels {how}, and on a GPU they stop at {family.model_type}'s attention"
        todo = f"Set {', '.join(LORA_KERNELS)} to false"
        level: Level = "error" if is_ours(config) else "warning"
        yield Finding((said[0],) if said else ("adapter",), what, todo, level)


def _bypassed(config: dict[str, Any], modules: Modules) -> Iterator[Finding]:
    """Layers whose kernels read the weight by themselves can't be quantised."""
    family = family_of(model_type(config) or "")
    linear = {m.name.rsplit(".", 1)[-1] for m in modules.modules if m.kind == "Linear"}
    needed = sorted(linear & set(family.bypassed))
    if not needed or not config.get("load_in_4bit"):
        return
    place = ("bnb_config_kwargs", "llm_int8_skip_modules")
    skipped = mapping(config, "bnb_config_kwargs").get("llm_int8_skip_modules")
    if skipped is None:
        what = f"Axolotl keeps {', '.join(needed)} alone in 16 bits here, and quantises the head"
        todo = f"Write bnb_config_kwargs: {{llm_int8_skip_modules: [{', '.join(needed)}, lm_head]}}"
        yield Finding(("load_in_4bit",), what, todo, "warning")
        return
    for name in needed:
        if name not in listed(skipped):
            what = f"{family.model_type}'s kernels read {name}'s weight, and can't unpack four bits"
            yield Finding(place, what, f"Add {name} to the list")


def _layers(config: dict[str, Any], modules: Modules) -> Iterator[Finding]:
    if config.get("adapter") in ("lora", "qlora"):
        if not config.get("lora_model_dir"):  # a saved adapter brings its own
            yield from _targets(config)
        yield from _twice(config, modules)
        yield from _rank(config)
        yield from _replicated(config)
    yield from _wrapped(config, modules)


def _targets(config: dict[str, Any]) -> Iterator[Finding]:
    """What the adapter names, by the rules that plan counts by."""
    base = config.get("base_model_config") or config.get("base_model")
    try:
        found = resolve(config, architecture(str(base)))
    except UserError:  # no causal language model of transformers' own
        return
    for problem in found.problems:
        if problem.place != ("lora_r",):  # its value is looked at beside the others
            yield Finding(problem.place, problem.what, problem.todo)


def _replicated(config: dict[str, Any]) -> Iterator[Finding]:
    """Ranges of layers that PEFT repeats, each from its start up to its end."""
    layers = getattr(built_config(config), "num_hidden_layers", None)
    for index, pair in enumerate(listed(config.get("peft_layer_replication"))):
        place: KeyPath = ("peft_layer_replication", index)
        if not isinstance(pair, list) or len(pair) != 2 or not all(type(n) is int for n in pair):
            yield Finding(place, "is no pair of layers", "Write [start, end]")
        elif isinstance(layers, int) and not 0 <= pair[0] < pair[1] <= layers:
            what = f"is {pair}, and the model has the layers 0 to {layers - 1}"
            yield Finding(place, what, f"Write [start, end], with an end of {layers} at the most")


def _rank(config: dict[str, Any]) -> Iterator[Finding]:
    width = getattr(built_config(config), "hidden_size", None)
    rank = number(config.get("lora_r"))
    if isinstance(width, int) and rank is not None and rank >= width:
        what = f"is {rank:g}: the model is {width:,} wide, so that is no low rank"
        yield Finding(("lora_r",), what, "Usual are 8 to 256", "warning")
    if config.get("lora_fan_in_fan_out") is True and model_type(config) not in ("gpt2", None):
        what = "is true: only GPT-2's layers store their weights so"
        yield Finding(("lora_fan_in_fan_out",), what, "Take it out", "warning")


def _wrapped(config: dict[str, Any], modules: Modules) -> Iterator[Finding]:
    """The decoder layer that FSDP wraps."""
    fsdp = mapping(config, "fsdp_config")
    for key in ("transformer_layer_cls_to_wrap", "fsdp_transformer_layer_cls_to_wrap"):
        names = [name.strip() for name in str(fsdp.get(key) or "").split(",") if name.strip()]
        kinds = {module.kind for module in modules.modules}
        for name in names:
            if name not in kinds:
                layers = [kind for kind in kinds if kind.endswith(("Layer", "Block"))]
                what = f"this model has no {name}"
                yield Finding(("fsdp_config", key), what, did_you_mean(name, layers, "It has"))


def _twice(config: dict[str, Any], modules: Modules) -> Iterator[Finding]:
    wanted = config.get("lora_target_modules")
    targets = set(map(str, listed(wanted)))
    if config.get("lora_target_linear") or wanted == "all-linear":
        linear = [module.name for module in modules.modules if module.kind.endswith("Linear")]
        targets |= {name.rsplit(".", 1)[-1] for name in linear} - {"lm_head", "embed_out"}
    for index, name in enumerate(listed(config.get("lora_modules_to_save"))):
        if name in targets:
            named = name in listed(wanted)
            key = "lora_target_modules" if named or wanted == "all-linear" else "lora_target_linear"
            what = f"{name} is in {key} too: a layer has an adapter or is saved whole"
            yield Finding(("lora_modules_to_save", index), what, "Take it out of one")


def _length(config: dict[str, Any]) -> Iterator[Finding]:
    built = built_config(config)
    most = getattr(built, "max_position_embeddings", None)
    length = number(config.get("sequence_len"))
    overrides = mapping(config, "overrides_of_model_config")
    if not isinstance(most, int) or length is None or getattr(built, "alibi", False):
        return
    if {"max_position_embeddings", "rope_scaling", "rope_parameters"} & set(overrides):
        return
    if length > most:
        what = f"is {length:,.0f}, and the model was made for {most:,} tokens"
        todo = "Lower it, or scale its positions (overrides_of_model_config)"
        yield Finding(("sequence_len",), what, todo, "warning")


def _class(config: dict[str, Any]) -> Iterator[Finding]:
    """A class of another family takes none of the weights, and starts at random."""
    kind, built = model_type(config), built_config(config)
    key = "model_type" if config.get("model_type") else "type_of_model"
    name = config.get(key)
    if not isinstance(name, str) or not kind or built is None or config.get("trust_remote_code"):
        return
    import transformers

    try:
        made_for = getattr(getattr(transformers, name), "config_class", None)
    except (AttributeError, ImportError):
        return  # which is said elsewhere
    other = getattr(made_for, "model_type", None)
    own = {kind, f"{kind}_text", getattr(built.get_text_config(), "model_type", kind)}
    if other and other not in own:
        what = f"is {name}, a class for {other}, and the base is {kind}: weights start at random"
        level: Level = "error" if is_ours(config) else "warning"
        yield Finding((key,), what, "Write AutoModelForCausalLM, or take it out", level)


def _tokens(config: dict[str, Any]) -> Iterator[Finding]:
    given = mapping(config, "special_tokens")
    pad = given.get("pad_token")
    if isinstance(pad, str) and pad and pad == end_of(config):
        whose = "the" if given.get("eos_token") else "the tokenizer's own"
        what = f"is {pad}, {whose} end token too: the end is masked as padding and never learnt"
        todo = "Take another token of the vocabulary"
        place = ("special_tokens", "pad_token")
        refused = is_ours(config) and _is_chat(config)
        yield Finding(place, what, todo, "error" if refused else "warning")
    name = config.get("tokenizer_config") or config.get("base_model")
    found = vocabulary(name) if isinstance(name, str) and name and len(name) < 500 else None
    if found is None:
        return
    tokens, whole = found
    new = {str(token) for token in listed(config.get("tokens"))}
    new |= {str(token) for token in mapping(config, "added_tokens_overrides").values()}
    if isinstance(config.get("added_tokens_overrides"), dict):
        new |= {str(token) for token in config["added_tokens_overrides"].values()}
    for key, token in given.items():
        if not isinstance(token, str) or token in tokens or token in new:
            continue
        if not token:
            yield Finding(("special_tokens", str(key)), "is empty", "Name a token, or take it out")
            continue
        near = nearest(token, tokens) if len(tokens) < 2000 else _near_special(token, tokens)
        what = f"{token} is not in the vocabulary of {name}"
        if near or whole or re.fullmatch(r"<.*>|\[.*\]|>>.*<<", token):
            todo = f"Did you mean {near}?" if near else "Take one that is, or list it under tokens"
            yield Finding(("special_tokens", str(key)), what, todo)


def _is_chat(config: dict[str, Any]) -> bool:
    entries = listed(config.get("datasets"))
    kinds = [entry.get("type") for entry in entries if isinstance(entry, dict)]
    return "chat_template" in kinds


def _near_special(token: str, tokens: frozenset[str]) -> str | None:
    special = [word for word in tokens if word[:1] in "<[>" and word[-1:] in ">]<"]
    return nearest(token, special)


def check_base(config: dict[str, Any]) -> Iterator[Finding]:
    """Whether the base model is anywhere: kept, local, in the cache, or on the Hub."""
    from recipes.runner.check.references import is_local

    for key in ("base_model", "base_model_config"):
        base = config.get(key)
        if base == "":
            yield Finding((key,), "is empty", "Name a model, or a folder")
        if not isinstance(base, str) or not base:
            continue
        if is_file(local_folder(base) / "config.json"):
            yield from _unreadable((key,), base)
        if is_local(base):
            continue
        if raw_config({"base_model": base}) is None:
            yield from _not_kept((key,), base)


def _unreadable(place: KeyPath, base: str) -> Iterator[Finding]:
    """A folder whose config.json nobody can read, or transformers makes no model of."""
    raw = raw_config({"base_model": base})
    if raw is None:
        what = f"{base}/config.json can't be read"
        yield Finding(place, what, "Bring the model's own file")
    elif built_config({"base_model": base}) is None and "auto_map" not in raw:
        what = f"{base}/config.json is none that transformers knows"
        yield Finding(place, what, "Bring the model's own file", "warning")


def _not_kept(place: KeyPath, base: str) -> Iterator[Finding]:
    from recipes.runner.check.references import known_bases

    there = on_hub("model", base)
    near = _one_slip_away(base, known_bases())
    if there is False or (there is None and near):
        reach = (
            "the Hub has no such model" if there is False else "is neither kept here nor in reach"
        )
        todo = f"Did you mean {near}?" if near else "Correct the name"
        yield Finding(place, f"{base}: {reach}", todo)
    elif there is None:
        what = f"{base} can't be looked up from here: what is said about its layers is not checked"
        yield Finding(place, what, "", "note")


def _one_slip_away(name: str, known: list[str]) -> str | None:
    """A known model that this can only be a typing error for: the same numbers, and near."""
    import difflib

    for other in known:
        same = re.findall(r"\d+", name) == re.findall(r"\d+", other)
        if same and name != other:
            matcher = difflib.SequenceMatcher(None, name.lower(), other.lower())
            kept = sum(block.size for block in matcher.get_matching_blocks())
            if max(len(name), len(other)) - kept <= 2:
                return other
    return None
