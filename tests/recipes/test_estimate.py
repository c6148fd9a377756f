"""What an estimate counts exactly: held to small models of each family, stepped on the CPU."""

from __future__ import annotations

import json
from typing import Any

import pytest

from recipes.runner.core.errors import UserError, UserErrors
from recipes.runner.core.recipe import load_recipe
from recipes.runner.estimate.memory import estimate
from recipes.runner.estimate.optimizer import KINDS, kind_of, state_bytes
from recipes.runner.estimate.trained import NF4_BYTES, base_bytes, trained_tensors
from recipes.runner.models.architecture import CannotEstimate, architecture, build

SMALL = {
    "hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 2, "vocab_size": 320,
    "num_attention_heads": 4, "num_key_value_heads": 2, "pad_token_id": 0,
}  # fmt: skip
FALCON = {
    "model_type": "falcon", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "vocab_size": 320,
}  # fmt: skip
MODELS: dict[str, dict[str, Any]] = {
    name: {**SMALL, "model_type": name} for name in ("llama", "mistral", "qwen2", "phi3", "olmo2")
}
MODELS["qwen3"] = {**SMALL, "model_type": "qwen3", "head_dim": 16}
MODELS["gemma"] = {**SMALL, "model_type": "gemma", "head_dim": 16}
MODELS["falcon"] = FALCON
MODELS["falcon2"] = {**FALCON, "new_decoder_architecture": True, "num_kv_heads": 2, "bias": True}

SETUPS: dict[str, dict[str, Any]] = {
    "lora": {"adapter": "lora", "optimizer": "adamw_torch_fused"},
    "lora, 8-bit optimizer": {"adapter": "lora", "optimizer": "adamw_8bit"},
    "dora": {"adapter": "lora", "peft_use_dora": True, "optimizer": "paged_adamw_8bit"},
    "saved": {"adapter": "lora", "saved": True, "optimizer": "adamw_bnb_8bit"},
    "full": {"optimizer": "adamw_torch"},
    "full, 16 bits": {"attn_implementation": "flash_attention_2", "optimizer": "adamw_torch"},
    "full, 8-bit optimizer": {"optimizer": "adamw_8bit"},
    "full, float32": {"bf16": False, "optimizer": "paged_adamw_32bit"},
    "some layers": {
        "unfrozen_parameters": [
            ".+.1.(mlp|self_attention)",
            "^(model.norm|transformer.ln_f).weight$[:20]",
        ],
        "optimizer": "lion_8bit",
    },
}


def config_of(setup: dict[str, Any], base: dict[str, Any]) -> dict[str, Any]:
    config = {"base_model": "small", "bf16": True, "lora_r": 8, "lora_alpha": 8, **setup}
    if config.get("adapter"):
        config["lora_target_linear"] = True
    if config.pop("saved", False):
        falcon = base["model_type"] == "falcon"
        config["lora_modules_to_save"] = [
            "word_embeddings" if falcon else "embed_tokens",
            "lm_head",
        ]
    return config


def loaded(config: dict[str, Any], base: dict[str, Any]):
    """The model as Axolotl's own code leaves it: dtypes, what is frozen, and its adapter."""
    import torch
    from axolotl.loaders import adapter
    from axolotl.loaders.model import ModelLoader
    from axolotl.utils.dict import DictDefault
    from axolotl.utils.freeze import freeze_layers_except
    from peft import get_peft_model
    from transformers import AutoConfig, AutoModelForCausalLM

    dtype = torch.bfloat16 if config["bf16"] else torch.float32
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**base), dtype=dtype)
    model.tie_weights()
    cfg = DictDefault(config | {"torch_dtype": dtype, "model_config_type": base["model_type"]})
    cfg.attn_needs_dtype_cast = "flash" in str(config.get("attn_implementation"))
    loader = ModelLoader.__new__(ModelLoader)
    loader.cfg, loader.model, loader.model_config = cfg, model, model.config
    loader._configure_embedding_dtypes()
    if config.get("unfrozen_parameters"):
        freeze_layers_except(model, config["unfrozen_parameters"])
    if not config.get("adapter"):
        return model
    cfg.lora_dropout = 0.0
    return get_peft_model(model, adapter._build_peft_lora_config(model, cfg))


def stepped(model, config: dict[str, Any]):
    """An optimizer after its first step, made as the Trainer makes it."""
    import bitsandbytes as bnb
    import torch
    from torch import nn

    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    made = {
        "adamw_torch": torch.optim.AdamW, "adamw_torch_fused": torch.optim.AdamW,
        "adamw_8bit": bnb.optim.AdamW8bit, "adamw_bnb_8bit": bnb.optim.AdamW8bit,
        "paged_adamw_8bit": bnb.optim.PagedAdamW8bit,
        "paged_adamw_32bit": bnb.optim.PagedAdamW32bit, "lion_8bit": bnb.optim.Lion8bit,
    }  # fmt: skip
    optimizer = made[config["optimizer"]](trained, lr=1e-3)
    if "8bit" in config["optimizer"]:
        manager = bnb.optim.GlobalOptimManager.get_instance()
        manager.initialize()  # it knows tensors by their place in memory, another test's too
        for module in model.modules():
            if isinstance(module, nn.Embedding):
                manager.register_module_override(module, "weight", {"optim_bits": 32})
    for parameter in trained:
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    return optimizer


@pytest.mark.filterwarnings("ignore:Paged optimizers are not supported on CPU")
@pytest.mark.parametrize("setup", SETUPS)
@pytest.mark.parametrize("name", MODELS)
def test_parts_are_those_of_a_real_model(name, setup):
    base = MODELS[name]
    config = config_of(SETUPS[setup], base)
    model = loaded(config, base)
    optimizer = stepped(model, config)
    shape = build(dict(base))
    memory = estimate(config, shape)
    trained = {id(p): p for p in model.parameters() if p.requires_grad}
    everything = {id(p): p for p in model.parameters()}

    assert shape.parameters == build_plain(base)
    assert sum(t.size for t in trained_tensors(config, shape)) == sum(
        p.numel() for p in trained.values()
    )
    assert memory.gradients == sum(p.grad.nbytes for p in trained.values())
    assert memory.weights + memory.adapters == sum(p.nbytes for p in everything.values())
    state = sum(
        value.nbytes
        for states in optimizer.state.values()
        for key, value in states.items()
        if hasattr(value, "nbytes") and not key.startswith(("qmap", "step"))
    )
    assert memory.optimizer == state


def build_plain(base: dict[str, Any]) -> int:
    from transformers import AutoConfig, AutoModelForCausalLM

    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**base))
    model.tie_weights()
    return model.num_parameters()


def test_four_bit_weights_are_those_that_bitsandbytes_holds():
    import bitsandbytes as bnb
    import torch

    layer = bnb.nn.Linear4bit(512, 1024, bias=False, compress_statistics=True, quant_type="nf4")
    layer.weight = bnb.nn.Params4bit(
        torch.randn(1024, 512), requires_grad=False, compress_statistics=True, quant_type="nf4"
    )
    weight = layer.to("cpu").weight
    state = weight.quant_state
    assert state is not None
    held = weight.nbytes + state.absmax.nbytes + state.state2.absmax.nbytes
    assert held == pytest.approx(1024 * 512 * NF4_BYTES, rel=1e-4)


@pytest.mark.parametrize(("change", "kept"), [({}, True), ({"lora_dropout": 0.1}, False)])
def test_a_cpu_keeps_what_lora_reads_out_of_four_bits(change, kept):
    config = dict(load_recipe("smollm2-135m-qlora").config) | change
    shape = architecture(config["base_model"])
    on_gpu, on_cpu = (estimate(config | {"bf16": True}, shape, gpu) for gpu in (True, False))
    in_four_bits = 2 * 30 * 576 * 1536  # gate_proj and up_proj of 30 blocks
    assert on_cpu.weights - on_gpu.weights == kept * 2 * in_four_bits


def test_only_plain_linear_layers_are_quantised():
    config = {"adapter": "qlora", "load_in_4bit": True, "lora_r": 4, "bf16": True}
    llama, falcon = build(dict(MODELS["llama"])), build(dict(FALCON))
    blocks, _ = base_bytes(config, llama)
    assert blocks == pytest.approx(sum(m.size for m in llama.body) * NF4_BYTES)
    stock, _ = base_bytes(config, falcon)
    assert stock == sum(m.size for m in falcon.body) * 4, "Falcon's own class is passed over"
    ours, _ = base_bytes({**config, "plugins": ["plugins.falcon.FalconPlugin"]}, falcon)
    assert ours == pytest.approx(stock / 4 * NF4_BYTES)
    skipped = {**config, "bnb_config_kwargs": {"llm_int8_skip_modules": ["down_proj"]}}
    assert base_bytes(skipped, llama)[0] > blocks


@pytest.mark.parametrize("stage", [2, 3])
def test_what_is_not_quantised_is_lifted_where_weights_are_in_shards(tmp_path, stage):
    """Read from DeepSpeed's file or keys, whatever the file is called."""
    config = {
        "adapter": "qlora", "load_in_4bit": True, "lora_r": 4, "bf16": True,
        "plugins": ["plugins.llama.LlamaPlugin"],
        "bnb_config_kwargs": {"llm_int8_skip_modules": ["down_proj"]},
    }  # fmt: skip
    llama = build(dict(MODELS["llama"]))
    keys = {"zero_optimization": {"stage": stage}}
    file = tmp_path / "not_zero3.json"
    file.write_text(json.dumps(keys))
    whole, _ = base_bytes(config, llama)
    for deepspeed in (keys, str(file), f"deepspeed_configs/zero{stage}.json"):
        blocks, _ = base_bytes({**config, "deepspeed": deepspeed}, llama)
        assert (blocks > whole) == (stage == 3)


def test_every_linear_layer_of_falcon_is_65_3_million():
    config = load_recipe("falcon7b-qlora").config
    from recipes.runner.models.architecture import architecture

    shape = architecture("tiiuae/falcon-7b")
    linear = {**config, "lora_target_linear": True, "lora_target_modules": None}
    for keys in (config, linear, {**config, "lora_target_modules": "all-linear"}):
        assert sum(t.size for t in trained_tensors(keys, shape)) == 65_273_856


def test_an_adapter_that_is_not_known_is_said():
    with pytest.raises(CannotEstimate, match="what llama-adapter trains is not known"):
        trained_tensors({"adapter": "llama-adapter"}, build(dict(MODELS["llama"])))
    with pytest.raises(UserError, match="match no parameter of this model"):
        trained_tensors({"unfrozen_parameters": ["h.1.mlp"]}, build(dict(MODELS["llama"])))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("micro_batch_size", "four"), ("gradient_accumulation_steps", 0), ("sequence_len", 1.5),
        ("num_epochs", "1e1"), ("num_epochs", float("nan")), ("num_epochs", float("inf")),
        ("bnb_config_kwargs", 3), ("fsdp_config", True),
        ("plugins", 5), ("base_model", None),
        ("lora_target_modules", 3), ("max_steps", 0),
    ],
)  # fmt: skip
def test_a_value_of_another_type_is_named(key, value):
    config = {"base_model": "x", "adapter": "lora", "lora_target_linear": True, "lora_r": 4}
    with pytest.raises(UserErrors, match=rf"^{key}: "):
        estimate({**config, key: value}, build(dict(MODELS["llama"])))


def test_states_of_every_known_optimizer_are_counted():
    tensors = trained_tensors(config_of({}, MODELS["llama"]), build(dict(MODELS["llama"])))
    for name, kind in KINDS.items():
        size = state_bytes(kind, tensors)
        assert (size > 0) == (name != "sgd"), name
        assert state_bytes(kind, tensors, paged=False) <= size
    assert kind_of({"optimizer": "came_pytorch"}) is None
