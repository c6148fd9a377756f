"""Parameters of 22 set-ups and bytes of 10, computed by hand from the widths in each config.json.

A LoRA of rank r on a layer of n inputs and m outputs has r (n + m) of them; DoRA adds m.
"""

from __future__ import annotations

import pytest

from recipes.runner.estimate.memory import estimate
from recipes.runner.estimate.trained import trained_tensors
from recipes.runner.models.architecture import architecture

FALCON, MISTRAL = "tiiuae/falcon-7b", "mistralai/Mistral-7B-Instruct-v0.3"
QWEN, FALCON3 = "Qwen/Qwen2.5-7B-Instruct", "tiiuae/Falcon3-7B-Instruct"
SMOLLM2 = "models/smollm2-135m-instruct"
LLAMA_LIKE = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
FALCON_LAYERS = ["query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"]


def lora(rank, *layers, **keys):
    return {"adapter": "lora", "lora_r": rank, "lora_target_modules": list(layers), **keys}


# Falcon-7B: 4,544 wide, 71 + 2 heads of 64, an MLP of 18,176, 32 layers, 65,024 tokens, tied.
QKV, DENSE, MLP = 4544 + 4672, 4544 + 4544, 4544 + 18176
CASES = {
    "falcon qkv": (FALCON, lora(32, "query_key_value"), 32 * 32 * QKV),
    "falcon all": (FALCON, lora(32, *FALCON_LAYERS), 32 * 32 * (QKV + DENSE + 2 * MLP)),
    "falcon r 256": (FALCON, lora(256, *FALCON_LAYERS), 522_190_848),
    "falcon linear": (FALCON, lora(16, lora_target_linear=True), 32 * 16 * 63_744),
    "falcon 8 layers": (
        FALCON,
        lora(16, *FALCON_LAYERS, peft_layers_to_transform=list(range(8))),
        8 * 16 * 63_744,
    ),
    "falcon dora": (
        FALCON, lora(8, "dense", peft_use_dora=True), 32 * (8 * DENSE + 4544),
    ),
    "falcon head saved": (
        FALCON,
        lora(8, "query_key_value", lora_modules_to_save=["lm_head"]),
        32 * 8 * QKV + 65024 * 4544,
    ),
    "falcon ranks": (
        FALCON,
        lora(16, "query_key_value", "dense", lora_rank_pattern={"dense": 64}),
        32 * (16 * QKV + 64 * DENSE),
    ),
    "falcon full": (FALCON, {}, 6_921_720_704),
    "falcon last layer": (
        FALCON,
        {"unfrozen_parameters": ["transformer.h.31."]},
        4544 * 4672 + 4544 * 4544 + 2 * 4544 * 18176 + 2 * 4544,
    ),
    # Mistral: 4,096 wide, keys and values 1,024, an MLP of 14,336, 32 layers, 32,768 tokens.
    "mistral q, v": (MISTRAL, lora(8, "q_proj", "v_proj"), 32 * 8 * (8192 + 5120)),
    "mistral all": (MISTRAL, lora(32, *LLAMA_LIKE), 83_886_080),
    "mistral saved": (
        MISTRAL,
        lora(16, "q_proj", lora_modules_to_save=["embed_tokens", "lm_head"]),
        32 * 16 * 8192 + 2 * 32768 * 4096,
    ),
    "mistral table": (MISTRAL, lora(8, "embed_tokens"), 8 * (32768 + 4096)),
    "mistral full": (MISTRAL, {}, 7_248_023_552),
    "mistral head": (MISTRAL, {"unfrozen_parameters": ["lm_head"]}, 32768 * 4096),
    # Qwen2.5: 3,584 wide, keys and values 512, an MLP of 18,944, 28 layers, 152,064 tokens.
    "qwen all": (QWEN, lora(32, *LLAMA_LIKE), 28 * 32 * (2 * 7168 + 2 * 4096 + 3 * 22528)),
    "qwen mlp of 8": (
        QWEN,
        lora(64, *LLAMA_LIKE[4:], peft_layers_to_transform=list(range(20, 28))),
        8 * 64 * 3 * 22528,
    ),
    "qwen tokens": (
        QWEN,
        lora(8, "q_proj", peft_trainable_token_indices=[1, 2, 3]),
        28 * 8 * 7168 + 3 * 3584,
    ),
    # Falcon3: 3,072 wide, keys and values 1,024, an MLP of 23,040, 28 layers.
    "falcon3 all": (FALCON3, lora(32, *LLAMA_LIKE), 28 * 32 * (2 * 6144 + 2 * 4096 + 3 * 26112)),
    # SmolLM2: 576 wide, keys and values 192, an MLP of 1,536, 30 layers, 49,152 tokens, tied.
    "smollm2 all": (SMOLLM2, lora(16, *LLAMA_LIKE), 30 * 16 * (2 * 1152 + 2 * 768 + 3 * 2112)),
    "smollm2 full": (SMOLLM2, {}, 134_515_008),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_parameters_are_those_computed_by_hand(name: str) -> None:
    base, keys, expected = CASES[name]
    config = {"base_model": base, "bf16": True, **keys}
    assert sum(tensor.size for tensor in trained_tensors(config, architecture(base))) == expected


# Mistral's linear layers in its blocks, what each gives out, its norms, and one table.
LINEAR = 32 * (2 * 4096 * 4096 + 2 * 4096 * 1024 + 3 * 4096 * 14336)
OUTPUTS = 32 * (2 * 4096 + 2 * 1024 + 2 * 14336 + 4096)
NORMS, TABLE = 65 * 4096, 32768 * 4096
REST = NORMS + 2 * TABLE
ADAPTER = 32 * 8 * 8192  # rank 8 on q_proj, float32
# nf4: half a byte, an absmax of 8 bits for 64 weights, and a float32 for 256 of these.
NF4, NF4_SINGLE = LINEAR * (0.5 + 1 / 64 + 4 / 64 / 256), LINEAR * (0.5 + 4 / 64)
Q = lora(8, "q_proj")
FLASH = {"attn_implementation": "flash_attention_2"}
# Weights, a second copy as the reference, gradients, and AdamW's two moments.
BYTES = {
    "lora": (Q, 2 * (LINEAR + REST), 0, 4 * ADAPTER, 8 * ADAPTER),
    "qlora": (
        {**Q, "adapter": "qlora", "load_in_4bit": True},
        NF4 + 2 * REST, 0, 4 * ADAPTER, 8 * ADAPTER,
    ),
    "qlora, quantised once": (
        {
            **Q, "adapter": "qlora", "load_in_4bit": True,
            "bnb_config_kwargs": {"bnb_4bit_use_double_quant": False},
        },
        NF4_SINGLE + 2 * REST, 0, 4 * ADAPTER, 8 * ADAPTER,
    ),
    "8 bits": (
        {**Q, "load_in_8bit": True}, LINEAR + 4 * OUTPUTS + 2 * REST, 0, 4 * ADAPTER, 8 * ADAPTER,
    ),
    "dora": (
        {**Q, "peft_use_dora": True},
        2 * (LINEAR + REST), 0, 4 * (ADAPTER + 32 * 4096), 8 * (ADAPTER + 32 * 4096),
    ),
    "head saved": (
        {**Q, "lora_modules_to_save": ["lm_head"]},
        2 * (LINEAR + REST), 0, 4 * ADAPTER + 2 * TABLE, 8 * ADAPTER + 4 * TABLE,
    ),
    # Axolotl lifts embeddings, head and norms to float32, but for flash attention.
    "full": (
        {}, 2 * LINEAR + 4 * REST, 0, 2 * LINEAR + 4 * REST, 2 * (2 * LINEAR + 4 * REST),
    ),
    "full, flash attention": (
        FLASH, 2 * (LINEAR + REST), 0, 2 * (LINEAR + REST), 4 * (LINEAR + REST),
    ),
    "dpo of all weights": (
        {**FLASH, "rl": "dpo"},
        2 * (LINEAR + REST), 2 * (LINEAR + REST), 2 * (LINEAR + REST), 4 * (LINEAR + REST),
    ),
    "dpo of an adapter": (
        {**Q, "rl": "dpo"}, 2 * (LINEAR + REST), 0, 4 * ADAPTER, 8 * ADAPTER,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BYTES)
def test_bytes_are_those_computed_by_hand(name: str) -> None:
    keys, *expected = BYTES[name]
    config = {"base_model": MISTRAL, "bf16": True, "micro_batch_size": 1, "sequence_len": 512}
    memory = estimate({**config, **keys}, architecture(MISTRAL))
    found = [memory.weights, memory.reference, memory.gradients, memory.optimizer]
    assert found == pytest.approx(expected, rel=1e-9)
