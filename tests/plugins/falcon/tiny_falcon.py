"""Tiny random Falcons, and conversations packed into one row."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import BitsAndBytesConfig, FalconConfig, FalconForCausalLM

from plugins.falcon import quantization

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


def pack(lengths: list[int], padding: int = 0, seed: int = 0) -> dict[str, torch.Tensor]:
    """One row as Axolotl's collator packs it: positions restart, the mask counts the sequences."""
    generator = torch.Generator().manual_seed(seed)
    total = sum(lengths) + padding
    ids = torch.randint(12, 128, (1, total), generator=generator)
    positions = torch.cat([torch.arange(n) for n in [*lengths, padding]])[None]
    mask = torch.cat(
        [torch.full((n,), i + 1) for i, n in enumerate(lengths)] + [torch.zeros(padding)]
    )
    labels = ids.clone()
    start = 0
    for n in lengths:
        labels[0, start] = -100  # the first token of a document has nothing before it
        start += n
    labels[0, start:] = -100
    return {
        "input_ids": ids,
        "position_ids": positions,
        "attention_mask": mask.long()[None],
        "labels": labels,
    }
