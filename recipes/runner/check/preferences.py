"""Preference training: the adapter that it goes on from, its beta, its rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from recipes.runner.check.finding import (
    Finding,
    Level,
    data_sets,
    is_ours,
    mapping,
    number,
    spelt,
    whole,
)
from recipes.runner.check.references import file_here, first_rows, is_local
from recipes.runner.core.errors import UserError
from recipes.runner.core.nearest import nearest
from recipes.runner.core.paths import ROOT, is_file, is_folder
from recipes.runner.core.recipe import load_recipe, recipe_paths
from recipes.runner.core.yaml_file import KeyPath
from recipes.runner.models.saved_adapter import (
    MADE_BY_TRL,
    PREFERENCE_PLUGIN,
    names_preference_plugin,
)
from recipes.runner.run.finished import ADAPTER_CONFIG, ADAPTER_WEIGHTS, same_model

_PAIRED = ("dpo", "ipo", "orpo", "simpo")


def check_preferences(config: dict[str, Any], ready: bool = False) -> Iterator[Finding]:
    """What is wrong with a recipe's adapter to go on from, and with its preferences.

    Args:
        config: the recipe's keys.
        ready: whether it is to run now, so that an adapter which is still to be trained is missing.
    """
    rl = config.get("rl")
    yield from _adapter(config, ready)
    if rl not in (*_PAIRED, "kto"):
        return
    if rl in MADE_BY_TRL:
        yield from _beta(config)
        if config.get("lora_model_dir") and not names_preference_plugin(config):
            what = f"is not read by Axolotl under rl: {rl}: training would begin from the base"
            level: Level = "error" if is_ours(config) else "warning"
            yield Finding(
                ("lora_model_dir",), what, f"Name {PREFERENCE_PLUGIN} under plugins", level
            )
        else:
            yield from _other_reference(config)
    if rl == "kto" and whole(config, "micro_batch_size", 1) < 2:
        what = "is 1: KTO holds each answer against another row's of the same micro-batch"
        yield Finding(("micro_batch_size",), what, "Write 2 or more")
    for place, entry in data_sets(config):
        path = entry.get("path")
        rows = (first_rows(path) if isinstance(path, str) else None) or []
        at = (*place, "path")
        missing = list(_missing(at, str(path), rows, rl, entry))
        yield from missing
        if not missing:
            yield from (_equal_sides if rl in _PAIRED else _one_label)(at, str(path), rows)


def _other_reference(config: dict[str, Any]) -> Iterator[Finding]:
    """Settings that would have the plain base for the reference, in silence."""
    if not config.get("lora_model_dir"):
        return
    for key, does in (
        ("precompute_ref_log_probs", "asks the reference before the SFT adapter is there"),
        ("rl_adapter_ref_model", "loads a second model, the base, for the reference"),
    ):
        if config.get(key):
            what = f"{does}: the run would be held to the base, not to the SFT adapter"
            yield Finding((key,), what, "Take it out")


def _beta(config: dict[str, Any]) -> Iterator[Finding]:
    trl = mapping(config, "trl").get("beta")
    for place, value in ((("rl_beta",), config.get("rl_beta")), (("trl", "beta"), trl)):
        beta = number(value)
        if beta is not None and beta <= 0:
            what = f"is {beta:g}: chosen and rejected weigh nothing, and nothing is learnt"
            yield Finding(place, what, "Write 0.1")


def _adapter(config: dict[str, Any], ready: bool) -> Iterator[Finding]:
    path = config.get("lora_model_dir")
    if not isinstance(path, str) or not path or not (is_local(path) or is_folder(path)):
        return
    place = ("lora_model_dir",)
    missing: Level = "error" if is_ours(config) else "warning"
    folder = Path(path) if is_folder(path) else ROOT / path
    maker = _maker(path)
    if not is_folder(folder) or (maker and not is_file(folder / ADAPTER_WEIGHTS)):
        if maker:
            what = f"there is no adapter in {path} yet"
            todo = f"make train RECIPE={maker} writes it"
            yield Finding(place, what, todo, missing if ready else "note")
        else:
            yield Finding(place, f"there is no {path}", _hint(path), missing)
        return
    lacks = [name for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS) if not is_file(folder / name)]
    if lacks:
        what = f"{path} holds no adapter: {lacks[0]} is not there"
        yield Finding(place, what, "Name the folder of a run that is finished", missing)
        return
    yield from _other_adapter(config, folder, path)


def _other_adapter(config: dict[str, Any], folder: Path, path: str) -> Iterator[Finding]:
    """An adapter of another base, or of another shape or template than the recipe's."""
    place = ("lora_model_dir",)
    own = _read(folder / ADAPTER_CONFIG)
    if own is None:
        yield Finding(place, f"{path}/{ADAPTER_CONFIG} can't be read", "Train the adapter again")
        return
    base = own.get("base_model_name_or_path")
    if base and not same_model(str(base), str(config.get("base_model"))):
        what = f"the adapter in {path} is one of {base}, and this recipe's base is"
        yield Finding(place, f"{what} {config.get('base_model')}", "Name an adapter of this base")
        return
    if config.get("rl") not in MADE_BY_TRL:
        return  # Axolotl loads it as it was saved, and asks the recipe for none of its settings
    for key, name in (("lora_r", "r"), ("lora_alpha", "lora_alpha")):
        given = number(config.get(key))
        if given is not None and own.get(name) is not None and given != own[name]:
            what = f"is {given:g}, and that of the adapter in {path} is {own[name]}"
            yield Finding((key,), what, f"Write {own[name]}")
    given, trained = config.get("lora_target_modules"), own.get("target_modules")
    if isinstance(given, list) and isinstance(trained, list) and set(given) != set(trained):
        what = f"are not those of the adapter in {path}"
        yield Finding(("lora_target_modules",), what, f"Write [{', '.join(sorted(trained))}]")
    asked = mapping(_read(folder / "run.json") or {}, "asked")
    for key in ("chat_template", "chat_template_jinja") if asked else ():
        now, then = (_or_not_set(place.get(key)) for place in (config, asked))
        if now != then:
            what = f"is {now}, and the run in {path} had {then}"
            todo = "Write the same: the adapter never saw prompts in another"
            yield Finding((key,), what, todo, "warning")


def _or_not_set(value: Any) -> str:
    return "not set" if value is None else spelt(value)


def _read(file: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _maker(path: str) -> str | None:
    """The recipe whose run this folder is; None when no recipe here writes it."""
    for recipe in recipe_paths():
        if recipe.stem == Path(path).name and Path(path).parent.name == "runs":
            try:
                config = load_recipe(recipe).config
            except UserError:  # which is told of that recipe, and not of this one
                return None
            if Path(str(config.get("output_dir", ""))) == Path(path):
                return recipe.stem
    return None


def _hint(path: str) -> str:
    parent = ROOT / Path(path).parent
    names = [item.name for item in parent.iterdir()] if is_folder(parent) else []
    near = nearest(Path(path).name, names)
    return f"Did you mean {Path(path).parent / near}?" if near else "Correct the path"


def _missing(
    place: KeyPath, path: str, rows: list[dict[str, Any]], rl: Any, entry: dict[str, Any]
) -> Iterator[Finding]:
    """The first row without what `chat_template.default` reads, or with a label that is none."""
    if entry.get("type") != "chat_template.default" or file_here(path) is None:
        return  # other types have columns of their own
    if rl == "kto":
        wanted = ["completion", "label"]
    else:
        names = (("field_messages", "messages"), ("field_chosen", "chosen"),
                 ("field_rejected", "rejected"))  # fmt: skip
        wanted = [str(entry.get(key) or name) for key, name in names]
    # What no row has is told of the type, as of every data set.
    wanted = [name for name in wanted if any(row.get(name) is not None for row in rows)]
    for number_of, row in enumerate(rows, 1):
        lacks = next((name for name in wanted if row.get(name) is None), None)
        if lacks:
            what = f"row {number_of} of {path} has no {lacks}"
            yield Finding(
                place, what, f"chat_template.default reads {', '.join(wanted)}: write them"
            )
            return
        if rl == "kto" and row.get("label") not in (None, True, False):
            what = f"row {number_of} of {path} has the label {spelt(row['label'])}"
            yield Finding(place, what, "Write true for an answer that is wanted, false for another")
            return


def _equal_sides(place: KeyPath, path: str, rows: list[dict[str, Any]]) -> Iterator[Finding]:
    """Rows whose chosen and rejected answers are the same: they teach nothing."""
    for number_of, row in enumerate(rows, 1):
        chosen, rejected = _answer(row.get("chosen")), _answer(row.get("rejected"))
        if chosen is not None and chosen == rejected:
            what = f"row {number_of} of {path} has the same answer chosen and rejected"
            yield Finding(place, what, "Take it out")
            return


def _one_label(place: KeyPath, path: str, rows: list[dict[str, Any]]) -> Iterator[Finding]:
    """Rows that are all wanted, or all unwanted: nothing is held against anything."""
    labels = {bool(row["label"]) for row in rows if "label" in row}
    if len(rows) > 1 and len(labels) == 1:
        what = f"every row of {path} is {'wanted' if labels.pop() else 'unwanted'}"
        yield Finding(place, what, "KTO learns from both: add rows of the other label", "warning")


def _answer(side: Any) -> str | None:
    """The text of one side: a text, a turn, or a whole talk whose last turn counts."""
    turn = side[-1] if isinstance(side, list) and side else side
    text = turn.get("content") if isinstance(turn, dict) else turn
    return text.strip() if isinstance(text, str) else None
