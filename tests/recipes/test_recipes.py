"""Every recipe, found by glob, through Axolotl's own schema and our own checks."""

from pathlib import Path

import pytest
from transformers import AutoTokenizer

from recipes.runner.check.check import problems_of
from recipes.runner.check.refusals import validated
from recipes.runner.check.table import TABLE, table_text
from recipes.runner.core.recipe import RECIPES, ROOT, load_recipe, recipe_paths
from recipes.runner.models.architecture import architecture, as_json, build, keep, kept_file

FALCON_TOKENIZER = ROOT.parent / "shared" / "falcon-7b-tokenizer"
PATHS = recipe_paths()


def test_there_are_as_many_recipes_as_we_ship():
    assert len(PATHS) == 20


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_recipe_loads_through_axolotl_and_has_no_problem(path: Path):
    assert problems_of(path) == []
    config = load_recipe(path).config
    resolved = validated(config)
    assert resolved.output_dir == f"runs/{path.stem}"
    if not config.get("rl"):  # whose answers are trained whole, with their end
        assert resolved.datasets[0].train_on_eos == "turn"
        assert resolved.datasets[0].roles_to_train == ["assistant"]
    assert config["trust_remote_code"] is False
    assert config["special_tokens"]["pad_token"] != config["special_tokens"]["eos_token"]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_shape_kept_for_the_recipe_is_the_models_own(path: Path):
    import json

    base_model = str(load_recipe(path).config["base_model"])
    kept = json.loads(kept_file(base_model).read_text())
    assert as_json(build(dict(kept["config"]))) == kept["shape"]
    assert architecture(base_model).parameters == kept["shape"]["parameters"]


def test_shape_of_a_new_base_is_kept_for_plan_and_check(tmp_path, monkeypatch):
    import transformers

    monkeypatch.setattr("recipes.runner.models.architecture.RECIPES", tmp_path)
    (tmp_path / "architectures").mkdir()
    base = tmp_path / "base"
    transformers.LlamaConfig(hidden_size=64, num_hidden_layers=2, vocab_size=100).save_pretrained(
        base
    )
    before = architecture(str(base))
    written = keep(str(base))
    assert written == kept_file(str(base))
    (base / "config.json").unlink()
    assert as_json(architecture(str(base))) == as_json(before)
    assert before.layers == 2 and len(before.linears) == 15


def test_table_of_recipes_is_fresh():
    assert TABLE.read_text(encoding="utf-8") == table_text(), "run make table"


def test_reference_settings_of_2023_are_those_published():
    config = load_recipe("falcon7b-reference-2023").config
    published = {
        "sequence_len": 1024,
        "micro_batch_size": 4,
        "gradient_accumulation_steps": 8,
        "learning_rate": 2e-4,
        "lr_scheduler": "cosine",
        "warmup_ratio": 0.03,
        "max_grad_norm": 0.3,
        "optimizer": "paged_adamw_32bit",
        "max_steps": 180,
        "val_set_size": 0,
    }
    assert {key: config[key] for key in published} == published
    assert "test_datasets" not in config


@pytest.mark.skipif(
    not FALCON_TOKENIZER.is_dir(), reason="Falcon-7B's tokenizer is not in ../shared"
)
def test_falcon_template_uses_tokens_the_vocabulary_has():
    tokenizer = AutoTokenizer.from_pretrained(FALCON_TOKENIZER)
    tokenizer.chat_template = (RECIPES / "chat_templates" / "falcon.jinja").read_text()
    size = len(tokenizer)
    config = load_recipe("falcon7b-qlora").config
    tokenizer.add_special_tokens(config["special_tokens"])
    assert len(tokenizer) == size, "the recipe would resize the embeddings"
    ids = tokenizer.apply_chat_template(
        [
            {"role": "system", "content": "Listen."},
            {"role": "user", "content": " I can't sleep. "},
            {"role": "assistant", "content": "Since when?"},
        ],
        return_dict=False,
    )
    specials = [token for token in ids if token <= 11]
    assert tokenizer.convert_ids_to_tokens(specials) == [
        ">>INTRODUCTION<<",
        ">>QUESTION<<",
        ">>ANSWER<<",
        "<|endoftext|>",
    ]
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}], add_generation_prompt=True, tokenize=False
    )
    assert prompt == ">>QUESTION<<Hi>>ANSWER<<"
