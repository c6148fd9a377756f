"""`make plan`: any set-up, told in words, with figures that stand to each other as they must."""

from __future__ import annotations

from typing import Any

import pytest

from recipes.runner.core.errors import UserError, UserErrors
from recipes.runner.core.recipe import Recipe, load_recipe
from recipes.runner.estimate import preflight
from recipes.runner.estimate.memory import GIB, Memory, estimate
from recipes.runner.estimate.own_shards import own_strategy
from recipes.runner.estimate.passes import copies_reference, passes_of
from recipes.runner.estimate.plan import count, plan_lines
from recipes.runner.estimate.shards import estimate_shared
from recipes.runner.models.architecture import CannotEstimate, build

MISTRAL = load_recipe("mistral-7b-qlora")
BASE = {
    **MISTRAL.config, "plugins": [], "lora_mlp_kernel": False, "test_datasets": None,
    "gradient_checkpointing": True, "optimizer": "adamw_torch_fused",
}  # fmt: skip
FULL = {**BASE, "adapter": None, "load_in_4bit": False, "gradient_accumulation_steps": 1}
LORA = {**BASE, "adapter": "lora", "load_in_4bit": False}
LLAMA_1B = build(
    {
        "model_type": "llama", "hidden_size": 2048, "intermediate_size": 8192,
        "num_hidden_layers": 16, "num_attention_heads": 32, "num_key_value_heads": 8,
        "head_dim": 64, "vocab_size": 128256, "tie_word_embeddings": True,
    }
)  # fmt: skip
PARAMETERS = 1_235_814_400  # of Llama 3.2 1B


def of(config: dict[str, Any], **changes: Any) -> Memory:
    return estimate({**config, **changes}, LLAMA_1B)


def text(config: dict[str, Any], gpus: int = 1, strategy: str = "ddp") -> str:
    return "\n".join(plan_lines(Recipe("mine", MISTRAL.path, config), config, gpus, strategy))


def test_a_full_fine_tune_by_hand():
    assert LLAMA_1B.parameters == PARAMETERS
    table = 128256 * 2048
    norms = 33 * 2048
    wide = table + norms  # float32 without an attention that asks for 16 bits
    memory = of(FULL)
    assert memory.weights == memory.gradients == 2 * (PARAMETERS - wide) + 4 * wide
    assert memory.optimizer == 2 * memory.gradients
    assert memory.adapters == 0
    flash = of(FULL, attn_implementation="flash_attention_2")
    assert flash.weights == 2 * PARAMETERS and flash.optimizer == 4 * PARAMETERS
    assert of(FULL, bf16=False).gradients == 4 * PARAMETERS
    eight = of(FULL, optimizer="adamw_8bit", attn_implementation="flash_attention_2")
    in_8_bits, tables, scales = PARAMETERS - wide, 8 * table, 8 / 256
    assert eight.optimizer == pytest.approx(2 * in_8_bits * (1 + scales / 2) + tables + 8 * norms)
    assert "trained: all" in text(FULL)
    assert "adapters" not in text(FULL)


def test_lora_by_hand():
    # q and o 2048 + 2048, k and v 2048 + 512, gate, up and down 2048 + 8192, of rank 32.
    each = 2 * 4096 + 2 * 2560 + 3 * 10240
    memory = of(LORA)
    assert memory.adapters == 4 * 16 * 32 * each == memory.gradients
    assert memory.weights == 2 * PARAMETERS
    assert of(LORA, lora_r=64).adapters == 2 * memory.adapters
    dora = of(LORA, peft_use_dora=True).adapters - memory.adapters
    assert dora == 4 * 16 * (2048 + 512 + 512 + 2048 + 8192 + 8192 + 2048)
    saved = of(LORA, lora_modules_to_save=["embed_tokens", "lm_head"])
    assert saved.adapters - memory.adapters == 2 * 2 * 128256 * 2048


@pytest.mark.parametrize(
    ("less", "more"),
    [
        ({"gradient_checkpointing": True}, {"gradient_checkpointing": False}),
        ({"gradient_checkpointing": "offload"}, {"gradient_checkpointing": True}),
        ({"activation_offloading": True}, {"gradient_checkpointing": False}),
        ({"sequence_len": 1024}, {"sequence_len": 2048}),
        ({"micro_batch_size": 1}, {"micro_batch_size": 2}),
        ({"attn_implementation": "sdpa"}, {"attn_implementation": "eager", "sequence_len": 4096}),
        ({"load_in_8bit": True}, {}),
        ({"load_in_4bit": True, "adapter": "qlora"}, {"load_in_8bit": True}),
        (
            {"plugins": ["axolotl.integrations.liger.LigerPlugin"], "sequence_len": 4096,
             "liger_fused_linear_cross_entropy": True},
            {"sequence_len": 4096},
        ),
        ({"cut_cross_entropy": True, "sequence_len": 4096}, {"sequence_len": 4096}),
        ({"optimizer": "adamw_8bit"}, {"optimizer": "adamw_torch"}),
        ({}, {"rl": "dpo"}),
        ({"rl": "orpo"}, {"rl": "dpo"}),
        ({}, {"val_set_size": 0.1, "eval_batch_size": 32, "sequence_len": 2048}),
        ({}, {"peft_use_dora": True}),
    ],
)  # fmt: skip
def test_what_takes_less_is_less(less, more):
    assert of(LORA, **less).total < of(LORA, **more).total


def test_a_second_model_stands_only_without_an_adapter():
    assert of(FULL, rl="dpo").reference == of(FULL).weights
    assert of(LORA, rl="dpo").reference == 0
    assert of(LORA, rl="dpo", rl_adapter_ref_model=True).reference > 0
    assert copies_reference({"rl": "kto"}) and not copies_reference({"rl": "orpo"})
    assert passes_of({"rl": "dpo"}).sequences == 2
    assert not passes_of({"rl": "dpo", "precompute_ref_log_probs": True}).reference
    assert "2 sequences a row" in text({**LORA, "rl": "dpo"})
    assert "generates answers while it trains" in text({**LORA, "rl": "grpo"})
    assert "rl: own is not known here" in text({**LORA, "rl": "own"})


def test_gradients_and_activations_of_a_full_fine_tune_are_not_added_up():
    """Gradients come as activations go, unless they stand from the micro-batch before."""
    once = of(FULL, gradient_checkpointing=False)
    assert once.allocated < once.weights + once.optimizer + once.gradients + once.activations
    twice = of(FULL, gradient_checkpointing=False, gradient_accumulation_steps=2)
    assert twice.allocated - once.allocated == pytest.approx(once.gradients)


def test_deepspeed_and_fsdp_of_the_recipe_are_read():
    zero3 = {**FULL, "deepspeed": "recipes/accelerate/zero3.json"}
    assert own_strategy(zero3) == "zero3"
    for content in ({"stage": "2b"}, {"stage": 7}, {"stage": True}):
        with pytest.raises(UserError, match=r"zero_optimization\.stage is"):
            own_strategy({"deepspeed": {"zero_optimization": content}})
    assert own_strategy({"deepspeed": {"zero_optimization": [1]}}) == "zero0"
    assert own_strategy({"deepspeed": {"zero_optimization": {"stage": 1}}}) == "zero1"
    assert own_strategy({"deepspeed": "deepspeed_configs/zero2.json"}) == "zero2"
    assert own_strategy({"fsdp_config": {"reshard_after_forward": True}}) == "fsdp"
    assert own_strategy({}) is None
    with pytest.raises(CannotEstimate, match=r"there is no file own\.json"):
        own_strategy({"deepspeed": "own.json"})
    said = text(zero3, 8)
    assert "Memory on each of 8 cards (zero3, as the recipe says)" in said
    assert "by STRATEGY" not in said


def test_shards_by_hand():
    config = {**FULL, "attn_implementation": "flash_attention_2"}
    fsdp = estimate_shared({**config, "fsdp_config": {"a": 1}}, LLAMA_1B, "fsdp", 8)
    assert fsdp.gradients == 4 * PARAMETERS / 8 and fsdp.optimizer == 8 * PARAMETERS / 8
    zero1, zero2, zero3 = (
        estimate_shared(config, LLAMA_1B, strategy, 8) for strategy in ("zero1", "zero2", "zero3")
    )
    assert zero1.gradients == 2 * PARAMETERS and zero2.gradients == 2 * PARAMETERS / 8
    # float32 weights and two moments.
    assert zero1.optimizer == zero2.optimizer == zero3.optimizer == 12 * PARAMETERS / 8
    assert zero3.weights < zero2.weights == 2 * PARAMETERS
    off = {"zero_optimization": {"stage": 2, "offload_optimizer": {"device": "cpu"}}}
    assert estimate_shared({**config, "deepspeed": off}, LLAMA_1B, "zero2", 8).optimizer == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"optimizer": "came_pytorch"}, "optimizer: came_pytorch is not known here"),
        ({"optimizer": "paged_adamw_8bit"}, "of the optimizer move to the host"),
        ({"torch_compile": True}, "torch_compile: what a compiled graph keeps, not counted"),
        ({"tensor_parallel_size": 2}, "tensor_parallel_size: parts of layers on other cards"),
        ({"gradient_checkpointing": "offload"}, "lies on the host or the disk"),
        ({"sample_packing": False}, "rows are counted at sequence_len"),
        ({"lora_mlp_kernel": None}, "with Axolotl's LoRA kernels"),
    ],
)
def test_what_is_not_known_or_taken_for_granted_is_said(change, said):
    assert said in text({**BASE, **change})


def test_falcon_without_its_plugin_is_said_to_stand_in_float32():
    recipe = load_recipe("falcon7b-qlora")
    config = {**recipe.config, "plugins": []}
    lines = "\n".join(plan_lines(recipe, config))
    assert "not quantised without this repository's plugin: the base stands in float32" in lines
    assert estimate(config, build({"model_type": "falcon"})).weights > 24 * GIB


def test_nothing_is_ever_said_to_train_nothing():
    assert [count(n) for n in (512, 40_000, 4_883_712, 6_921_720_704)] == [
        "512", "40,000", "4.9M", "6.92B",
    ]  # fmt: skip
    for change, error in (
        ({"lora_target_modules": []}, "no layer gets an adapter"),
        ({"lora_target_modules": ["q_prj"]}, "Did you mean q_proj"),
        ({"adapter": "llama-adapter"}, "what llama-adapter trains is not known"),
    ):
        with pytest.raises(UserError, match=error):
            text({**BASE, **change})


def test_a_launcher_leaves_a_shape_that_must_be_built_to_the_training_process(monkeypatch):
    """Each of the two would import transformers for it."""
    monkeypatch.setattr(preflight, "count_gpus", lambda: 0)
    asked = []
    monkeypatch.setattr(preflight, "find_problems", lambda config: asked.append(config) or [])
    plugins = ["plugins.preflight.PreflightPlugin"]
    unknown = {"base_model": "some/model", "plugins": plugins}
    preflight.refuse_without_gpu(unknown)
    assert not asked
    looked_at = [{**unknown, "base_model": "tiiuae/falcon-7b"}, {**unknown, "plugins": None}]
    for config in looked_at:
        preflight.refuse_without_gpu(config)
    assert asked == looked_at


def test_preflight_lets_start_what_it_can_not_estimate(monkeypatch):
    said: list[str] = []
    monkeypatch.setattr(preflight, "count_gpus", lambda: 0)
    monkeypatch.setattr(preflight, "send", lambda kind, text: said.append(text))
    small = load_recipe("smollm2-135m-qlora").config
    assert preflight.find_problems({**small, "adapter": "llama-adapter"}) == []
    assert "memory was not looked at: adapter: what llama-adapter" in said[0]
    (problem,) = preflight.find_problems({**small, "lora_target_modules": ["q_prj", "v_proj"]})
    assert "q_prj matches no layer" in str(problem)


def test_a_full_disk_counts_the_model_itself(monkeypatch):
    whole = estimate(FULL, LLAMA_1B)
    monkeypatch.setattr(
        preflight.shutil, "disk_usage", lambda _: type("Usage", (), {"free": whole.weights})
    )
    (problem,) = preflight._disk_problems(FULL, whole)
    assert "checkpoints take about" in str(problem)
    assert preflight._disk_problems(LORA, estimate(LORA, LLAMA_1B)) == []


def test_values_of_another_type_are_all_named():
    with pytest.raises(UserErrors) as caught:
        text({**BASE, "micro_batch_size": "two", "num_epochs": "many", "falcon": 3})
    assert [error.where for error in caught.value.errors] == [
        "micro_batch_size", "num_epochs", "falcon",
    ]  # fmt: skip
