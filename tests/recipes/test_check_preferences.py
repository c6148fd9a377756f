"""Preference recipes before they run: the adapter to go on from, beta, equal sides."""

import json

import pytest

from recipes.runner.check.preferences import check_preferences
from recipes.runner.core.recipe import load_recipe

DPO = load_recipe("smollm2-135m-dpo").config


def adapter(folder, **changes):
    folder.mkdir()
    own = {"base_model_name_or_path": DPO["base_model"], "r": DPO["lora_r"],
           "lora_alpha": DPO["lora_alpha"],
           "target_modules": DPO["lora_target_modules"], **changes}  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(own))
    (folder / "adapter_model.safetensors").write_text("x")
    return str(folder)


def found(ready=False, **changes):
    # Without rows, unless a test brings its own: data/preferences may be here or not.
    config = {**DPO, "datasets": [], "test_datasets": None, **changes}
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
    assert what == "there is no adapter in runs/smollm2-135m-quick yet"


@pytest.mark.parametrize(
    ("changes", "place", "words"),
    [
        ({"base_model_name_or_path": "tiiuae/falcon-7b"}, "lora_model_dir", "one of tiiuae/falcon"),
        ({"r": 8}, "lora_r", rf"is {DPO['lora_r']}, and that of the adapter in .* is 8"),
        ({"lora_alpha": 16}, "lora_alpha", f"is {DPO['lora_alpha']}, and that of the adapter"),
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


def test_a_broken_recipe_of_that_name_is_no_maker(monkeypatch):
    from recipes.runner.check import preferences
    from recipes.runner.core.errors import UserError

    def broken(path):
        raise UserError("is broken", str(path))

    monkeypatch.setattr(preferences, "load_recipe", broken)
    assert preferences._maker("runs/smollm2-135m-qlora") is None


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
    [(_, place, what)] = found(lora_model_dir=None, datasets=[entry])
    assert place == "datasets.0.path"
    assert "row 2 of" in what and "has the same answer chosen and rejected" in what


@pytest.mark.parametrize("same", ["Yes. ", [{"role": "assistant", "content": "Yes."}]])
def test_equal_sides_are_found_in_every_shape(tmp_path, same):
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps({"prompt": "Well?", "chosen": "Yes.", "rejected": same}))
    [(_, _, what)] = found(lora_model_dir=None, datasets=[{"path": str(path)}])
    assert "row 1 of" in what


@pytest.mark.parametrize(
    ("rl", "row", "words"),
    [
        ("dpo", {"chosen": None}, "row 2 of {path} has no chosen"),
        ("dpo", {"messages": None}, "row 2 of {path} has no messages"),
        ("kto", {"label": "maybe"}, "row 2 of {path} has the label 'maybe'"),
        ("kto", {"label": None}, "row 2 of {path} has no label"),
        ("kto", {"completion": None}, "row 2 of {path} has no completion"),
    ],
)
def test_a_row_without_what_is_read_of_it_is_named(tmp_path, rl, row, words):
    path = tmp_path / "rows.jsonl"
    turns = [{"role": "user", "content": "Well?"}, {"role": "assistant", "content": "Yes."}]
    good = {"messages": turns[:1], "chosen": turns[1], "rejected": "No.", "completion": turns}
    rows = [good | {"label": True}, good | {"label": False} | row]
    path.write_text("".join(json.dumps(one) + "\n" for one in rows))
    entry = {"path": str(path), "type": "chat_template.default", "split": "train"}
    more = {"rl": rl, "lora_model_dir": None}
    said = [what for _, _, what in found(datasets=[entry], **more)]
    assert words.format(path=path) in said
    others = found(datasets=[entry | {"type": "chatml.intel"}], **more)
    assert not any(f"row 2 of {path} has" in what for _, _, what in others)


def test_kto_wants_two_answers_at_once_and_both_labels(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(2 * '{"prompt": "Well?", "completion": "Yes.", "label": true}\n')
    kto = {"rl": "kto", "lora_model_dir": None, "datasets": [{"path": str(path)}]}
    assert found(**kto, micro_batch_size=1) == [
        ("error", "micro_batch_size",
         "is 1: KTO holds each answer against another row's of the same micro-batch"),
        ("warning", "datasets.0.path", f"every row of {path} is wanted"),
    ]  # fmt: skip
    with path.open("a") as more:
        more.write('{"prompt": "Well?", "completion": "No.", "label": false}\n')
    assert found(**kto, micro_batch_size=2) == []


@pytest.mark.parametrize("key", ["precompute_ref_log_probs", "rl_adapter_ref_model"])
def test_what_would_put_the_base_in_the_reference_s_place_is_refused(tmp_path, key):
    [(level, place, what)] = found(lora_model_dir=adapter(tmp_path / "a"), **{key: True})
    assert (level, place) == ("error", key) and "held to the base, not to the SFT adapter" in what
    assert found(lora_model_dir=None, **{key: True}) == []


def test_another_chat_template_than_the_sft_run_had_is_warned_of(tmp_path):
    folder = adapter(tmp_path / "a")
    record = {"asked": {"chat_template": "tokenizer_default"}}
    (tmp_path / "a" / "run.json").write_text(json.dumps(record))
    [(level, place, what)] = found(lora_model_dir=folder)
    assert (level, place) == ("warning", "chat_template")
    assert what.startswith("is 'chatml', and the run in ")
    record["asked"]["chat_template"] = DPO["chat_template"]
    (tmp_path / "a" / "run.json").write_text(json.dumps(record))
    assert found(lora_model_dir=folder) == []


def test_sft_that_goes_on_asks_the_recipe_for_no_shape_of_the_adapter(tmp_path):
    folder = adapter(tmp_path / "a", r=8, target_modules=["q_proj"])
    assert found(lora_model_dir=folder, rl=None) == []
    [(_, place, what)] = found(lora_model_dir=adapter(
        tmp_path / "b", base_model_name_or_path="tiiuae/falcon-7b"), rl=None)  # fmt: skip
    assert place == "lora_model_dir" and "this recipe's base is models/smollm2" in what


def test_plan_counts_the_frozen_adapter_and_needs_no_run():
    from recipes.runner.estimate.memory import estimate
    from recipes.runner.models.architecture import architecture

    shape = architecture(DPO["base_model"])
    held = estimate(DPO, shape)
    assert held.reference == held.adapters > 0  # both in 32 bits
    assert estimate({**DPO, "lora_model_dir": None}, shape).reference == 0
