"""Tiny random models of Llama's kind."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, BitsAndBytesConfig, PreTrainedModel

KINDS = {
    "llama": {"model_type": "llama", "num_key_value_heads": 2},
    "llama_biased": {
        "model_type": "llama", "num_key_value_heads": 4, "attention_bias": True, "mlp_bias": True,
    },
    "mistral": {"model_type": "mistral", "num_key_value_heads": 1, "sliding_window": None},
    "qwen2": {"model_type": "qwen2", "num_key_value_heads": 2},
    "qwen3": {"model_type": "qwen3", "num_key_value_heads": 2, "head_dim": 16},
    "falcon3": {"model_type": "llama", "num_key_value_heads": 2, "head_dim": 256},
    "smollm2": {
        "model_type": "llama", "num_attention_heads": 3, "num_key_value_heads": 1,
        "hidden_size": 48, "tie_word_embeddings": True,
    },
}  # fmt: skip
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def make_llama(kind: str = "llama", **changes: object) -> PreTrainedModel:
    """Two blocks with weights large enough for attention to matter."""
    torch.manual_seed(0)
    common = {
        "vocab_size": 128, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
        "num_attention_heads": 4, "initializer_range": 0.2, "bos_token_id": 1, "eos_token_id": 11,
        "pad_token_id": 3, "max_position_embeddings": 512,
    }  # fmt: skip
    config = AutoConfig.for_model(**(common | KINDS[kind] | changes))
    config._attn_implementation = "sdpa"
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    for name, parameter in model.named_parameters():
        if "norm" in name:
            torch.nn.init.normal_(parameter, 1.0, 0.1)
        elif name.endswith("bias"):
            torch.nn.init.normal_(parameter, 0.0, 0.2)
    return model


def make_4bit_llama(folder: Path, kind: str = "llama", device: str = "cpu") -> PreTrainedModel:
    """In nf4 with double quantisation, computing in float32."""
    make_llama(kind).save_pretrained(folder)
    config = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
    )  # fmt: skip
    return AutoModelForCausalLM.from_pretrained(
        folder, quantization_config=config, device_map={"": device}, dtype=torch.float32
    )
