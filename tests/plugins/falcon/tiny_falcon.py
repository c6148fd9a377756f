"""Tiny random Falcons."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import BitsAndBytesConfig, FalconConfig, FalconForCausalLM

from plugins.falcon import quantization
from tests.plugins.fused import comparison

TARGETS = ["query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"]

LAYOUTS = {
    "multi_query": {"num_attention_heads": 5},
    "grouped": {
        "num_attention_heads": 8,
        "num_kv_heads": 2,
        "new_decoder_architecture": True,
    },
    "grouped_one_norm": {
        "num_attention_heads": 8,
        "num_kv_heads": 2,
        "new_decoder_architecture": True,
        "num_ln_in_parallel_attn": 1,
    },
    "sequential": {"num_attention_heads": 5, "parallel_attn": False},
}


def make_falcon(
    layout: str = "multi_query", head_dim: int = 8, **changes: object
) -> FalconForCausalLM:
    """A Falcon of two blocks with weights large enough for attention to matter."""
    torch.manual_seed(0)
    settings = dict(LAYOUTS[layout])
    settings["hidden_size"] = settings["num_attention_heads"] * head_dim
    common = {
        "vocab_size": 128,
        "num_hidden_layers": 2,
        "initializer_range": 0.2,
        "bos_token_id": 1,
        "eos_token_id": 11,
        "pad_token_id": 3,
        "attn_implementation": "sdpa",
    }
    config = FalconConfig(**(common | settings | changes))
    model = FalconForCausalLM(config)
    for name, parameter in model.named_parameters():
        if "ln" in name or "norm" in name:
            torch.nn.init.normal_(parameter, 1.0 if name.endswith("weight") else 0.0, 0.1)
    return model


def make_4bit_falcon(folder: Path, device: str = "cpu") -> FalconForCausalLM:
    """A tiny Falcon in nf4 with double quantisation, computing in float32."""
    quantization.enable()
    make_falcon(head_dim=16, num_attention_heads=4, hidden_size=64).save_pretrained(folder)
    config = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
    )  # fmt: skip
    return FalconForCausalLM.from_pretrained(
        folder, quantization_config=config, device_map={"": device}, dtype=torch.float32
    )


def with_adapter(model, rank: int = 4, dropout: float = 0.0, **changes: object):
    """PEFT's LoRA on all four projections."""
    return comparison.with_adapter(model, TARGETS, rank, dropout, **changes)
