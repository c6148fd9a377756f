"""What a block keeps for the backward: the count held to autograd's own hooks, on the CPU."""

from __future__ import annotations

import pytest

from recipes.runner.estimate import activations
from recipes.runner.estimate.activations import block_of, loss_of, way_through, widths_of
from recipes.runner.models.architecture import build
from recipes.runner.models.saved_adapter import PREFERENCE_PLUGIN

ROWS, LENGTH = 2, 64
SMALL = {
    "hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 3, "vocab_size": 320,
    "num_attention_heads": 4, "num_key_value_heads": 2, "pad_token_id": 0,
}  # fmt: skip
FALCON = {
    "model_type": "falcon", "hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4,
    "vocab_size": 320,
}  # fmt: skip
MODELS: dict[str, dict] = {
    **{name: {**SMALL, "model_type": name} for name in ("llama", "mistral", "qwen2", "phi3")},
    "qwen3": {**SMALL, "model_type": "qwen3", "head_dim": 16},
    "falcon": FALCON,
    "falcon2": {**FALCON, "new_decoder_architecture": True, "num_kv_heads": 2, "bias": True},
}
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
FALCON_LINEAR = ["query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"]
SETUPS = {
    "dropout": {"adapter": "lora", "lora_r": 4, "lora_dropout": 0.05},
    "no dropout": {"adapter": "lora", "lora_r": 4, "lora_dropout": 0.0},
    "full": {},
    "full, 16 bits": {"attn_implementation": "flash_attention_2"},
}


def kept_by_autograd(base: dict, config: dict) -> float:
    """Bytes a token that the second block's forward saves, but the weights."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoConfig, AutoModelForCausalLM

    settings = AutoConfig.for_model(**base)
    settings._attn_implementation = "sdpa"
    model = AutoModelForCausalLM.from_config(settings, dtype=torch.bfloat16)
    if not config.get("adapter") and "attn_implementation" not in config:
        for name, module in model.named_modules():
            if "norm" in name or "embed" in name or name == "lm_head":
                module.to(torch.float32)
    inner = model
    if config.get("adapter"):
        model = get_peft_model(
            model,
            LoraConfig(
                r=4,
                lora_dropout=config["lora_dropout"],
                target_modules=config["lora_target_modules"],
            ),
        )
        model.enable_input_require_grads()
    model.train()
    weights = {tensor.untyped_storage().data_ptr() for tensor in model.state_dict().values()}
    saved: dict[int, torch.Tensor] = {}
    inside = False

    def switch(on: bool):
        def hook(*_):
            nonlocal inside
            inside = on

        return hook

    def pack(tensor):
        storage = tensor.untyped_storage()
        if inside and storage.data_ptr() not in weights:
            saved[storage.data_ptr()] = tensor  # held, so that its place isn't used again
        return tensor

    blocks = inner.transformer.h if base["model_type"] == "falcon" else inner.model.layers
    blocks[1].register_forward_pre_hook(switch(True))
    blocks[1].register_forward_hook(switch(False))
    with (
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16),
    ):
        model(input_ids=torch.randint(1, 90, (ROWS, LENGTH)), use_cache=False)
    return sum(tensor.untyped_storage().nbytes() for tensor in saved.values()) / (ROWS * LENGTH)


@pytest.mark.parametrize("setup", SETUPS)
@pytest.mark.parametrize("name", [name for name in MODELS if name != "phi3"])
def test_what_is_kept_is_what_autograd_saves(name, setup, monkeypatch):
    falcon = name.startswith("falcon")
    if falcon and "adapter" not in SETUPS[setup]:
        pytest.skip("PyTorch's layer norm on a CPU takes no two dtypes")
    # On a CPU dropout keeps its mask as float32, on a GPU as bytes.
    monkeypatch.setattr(activations, "_DROPOUT_MASK", 4)
    base = MODELS[name]
    modules = FALCON_LINEAR if falcon else LINEAR
    config = {"bf16": True, "lora_qkv_kernel": False, "lora_target_modules": modules}
    config |= SETUPS[setup]
    block = block_of(config, build(dict(base)))
    counted = block.kept + block.score_kept * LENGTH
    if falcon:
        # A GPU's autocast has layer norms work in float32; a CPU's doesn't.
        counted -= 2 * widths_of(build(dict(base))).norms
    assert counted == pytest.approx(kept_by_autograd(base, config), rel=0.05)


def test_widths_are_those_of_a_block():
    shape = build(dict(FALCON))
    assert vars(widths_of(shape)) == {
        "hidden": 64, "query": 64, "key_value": 16, "middle": 256, "norms": 64, "others": 0,
    }  # fmt: skip
    llama = widths_of(build(dict(MODELS["llama"])))
    assert (llama.query, llama.key_value, llama.middle, llama.norms) == (64, 32, 160, 128)
    phi3 = widths_of(build(dict(MODELS["phi3"])))
    assert (phi3.query, phi3.key_value, phi3.middle) == (64, 32, 160)


def test_the_way_through_a_block_is_the_recipes():
    llama, falcon = build(dict(MODELS["llama"])), build(dict(FALCON))
    lora = {"adapter": "lora", "bf16": True}
    ours = {**lora, "plugins": ["plugins.falcon.FalconPlugin"]}
    assert way_through(lora, llama) == "kernels"
    assert way_through({**lora, "lora_mlp_kernel": False}, llama) == "modules"
    assert way_through({**lora, "rl": "dpo"}, llama) == "modules"
    assert way_through({}, llama) == "modules"
    assert way_through(ours, falcon) == "fused"
    assert way_through(lora, falcon) == "modules"
    assert way_through(ours, falcon, sharded=True) == "modules"
    assert way_through({**ours, "falcon": {"block": "plain"}}, falcon) == "modules"


def test_the_loss_is_the_recipes():
    llama, falcon = build(dict(MODELS["llama"])), build(dict(FALCON))
    liger = {"liger_fused_linear_cross_entropy": True}
    named = {**liger, "plugins": ["axolotl.integrations.liger.LigerPlugin"]}
    assert loss_of(liger, llama) == "plain", "without its plugin nothing is switched on"
    assert loss_of(named, llama) == "fused"
    assert loss_of({**named, "rl": "dpo"}, llama) == "plain"
    assert loss_of({"cut_cross_entropy": True}, llama) == "cut"
    assert loss_of({"chunked_cross_entropy": True}, llama) == "chunked"
    ours = {"adapter": "lora", "plugins": ["plugins.falcon.FalconPlugin"]}
    assert loss_of(ours, falcon) == "fused"
    assert loss_of(ours, falcon, sharded=True) == "plain"
    assert loss_of({}, falcon) == "plain"
    pairs = {**ours, "rl": "dpo", "plugins": [*ours["plugins"], PREFERENCE_PLUGIN]}
    assert loss_of(pairs, falcon) == "fused"
    assert loss_of({**pairs, "rl": "kto"}, falcon) == "fused"
    assert loss_of({**pairs, "rl": "orpo"}, falcon) == "plain"
    assert loss_of({**ours, "rl": "dpo"}, falcon) == "plain"
