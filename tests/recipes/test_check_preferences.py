"""Preference recipes before they run: the adapter to go on from, beta, equal sides."""

import json

import pytest

from recipes.runner.check.preferences import check_preferences
from recipes.runner.core.recipe import load_recipe

DPO = load_recipe("smollm2-135m-dpo").config


def adapter(folder, **changes):
    folder.mkdir()
    own = {"base_model_name_or_path": DPO["base_model"], "r": 16, "lora_alpha": 32,
           "target_modules": DPO["lora_target_modules"], **changes}  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(own))
    (folder / "adapter_model.safetensors").write_text("x")
    return str(folder)


def found(ready=False, **changes):
    config = {**DPO, **changes}
    return [(f.level, ".".join(map(str, f.place)), f.what) for f in
            check_preferences(config, ready) if f.level != "note"]  # fmt: skip


def test_an_adapter_that_fits_is_fine(tmp_path):
    assert found(lora_model_dir=adapter(tmp_path / "a")) == []
    assert found(lora_model_dir=None, ready=True) == []


def test_an_adapter_that_a_recipe_will_train_is_missing_only_when_it_is_to_run(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("recipes.runner.check.preferences.ROOT", tmp_path)
    assert found() == []
    [(level, place, what)] = found(ready=True)
    assert (level, place) == ("error", "lora_model_dir")
    assert what == "there is no adapter in runs/smollm2-135m-qlora yet"


@pytest.mark.parametrize(
    ("changes", "place", "words"),
    [
        ({"base_model_name_or_path": "tiiuae/falcon-7b"}, "lora_model_dir", "one of tiiuae/falcon"),
        ({"r": 8}, "lora_r", "is 16, and that of the adapter in .* is 8"),
        ({"lora_alpha": 16}, "lora_alpha", "is 32, and that of the adapter"),
        ({"target_modules": ["q_proj"]}, "lora_target_modules", "are not those of the adapter"),
    ],
)
def test_an_adapter_of_another_base_or_shape_is_refused(tmp_path, changes, place, words):
    import re

    [(level, where, what)] = found(lora_model_dir=adapter(tmp_path / "a", **changes))
    assert (level, where) == ("error", place) and re.search(words, what)


def test_a_folder_without_an_adapter_is_refused(tmp_path):
    [(_, _, what)] = found(lora_model_dir=str(tmp_path))
    assert "holds no adapter: adapter_config.json is not there" in what


@pytest.mark.parametrize("beta", [0, 0.0, -0.1])
def test_a_beta_of_nothing_is_refused(tmp_path, beta):
    [(_, place, what)] = found(lora_model_dir=None, rl_beta=beta)
    assert place == "rl_beta" and "nothing is learnt" in what
    [(_, place, _)] = found(lora_model_dir=None, rl_beta=None, trl={"beta": beta})
    assert place == "trl.beta"


def test_without_the_plugin_axolotl_would_begin_from_the_base(tmp_path):
    plugins = [name for name in DPO["plugins"] if "preference" not in name]
    [(_, place, what)] = found(lora_model_dir=adapter(tmp_path / "a"), plugins=plugins)
    assert place == "lora_model_dir" and "training would begin from the base" in what


def test_pairs_whose_sides_are_equal_are_refused(tmp_path):
    side = {"role": "assistant", "content": "Yes."}
    good = {"messages": [], "chosen": side, "rejected": {**side, "content": "No."}}
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in (good, {**good, "rejected": side})))
    entry = {"path": str(path), "type": "chat_template.default"}
    [(_, place, what)] = found(lora_model_dir=None, datasets=[entry], test_datasets=None)
    assert place == "datasets.0.path"
    assert "row 2 of" in what and "has the same answer chosen and rejected" in what
