"""What `lora_target_modules` and the keys beside it name: held to PEFT and to Axolotl."""

from __future__ import annotations

import pytest

from recipes.runner.core.recipe import load_recipe, recipe_paths
from recipes.runner.models.architecture import CannotEstimate, build
from recipes.runner.models.targets import find_target_problems, resolve

LLAMA = {
    "model_type": "llama", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3,
    "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 96,
}  # fmt: skip
QWEN3 = {**LLAMA, "model_type": "qwen3", "head_dim": 8, "tie_word_embeddings": True}
FALCON = {
    "model_type": "falcon", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "vocab_size": 96,
}  # fmt: skip
GPT2 = {"model_type": "gpt2", "n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 96}
MIXTRAL = {**LLAMA, "model_type": "mixtral", "num_local_experts": 4}
QWEN2_MOE = {
    **LLAMA, "model_type": "qwen2_moe", "num_experts": 4, "moe_intermediate_size": 48,
    "shared_expert_intermediate_size": 80,
}  # fmt: skip
QWEN3_MOE = {**LLAMA, "model_type": "qwen3_moe", "num_experts": 4, "moe_intermediate_size": 48}
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]

# Each trains something: base, keys.
CASES = {
    "list": (LLAMA, {"lora_target_modules": LINEAR}),
    "two of a layer": (LLAMA, {"lora_target_modules": ["q_proj", "self_attn.v_proj"]}),
    "full path": (LLAMA, {"lora_target_modules": ["model.layers.1.mlp.up_proj", "q_proj"]}),
    "expression": (LLAMA, {"lora_target_modules": r".*layers\.[01]\..*(q|v)_proj"}),
    "all-linear": (LLAMA, {"lora_target_modules": "all-linear"}),
    "linear": (LLAMA, {"lora_target_linear": True}),
    "linear and head": (LLAMA, {"lora_target_linear": True, "lora_target_modules": ["lm_head"]}),
    "embeddings": (LLAMA, {"lora_target_modules": ["embed_tokens", "lm_head", "q_proj"]}),
    "some layers": (LLAMA, {"lora_target_modules": LINEAR, "peft_layers_to_transform": [0, 2]}),
    "layers by pattern": (
        LLAMA,
        {
            "lora_target_modules": ["q_proj"],
            "peft_layers_to_transform": [1],
            "peft_layers_pattern": ["layers"],
        },
    ),
    "ranks": (
        LLAMA,
        {
            "lora_target_modules": LINEAR,
            "lora_rank_pattern": {"down_proj": 2, r"layers\.1\.self_attn\.q_proj": 16},
        },
    ),
    "saved": (
        LLAMA,
        {"lora_target_modules": LINEAR, "lora_modules_to_save": ["embed_tokens", "lm_head"]},
    ),
    "saved norms": (
        LLAMA,
        {"lora_target_modules": ["q_proj"], "lora_modules_to_save": ["input_layernorm", "norm"]},
    ),
    "saved, not adapted": (
        LLAMA,
        {"lora_target_modules": LINEAR, "lora_modules_to_save": ["o_proj"]},
    ),
    "dora": (LLAMA, {"lora_target_modules": LINEAR, "peft_use_dora": True}),
    "tokens": (LLAMA, {"lora_target_modules": ["q_proj"], "peft_trainable_token_indices": [3, 5]}),
    "tied, saved": (QWEN3, {"lora_target_modules": LINEAR, "lora_modules_to_save": ["lm_head"]}),
    "tied, both saved": (
        QWEN3,
        {"lora_target_modules": ["q_proj"], "lora_modules_to_save": ["embed_tokens", "lm_head"]},
    ),
    "tied, linear": (QWEN3, {"lora_target_linear": True}),
    "falcon": (FALCON, {"lora_target_modules": ["query_key_value", "dense", "dense_4h_to_h"]}),
    "falcon, linear": (FALCON, {"lora_target_linear": True}),
    "falcon, all-linear": (FALCON, {"lora_target_modules": "all-linear"}),
    "falcon, biases saved": (
        {**FALCON, "bias": True},
        {"lora_target_modules": ["dense"], "lora_modules_to_save": ["dense_h_to_4h"]},
    ),
    "conv1d of gpt2": (GPT2, {"lora_target_modules": ["c_attn", "c_proj"]}),
    "experts": (
        MIXTRAL,
        {
            "lora_target_modules": ["q_proj"],
            "lora_target_parameters": ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"],
        },
    ),
    "single experts": (MIXTRAL, {"lora_target_modules": ["q_proj", "w1", "w2", "w3"]}),
    "router": (MIXTRAL, {"lora_target_modules": ["v_proj", "gate"]}),
    "experts, linear": (MIXTRAL, {"lora_target_linear": True}),
    "experts, all-linear": (MIXTRAL, {"lora_target_modules": "all-linear"}),
    "experts, a text": (MIXTRAL, {"lora_target_modules": ".*(q_proj|w2)"}),
    "shared expert": (
        QWEN2_MOE,
        {"lora_target_modules": ["q_proj", "gate_proj", "up_proj", "down_proj"]},
    ),
    "shared expert, linear": (QWEN2_MOE, {"lora_target_linear": True}),
    "experts of qwen3": (QWEN3_MOE, {"lora_target_modules": ["o_proj", "down_proj"]}),
}


def adapted_by_axolotl(base: dict, keys: dict):
    """The model as Axolotl's own code and PEFT adapt it, on the CPU."""
    import torch
    from axolotl.loaders import adapter
    from axolotl.utils.dict import DictDefault
    from peft import get_peft_model
    from transformers import AutoConfig, AutoModelForCausalLM

    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**base), dtype=torch.bfloat16)
    cfg = DictDefault({"adapter": "lora", "lora_r": 4, "lora_alpha": 8, "lora_dropout": 0.0} | keys)
    return get_peft_model(model, adapter._build_peft_lora_config(model, cfg))


def trained_by_plan(base: dict, keys: dict) -> list[int]:
    from recipes.runner.estimate.trained import trained_tensors

    config = {"adapter": "lora", "lora_r": 4, "lora_alpha": 8, "bf16": True} | keys
    return sorted(tensor.size for tensor in trained_tensors(config, build(dict(base))))


@pytest.mark.parametrize("name", CASES)
def test_the_same_tensors_are_trained_as_peft_trains(name):
    base, keys = CASES[name]
    model = adapted_by_axolotl(base, keys)
    theirs = sorted(p.numel() for p in model.parameters() if p.requires_grad)
    assert trained_by_plan(base, keys) == theirs
    assert not resolve({"lora_r": 4, "adapter": "lora"} | keys, build(dict(base))).problems


@pytest.mark.parametrize("path", recipe_paths(), ids=lambda path: path.stem)
def test_our_recipes_name_layers_that_are_there(path):
    assert find_target_problems(load_recipe(path).config) == []


WRONG = {
    "misspelt beside right ones": (
        {"lora_target_modules": ["q_prj", "k_proj", "v_proj"]},
        "lora_target_modules: q_prj matches no layer of this model. Did you mean q_proj?",
    ),
    "another family's": ({"lora_target_modules": ["query_key_value"]}, "matches no layer"),
    "list of all-linear": ({"lora_target_modules": ["all-linear"]}, "without the list"),
    "a name as text": ({"lora_target_modules": "q_proj"}, "must match the whole of a layer's"),
    "broken expression": ({"lora_target_modules": "(q_proj"}, "is no regular expression"),
    "container": (
        {"lora_target_modules": ["mlp"]},
        "mlp matches model.layers.0.mlp, which can't have an adapter, and PEFT stops there. Name"
        " the layers in it: down_proj, gate_proj, up_proj",
    ),
    "norm": ({"lora_target_modules": ["q_proj", "norm"]}, "matches model.norm, which can"),
    "half a name": ({"lora_target_modules": ["proj"]}, "proj matches no layer"),
    "saved": (
        {"lora_target_modules": ["q_proj"], "lora_modules_to_save": ["lm_hed"]},
        "lora_modules_to_save: lm_hed matches no module of this model. Did you mean lm_head?",
    ),
    "rank pattern": (
        {"lora_target_modules": ["q_proj"], "lora_rank_pattern": {"o_proj": 8}},
        "lora_rank_pattern: o_proj matches no layer that is adapted",
    ),
    "alpha pattern": (
        {"lora_target_modules": ["q_proj"], "lora_alpha_pattern": {"q_prj": 8}},
        "lora_alpha_pattern: q_prj matches no layer that is adapted. Did you mean q_proj?",
    ),
    "layers": (
        {"lora_target_modules": ["q_proj"], "peft_layers_to_transform": [1, 7]},
        "peft_layers_to_transform: there is no layer 7: the model has 0 to 2",
    ),
    "layers beside an expression": (
        {"lora_target_modules": ".*q_proj", "peft_layers_to_transform": [1]},
        "has no say beside a lora_target_modules that is one text",
    ),
    "layers by another's pattern": (
        {"lora_target_modules": ["q_proj"], "peft_layers_to_transform": [1],
         "peft_layers_pattern": ["h"]},
        "no layer is left",
    ),
    "tokens": (
        {"lora_target_modules": ["q_proj"], "peft_trainable_token_indices": {"embed_token": [1]}},
        "Did you mean embed_tokens?",
    ),
    "experts": (
        {"lora_target_modules": ["q_proj"], "lora_target_parameters": ["experts.gate_up"]},
        "matches no parameter",
    ),
    "nothing": ({}, "no layer gets an adapter, and lora is asked for"),
    "rank": ({"lora_target_modules": ["q_proj"], "lora_r": 0}, "lora_r: is 0, and a rank is"),
}  # fmt: skip


def test_a_layer_that_is_one_with_another_in_every_expert_is_not_adapted_alone():
    keys = {"adapter": "lora", "lora_r": 4, "lora_target_modules": ["q_proj", "w1"]}
    (problem,) = resolve(keys, build(dict(MIXTRAL))).problems
    assert problem.todo == "Name w3 too"
    with pytest.raises(ValueError, match="without also targeting w3"):
        adapted_by_axolotl(MIXTRAL, keys)


@pytest.mark.parametrize("name", WRONG)
def test_a_name_that_matches_nothing_is_named(name):
    keys, said = WRONG[name]
    problems = resolve({"adapter": "lora", "lora_r": 4} | keys, build(dict(LLAMA))).problems
    assert len(problems) == 1, problems
    assert said in str(problems[0].error())


def test_every_wrong_name_has_its_line():
    config = load_recipe("falcon7b-qlora").config
    config = {**config, "lora_target_modules": ["querykey_value", "dense", "dense_4_to_h"]}
    first, second = find_target_problems(config)
    assert "querykey_value matches no layer" in str(first)
    assert "Did you mean query_key_value?" in str(first)
    assert "Did you mean dense_4h_to_h?" in str(second)


def test_falcon_h1_reads_a_weight_past_its_adapter():
    h1 = build({"model_type": "falcon_h1", "hidden_size": 32, "num_hidden_layers": 1,
                "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 48,
                "mamba_d_ssm": 64, "mamba_n_heads": 4, "mamba_d_state": 16, "vocab_size": 96,
                "mamba_d_head": 16})  # fmt: skip
    config = {"adapter": "qlora", "lora_r": 4, "lora_target_modules": ["in_proj", "out_proj"]}
    (problem,) = resolve(config, h1).problems
    assert "a LoRA on out_proj is never used" in problem.what
    for everything in ({"lora_target_modules": "all-linear"}, {"lora_target_linear": True}):
        (problem,) = resolve({"adapter": "qlora", "lora_r": 4, **everything}, h1).problems
        assert "all linear layers are out_proj too" in problem.what and "in_proj" in problem.todo
        excluded = {**everything, "lora_exclude_modules": ["out_proj"]}
        assert not resolve({"adapter": "qlora", "lora_r": 4, **excluded}, h1).problems


def test_a_recipe_without_an_adapter_has_no_target():
    assert find_target_problems({"base_model": "tiiuae/falcon-7b"}) == []


def test_a_saved_adapter_brings_its_own_settings(tmp_path):
    model = adapted_by_axolotl(LLAMA, {"lora_target_modules": ["q_proj", "down_proj"]})
    model.save_pretrained(tmp_path)
    theirs = sorted(p.numel() for p in model.parameters() if p.requires_grad)
    other = {"lora_r": 64, "lora_target_linear": True, "lora_model_dir": str(tmp_path)}
    assert trained_by_plan(LLAMA, other) == theirs
    with pytest.raises(CannotEstimate, match="which says what is trained"):
        trained_by_plan(LLAMA, other | {"lora_model_dir": str(tmp_path / "gone")})
