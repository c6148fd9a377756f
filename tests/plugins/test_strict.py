"""Typing errors in recipes: one at a time, each must be found and named."""

import random
from pathlib import Path
from typing import Any

import pytest
import yaml

from recipes.runner.check.keys import check_config
from recipes.runner.core.recipe import load_recipe, recipe_paths


def keys_of(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = []
    if isinstance(node, dict):
        for key, value in node.items():
            found += [(*path, key), *keys_of(value, (*path, key))]
    elif isinstance(node, list):
        for index, value in enumerate(node):
            found += keys_of(value, (*path, index))
    return found


def misspell(word: str, chance: random.Random) -> str:
    place = chance.randrange(1, len(word))
    kind = chance.choice(["drop", "double", "swap"])
    if kind == "drop":
        return word[:place] + word[place + 1 :] if place < len(word) - 1 else word[:-1]
    if kind == "double":
        return word[:place] + word[place] + word[place:]
    return word[: place - 1] + word[place] + word[place - 1] + word[place + 1 :]


def with_key_renamed(config: dict, path: tuple[Any, ...], name: str) -> dict:
    import copy

    changed = copy.deepcopy(config)
    node = changed
    for part in path[:-1]:
        node = node[part]
    items = [(name if key == path[-1] else key, value) for key, value in node.items()]
    node.clear()
    node.update(items)
    return changed


def test_a_hundred_typing_errors_are_found_and_named(tmp_path):
    chance = random.Random(0)
    places = [(path, key) for path in recipe_paths() for key in keys_of(load_recipe(path).config)]
    chance.shuffle(places)
    tried = missed = unnamed = 0
    for path, key_path in places:
        key = key_path[-1]
        wrong = misspell(key, chance)
        if wrong == key:
            continue
        changed = with_key_renamed(load_recipe(path).config, key_path, wrong)
        file = tmp_path / path.name
        file.write_text(yaml.safe_dump(changed, sort_keys=False))
        problems = [str(problem) for problem in check_config(changed, file)]
        found = [line for line in problems if wrong in line and "unknown key" in line]
        tried += 1
        missed += not found
        unnamed += not any(f"Did you mean {key}?" in line for line in found)
        if tried == 100:
            break
    assert (tried, missed) == (100, 0)
    # Another valid key is sometimes nearer to what was written than the one it came from.
    assert unnamed <= 5


def check_text(tmp_path: Path, old: str, new: str) -> list[str]:
    text = load_recipe("falcon7b-qlora").path.read_text()
    assert old in text
    file = tmp_path / "changed.yaml"
    file.write_text(text.replace(old, new))
    return [str(problem) for problem in check_config(yaml.safe_load(file.read_text()), file)]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("lora_r: 32", "lora_r: many", "lora_r: is 'many', which is no whole number"),
        ("lora_r: 32", "lora_r: true", "lora_r: is true, which is no whole number"),
        ("bnb_4bit_quant_type", "bnb_4bit_quant_typ", "Did you mean bnb_4bit_quant_type?"),
        ("pad_token", "pad_tokn", "special_tokens.pad_tokn: unknown key. Did you mean pad_token?"),
        ("plugins.falcon.FalconPlugin", "plugins.falcon.FalconPlugn", "no plugin"),
        ("plugins.falcon.FalconPlugin", "plugins.falcn.FalconPlugin", "no plugin"),
        ("falcon.jinja", "falcn.jinja", "there is no recipes/chat_templates/falcn.jinja"),
        (
            "data/mental_health_support/train.jsonl",
            "data/mental_health_suport/train.jsonl",
            "data/mental_health_support/train.jsonl can be made",
        ),
        ("seed: 42", "seed: 42\nfalcon:\n  memry: low", "falcon.memry: unknown key"),
        ("seed: 42", "seed: 42\nseed: 43", "seed: is given twice"),
        ("seed: 42", "seed: 42\noverfitting_watch: {evaluation: 3}", "Did you mean evaluations?"),
        ("adapter: qlora", "adapter: [qlora]", "adapter: is ['qlora']"),
    ],
)
def test_each_kind_of_mistake_has_its_message(tmp_path, old, new, message):
    problems = check_text(tmp_path, old, new)
    assert any(message in problem for problem in problems), problems
    assert all("changed.yaml:" in problem for problem in problems)


def test_all_mistakes_come_at_once_in_the_order_of_the_file(tmp_path):
    file = tmp_path / "changed.yaml"
    text = load_recipe("falcon7b-qlora").path.read_text()
    text = text.replace("lora_r:", "lora_rnk:").replace("train_on_eos", "train_on_eoss", 1)
    file.write_text(text.replace("learning_rate:", "learning_rat:"))
    problems = [str(problem) for problem in check_config(yaml.safe_load(file.read_text()), file)]
    assert [problem.split(": ")[1] for problem in problems] == [
        "adapter",  # has no lora_r
        "lora_rnk",
        "datasets[0].train_on_eoss",
        "learning_rat",
    ]


def test_an_override_is_named_as_one(tmp_path):
    recipe = load_recipe("falcon7b-qlora")
    (problem,) = check_config({**recipe.config, "lora_rr": 3}, recipe.path)
    assert str(problem) == "command line (SET=): lora_rr: unknown key. Did you mean lora_r?"


def test_options_of_axolotl_train_are_no_keys_of_the_recipe(tmp_path):
    from axolotl.cli.args import TrainerCliArgs

    recipe = load_recipe("smollm2-135m-qlora")
    options = vars(TrainerCliArgs())
    assert check_config({**recipe.config, **options}, recipe.path) == []
    written = tmp_path / "recipe.yaml"
    written.write_text(recipe.path.read_text() + "debug_text_only: true\n")
    (problem,) = check_config({**recipe.config, **options}, written)
    assert "debug_text_only: unknown key" in str(problem)


def test_axolotl_reports_no_more_once_a_recipe_is_checked(monkeypatch):
    from axolotl.telemetry.manager import TelemetryManager

    from plugins.strict import StrictPlugin

    recipe = load_recipe("smollm2-135m-qlora")
    monkeypatch.setattr(TelemetryManager.get_instance(), "enabled", True)
    config = {**recipe.config, "axolotl_config_path": str(recipe.path)}
    StrictPlugin().register(config)
    assert TelemetryManager.get_instance().enabled is False
