"""Tiny random Falcons, and conversations packed into one row."""

from __future__ import annotations

import torch
from transformers import FalconConfig, FalconForCausalLM

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


def pack(lengths: list[int], padding: int = 0, seed: int = 0) -> dict[str, torch.Tensor]:
    """One row as Axolotl's collator packs it: positions restart, the mask counts the documents."""
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
