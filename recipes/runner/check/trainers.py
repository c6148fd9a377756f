"""Settings of one trainer under another: of SFT under `rl`, of one `rl` under the next.

As Axolotl 0.19 builds its trainers: `core/builders/causal.py` for SFT, `core/builders/rl.py` and
`core/trainers/{dpo,grpo,ebft}` for the others.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Iterator
from typing import Any

from recipes.runner.check.conditions import is_given
from recipes.runner.check.finding import Finding, listed, mapping, number, words
from recipes.runner.core.nearest import did_you_mean
from recipes.runner.core.yaml_file import KeyPath
from recipes.runner.models.saved_adapter import names_preference_plugin

_OF_DPO = ("dpo", "ipo")
_GENERATING = ("grpo", "gdpo", "ebft")
# Key to the trainers that read it.
_READ_UNDER: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        words("dpo_use_weighting dpo_padding_free dpo_use_liger_kernel precompute_ref_log_probs"),
        _OF_DPO,
    ),
    **dict.fromkeys(words("dpo_label_smoothing dpo_loss_type dpo_loss_weights"), ("dpo",)),
    "kto_desirable_weight": ("kto",),
    "kto_undesirable_weight": ("kto",),
    "simpo_gamma": ("simpo",),
    "cpo_alpha": ("simpo",),
    "orpo_alpha": ("orpo",),
    "ebft": ("ebft",),
    "vllm": _GENERATING,
}
# Axolotl hands these to the trainer of SFT alone.
_OF_SFT = words("""
    early_stopping_patience load_best_model_at_end metric_for_best_model greater_is_better
    neftune_noise_alpha group_by_length curriculum_sampling dataloader_drop_last
    auto_find_batch_size ddp_timeout ddp_bucket_cap_mb relora jagged_restart_steps
    lisa_step_interval lr_quadratic_warmup loss_watchdog_threshold generate_samples do_bench_eval
    do_causal_lm_eval use_eaft train_on_inputs
    """)
# Of these, what the preference plugin passes on to the others.
_PASSED_ON = ("load_best_model_at_end", "metric_for_best_model", "greater_is_better")
_BETA = ("beta",)  # of `trl`, which every trainer of an `rl` reads
_SMOOTHED = ("robust", "exo_pair", "aot", "aot_unpaired")
"""Losses of TRL 1.9 that read the label smoothing; the others pass it by in silence."""
_FAR_APART = 1.0  # nats a token


def check_trainers(config: dict[str, Any]) -> Iterator[Finding]:
    """Settings that the trainer of this recipe doesn't read, and losses that it doesn't know."""
    rl = config.get("rl")
    own = bool(config.get("trainer_cls"))  # which reads what it likes
    for key, trainers in _READ_UNDER.items():
        if is_given(config.get(key)) and rl not in trainers:
            yield _unread((key,), rl, trainers)
    if rl and config.get("sample_packing"):
        what = f"is refused by Axolotl under rl: {rl}: its rows are not packed"
        yield Finding(("sample_packing",), what, "Write sample_packing: false")
    if isinstance(rl, str) and rl and not own:
        passed_on = _PASSED_ON if names_preference_plugin(config) else ()
        for key in _OF_SFT:
            if is_given(config.get(key)) and key not in passed_on:
                yield _unread((key,), rl, ())
    trl = mapping(config, "trl")
    if isinstance(rl, str) and rl and rl not in _GENERATING:
        for key in trl:
            if key not in _BETA and is_given(trl[key]):
                yield _unread(("trl", str(key)), rl, _GENERATING)
    elif rl in ("grpo", "gdpo"):
        yield from _rewards(trl, bool(config.get("plugins")))
    yield from _losses(config, trl)


def _unread(place: KeyPath, rl: Any, trainers: tuple[str, ...]) -> Finding:
    if place == ("orpo_alpha",) and rl:
        what, todo = f"is of rl: orpo, and taken for rl_beta under rl: {rl}", "Write rl_beta"
        return Finding(place, what, todo, "warning")
    under = f"under rl: {rl}" if rl else "without rl"
    reads = f": rl: {', '.join(trainers)} reads it" if trainers else ": SFT's trainer reads it"
    return Finding(place, f"is not read {under}{reads}", "Take it out", "warning")


def _rewards(trl: dict[Any, Any], plugins: bool) -> Iterator[Finding]:
    functions, weights = trl.get("reward_funcs"), trl.get("reward_weights")
    if not functions and plugins:
        return  # one of them may bring them
    if not functions:
        what = "names no reward_funcs: every answer is worth the same"
        yield Finding(("trl",), what, "Write reward_funcs: [module.function]")
        return
    named = listed(functions)
    if isinstance(weights, list) and named and len(weights) != len(named):
        what = f"has {len(weights)} weights for {len(named)} reward_funcs"
        yield Finding(("trl", "reward_weights"), what, "Give one for each")
    for index, name in enumerate(named):
        if isinstance(name, str) and "/" not in name and "." not in name:
            what = f"{name} names no module: Axolotl reads module.function"
            yield Finding(("trl", "reward_funcs", index), what, f"Write my_module.{name}")


def _losses(config: dict[str, Any], trl: dict[Any, Any]) -> Iterator[Finding]:
    for index, name in enumerate(listed(config.get("dpo_loss_type"))):
        if isinstance(name, str) and name not in dpo_losses():
            todo = did_you_mean(name, dpo_losses(), "There are")
            yield Finding(("dpo_loss_type", index), f"there is no loss {name}", todo)
    for index, weight in enumerate(listed(config.get("dpo_loss_weights"))):
        if isinstance(weight, int | float) and weight < 0:
            what = f"is {weight:g}: must not be negative"
            yield Finding(("dpo_loss_weights", index), what, "Give another number")
    yield from _dpo(config, trl)
    loss = trl.get("loss_type")
    if isinstance(loss, str) and loss and loss not in grpo_losses():
        todo = did_you_mean(loss, grpo_losses(), "There are")
        yield Finding(("trl", "loss_type"), f"there is no loss {loss}", todo)


def _dpo(config: dict[str, Any], trl: dict[Any, Any]) -> Iterator[Finding]:
    """Losses of pairs whose weights, smoothing or beta do not go with them."""
    rl = config.get("rl")
    if rl not in _OF_DPO:
        return
    kinds = listed(config.get("dpo_loss_type")) or ["sigmoid"] if rl == "dpo" else ["ipo"]
    weights = listed(config.get("dpo_loss_weights")) if rl == "dpo" else []
    if weights and len(weights) != len(kinds):
        what = f"has {len(weights)} weights for {len(kinds)} losses of dpo_loss_type"
        yield Finding(("dpo_loss_weights",), what, "Give one for each")
    if kinds == ["sft"]:
        what = "is sft alone: the rejected answers would teach nothing"
        yield Finding(("dpo_loss_type",), what, "Write [sigmoid, sft]", "warning")
    smoothing = number(config.get("dpo_label_smoothing"))
    if rl == "dpo" and smoothing and not any(kind in _SMOOTHED for kind in kinds):
        what = f"is not read by the loss {kinds[0]}"
        yield Finding(("dpo_label_smoothing",), what, "Write dpo_loss_type: [robust]", "warning")
    elif smoothing is not None and smoothing >= 0.5 and "robust" in kinds:
        what = f"is {smoothing:g}: robust takes less than half of the pairs for wrong"
        yield Finding(("dpo_label_smoothing",), what, "Write 0.1")
    place: KeyPath = ("trl", "beta") if config.get("rl_beta") is None and trl else ("rl_beta",)
    beta = number(trl.get("beta") if place[0] == "trl" else config.get("rl_beta"))
    beta = beta or 0.1  # TRL's own default
    if "ipo" in kinds and 1 / (2 * beta) > _FAR_APART:
        what = f"wants chosen and rejected {1 / (2 * beta):g} nats a token apart under ipo"
        yield Finding(place, what, "Write 1.0 or more: that is half a nat", "warning")


@functools.cache
def dpo_losses() -> tuple[str, ...]:
    """The names that TRL's trainer compares ``loss_type`` with."""
    from trl.trainer import dpo_trainer

    return tuple(re.findall(r"\bloss_type == \"(\w+)\"", inspect.getsource(dpo_trainer)))


@functools.cache
def grpo_losses() -> tuple[str, ...]:
    """The same of the trainer that generates."""
    from trl.trainer import grpo_trainer

    source = inspect.getsource(grpo_trainer)
    found = re.findall(r"self\.loss_type == \"(\w+)\"", source)
    for names in re.findall(r"self\.loss_type in \[([^\]]*)\]", source):
        found += re.findall(r"\"(\w+)\"", names)
    return tuple(dict.fromkeys(found))
