"""The estimate against peaks that were measured (`torch.cuda.max_memory_allocated`).

Each row stands in plugins/falcon/NOTES.md or recipes/launch/README.md, with its machine; what was
trained stands in plugins/falcon/benchmark/cases.py. 10% is asked.
"""

from __future__ import annotations

from typing import Any

import pytest
from transformers import AutoConfig

from recipes.runner.core.overrides import apply
from recipes.runner.core.recipe import load_recipe
from recipes.runner.estimate.measure.cases import CASES
from recipes.runner.estimate.measure.peaks import PEAKS, planned
from recipes.runner.estimate.memory import GIB, estimate
from recipes.runner.estimate.sharding import strategy_settings
from recipes.runner.estimate.shards import estimate_shared
from recipes.runner.models.architecture import Architecture, architecture, build

LORA = {"adapter": "lora", "load_in_4bit": False}
FAST = {"falcon": {"memory": "fast"}}
# Measured before inputs waited in host memory.
LOW = {"falcon": {"memory": "low", "offload": False}}
STOCK = {"plugins": [], "gradient_checkpointing": True}
LONG, MIDDLE, SHORT = (
    {"micro_batch_size": 4, "sequence_len": 2048, "optimizer": "adamw_torch_fused"},
    {"micro_batch_size": 1, "sequence_len": 2048, "optimizer": "adamw_8bit"},
    {"micro_batch_size": 1, "sequence_len": 512, "optimizer": "adamw_8bit"},
)
LIGER = {
    "plugins": ["axolotl.integrations.liger.LigerPlugin"], "liger_rms_norm": True,
    "liger_rope": True, "liger_glu_activation": True, "liger_fused_linear_cross_entropy": True,
    "lora_target_modules": [
        "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj",
    ],
}  # fmt: skip
FUSED_LLAMA = {
    "plugins": ["plugins.llama.LlamaPlugin"],
    "lora_target_modules": LIGER["lora_target_modules"],
    "falcon": None,
}
LLAMA_7B = {
    "model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008,
    "num_hidden_layers": 32, "num_attention_heads": 32, "vocab_size": 32000,
}  # fmt: skip

ONE_GPU = {
    "ours, QLoRA, 4 x 2,048": (21.03, LONG | FAST),
    "ours, QLoRA, low, 4 x 2,048": (7.96, LONG | LOW),
    "ours, bf16 LoRA, 4 x 2,048": (29.91, LONG | FAST | LORA),
    "ours, QLoRA, low, 1 x 2,048": (5.27, MIDDLE | LOW),
    "ours, QLoRA, low, 1 x 512": (4.79, SHORT | LOW),
    "stock QLoRA, 4 x 2,048": (46.88, LONG | STOCK),
    "stock QLoRA, 1 x 2,048": (30.91, MIDDLE | STOCK),
    "stock QLoRA, 1 x 512": (26.59, SHORT | STOCK),
    "ours, QLoRA, low, host memory": (5.94, LONG | {"falcon": {"memory": "low"}}),
    "Llama-7B shape, checkpointing": (8.08, LONG | LIGER | {"gradient_checkpointing": True}),
    "Llama-7B shape, none": (40.89, LONG | LIGER),
}
FUSED = {
    "Llama-7B shape, fused, 4 x 2,048": (28.27, LONG, "fast", None),
    "Llama-7B shape, fused, low, 4 x 2,048": (7.87, LONG, "low", None),
    "Llama-7B shape, fused, 4 x 1,024": (16.44, LONG | {"sequence_len": 1024}, "fast", None),
    "Qwen2.5-7B shape, fused, 4 x 2,048": (29.72, LONG, "fast", "Qwen/Qwen2.5-7B-Instruct"),
    "Qwen2.5-7B shape, fused, low, 4 x 2,048": (9.00, LONG, "low", "Qwen/Qwen2.5-7B-Instruct"),
}
# zero3 and fsdp ran in the modules, with attention under a mask, but for the rows that say fused.
MASK = {"falcon": {"attention": "plain", "block": "plain"}}
TWO_GPUS = {
    "ours, QLoRA, ddp": (21.27, "ddp", LONG | FAST),
    "ours, QLoRA, ddp, recorded, H200": (21.88, "ddp", LONG | FAST),
    "ours, QLoRA, fsdp, fused, H200": (19.55, "fsdp", LONG | FAST),
    "ours, QLoRA, zero2, recorded, H200": (21.26, "zero2", LONG | FAST),
    "ours, LoRA, ddp, recorded, H200": (30.80, "ddp", LONG | FAST | LORA),
    "ours, LoRA, fsdp, fused, H200": (24.42, "fsdp", LONG | FAST | LORA),
    "ours, QLoRA, zero2": (20.78, "zero2", LONG | FAST),
    "ours, QLoRA, zero3": (25.07, "zero3", LONG | MASK),
    "ours, QLoRA, fsdp": (23.54, "fsdp", LONG | MASK),
    "ours, LoRA, ddp": (30.15, "ddp", LONG | FAST | LORA),
    "ours, LoRA, zero2": (29.66, "zero2", LONG | FAST | LORA),
    "ours, LoRA, fsdp": (28.33, "fsdp", LONG | MASK | LORA),
    "ours, QLoRA, zero2, H200": (20.76, "zero2", LONG | FAST),
    "ours, QLoRA, zero3, fused, H200": (21.04, "zero3", LONG | FAST),
    "ours, LoRA, zero3, fused, H200": (25.48, "zero3", LONG | FAST | LORA),
    "stock QLoRA, ddp": (47.13, "ddp", LONG | STOCK),
    "stock LoRA, ddp": (34.71, "ddp", LONG | STOCK | LORA),
}
FOUR_GPUS = {
    "QLoRA, ddp": (21.53, "ddp", FAST),
    "QLoRA, fsdp": (18.50, "fsdp", FAST),
    "QLoRA, zero3": (19.88, "zero3", FAST),
    "LoRA, zero3": (22.02, "zero3", FAST | LORA),
}


@pytest.mark.parametrize("name", PEAKS)
def test_what_axolotl_took(name):
    (case,) = [case for case in CASES if case.name == name]
    assert planned(case).allocated / GIB == pytest.approx(PEAKS[name], rel=0.06)


def test_three_families_were_measured_and_more():
    cases = [case for case in CASES if case.name in PEAKS]
    assert len(cases) == len(PEAKS) >= 12
    assert len({case.base for case in cases}) >= 3
    assert {512, 8192} <= {case.length for case in cases}


def as_measured(changes: dict[str, Any]) -> tuple[dict[str, Any], Architecture]:
    recipe = load_recipe("falcon7b-qlora").config
    config = {**recipe, "gradient_accumulation_steps": 1, "test_datasets": None, **changes}
    return config, build(LLAMA_7B) if LIGER.items() <= changes.items() else architecture(
        "tiiuae/falcon-7b"
    )


@pytest.mark.parametrize("name", ONE_GPU)
def test_one_gpu(name):
    peak, changes = ONE_GPU[name]
    config, shape = as_measured(changes)
    assert estimate(config, shape).allocated / GIB == pytest.approx(peak, rel=0.1)


@pytest.mark.parametrize("name", FUSED)
def test_one_gpu_with_llamas_fused_path(name):
    peak, changes, memory, base = FUSED[name]
    # Measured before inputs waited in host memory.
    options = {"memory": memory, "offload": False}
    config, _ = as_measured(changes | FUSED_LLAMA | {"fused": options})
    shape = architecture(base) if base else build(LLAMA_7B)
    assert estimate(config, shape).allocated / GIB == pytest.approx(peak, rel=0.05)


def test_llama_with_host_memory():
    config, _ = as_measured(LONG | FUSED_LLAMA | {"fused": {"memory": "low"}})
    assert estimate(config, build(LLAMA_7B)).allocated / GIB == pytest.approx(6.14, rel=0.05)


@pytest.mark.parametrize(("strategy", "peak"), [("ddp", 29.31), ("fsdp", 26.82)])
def test_each_of_two_gpus_with_llamas_fused_path(tmp_path, strategy, peak):
    AutoConfig.for_model(**LLAMA_7B).save_pretrained(tmp_path)
    changes = LONG | FUSED_LLAMA | {"fused": {"memory": "fast"}, "base_model": str(tmp_path)}
    config, shape = as_measured(changes)[0], build(LLAMA_7B)
    config = apply(config, strategy_settings(strategy, config, {}))
    memory = estimate_shared(config, shape, strategy, 2)
    assert memory.allocated / GIB == pytest.approx(peak, rel=0.05)


def test_mistral_with_llamas_fused_path():
    config, _ = as_measured(LONG | FUSED_LLAMA | {"fused": {"memory": "fast"}})
    shape = architecture("mistralai/Mistral-7B-Instruct-v0.3")
    assert estimate(config, shape).allocated / GIB == pytest.approx(28.71, rel=0.05)


@pytest.mark.parametrize(("strategy", "peak"), [("ddp", 29.02), ("fsdp", 27.03), ("zero3", 28.64)])
def test_mistral_on_each_of_two_gpus(strategy, peak):
    base = "mistralai/Mistral-7B-Instruct-v0.3"
    changes = LONG | FUSED_LLAMA | {"fused": {"memory": "fast"}, "base_model": base}
    config, _ = as_measured(changes)
    config = apply(config, strategy_settings(strategy, config, {}))
    memory = estimate_shared(config, architecture(base), strategy, 2)
    assert memory.allocated / GIB == pytest.approx(peak, rel=0.03)


@pytest.mark.parametrize("name", TWO_GPUS)
def test_each_of_two_gpus(name):
    peak, strategy, changes = TWO_GPUS[name]
    config, shape = as_measured(changes)
    config = apply(config, strategy_settings(strategy, config, {}))
    memory = estimate_shared(config, shape, strategy, 2)
    assert memory.allocated / GIB == pytest.approx(peak, rel=0.1)


@pytest.mark.parametrize("name", FOUR_GPUS)
def test_each_of_four_gpus(name):
    peak, strategy, changes = FOUR_GPUS[name]
    config, shape = as_measured(LONG | changes)
    config = apply(config, strategy_settings(strategy, config, {}))
    memory = estimate_shared(config, shape, strategy, 4)
    assert memory.allocated / GIB == pytest.approx(peak, rel=0.03)


# Measured once, in the modules. Two causes were since seen on a CPU: `zero.Init` held what is
# frozen in float32, since the Trainer fills in `bf16: {enabled: auto}` after the model was built
# (6.4 GiB more a device, and what is gathered twice as large; HardwarePlugin says the dtype now);
# and every gathered weight was kept, since FalconLinear multiplies by a view of it, which autograd
# saves. Fused blocks save none, and the plan is made for them.
@pytest.mark.xfail(reason="of modules that kept each gathered weight, in float32", strict=True)
def test_lora_under_zero3():
    config, shape = as_measured(LONG | MASK | LORA)
    config = apply(config, strategy_settings("zero3", config, {}))
    memory = estimate_shared(config, shape, "zero3", 2)
    assert memory.allocated / GIB == pytest.approx(40.17, rel=0.1)
