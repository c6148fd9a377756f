"""Each recipe of Falcon's family over a tiny random model of its class, end to end."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from training import SHARED_TOKENIZER, few_rows, recipe_with, tiny, train
from transformers import FalconConfig, FalconH1Config, LlamaConfig

from recipes.runner.models.smollm2 import make_small_model

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="written for a CPU's paths")

STEPS = {
    "max_steps": 2, "eval_steps": 2, "save_steps": 2, "micro_batch_size": 1,
    "gradient_accumulation_steps": 1, "sequence_len": 256,
}  # fmt: skip
SMALL = {"hidden_size": 64, "num_hidden_layers": 2}
# SmolLM2's tokenizer stands in, with its own end and padding.
SMOLLM2 = {"special_tokens": {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}}


def h1() -> FalconH1Config:
    return FalconH1Config(
        vocab_size=49152, intermediate_size=96, num_attention_heads=4, num_key_value_heads=2,
        head_dim=16, mamba_d_ssm=64, mamba_n_heads=4, mamba_d_head=16, mamba_d_state=16,
        mamba_chunk_size=32, embedding_multiplier=5.0, lm_head_multiplier=0.1,
        key_multiplier=0.5, attention_out_multiplier=0.9, ssm_in_multiplier=1.25,
        ssm_out_multiplier=0.3, mlp_multipliers=[0.9, 0.6],
        ssm_multipliers=[0.35, 0.25, 0.35, 0.5, 0.35], pad_token_id=0, **SMALL,
    )  # fmt: skip


def falcon2() -> FalconConfig:
    return FalconConfig(
        vocab_size=65024, num_attention_heads=4, num_kv_heads=2, new_decoder_architecture=True,
        num_ln_in_parallel_attn=1, ffn_hidden_size=256, max_position_embeddings=8192, **SMALL,
    )  # fmt: skip


def falcon3() -> LlamaConfig:
    return LlamaConfig(
        vocab_size=49152, intermediate_size=96, num_attention_heads=2, num_key_value_heads=1,
        head_dim=256, pad_token_id=0, **SMALL,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("recipe", "config", "quantised"),
    [
        ("falcon2-11b-qlora", falcon2, 8),
        ("falcon3-1b-lora", falcon3, 0),
        ("falcon3-7b-qlora", falcon3, 14),  # 4 of attention, 3 of the MLP
        ("falcon-h1-0.5b-lora", h1, 0),
        ("falcon-h1-7b-qlora", h1, 16),  # in_proj, 4 of attention, 3 of the MLP: not out_proj
    ],
)
def test_a_recipe_trains_a_tiny_model_of_its_class(
    tmp_path: Path, recipe: str, config, quantised: int
) -> None:
    falcon = recipe.startswith("falcon2")
    tokenizer = SHARED_TOKENIZER if falcon else Path(make_small_model())
    if not tokenizer.is_dir():
        pytest.skip("Falcon-7B's tokenizer is not in ../shared")
    base = tiny(config(), tokenizer, tmp_path / "base")
    changes = few_rows(tmp_path, recipe) | ({} if falcon else SMOLLM2)
    copy = recipe_with(tmp_path, recipe, base_model=str(base), **changes)
    result = train(str(copy), tmp_path / "run", **STEPS)
    assert result.code == 0, result.output
    record = result.record
    assert record["steps"] == 2 and record["status"] == "finished"
    held = {row["class"]: row["modules"] for row in record["base_as_held"]}
    assert held.get("Linear4bit", 0) == quantised
    assert result.held_out()[2] < result.held_out()[0]
    assert "Traceback" not in result.output


def test_packing_falcon_h1_stops_before_anything_is_loaded(tmp_path: Path) -> None:
    base = tiny(h1(), Path(make_small_model()), tmp_path / "base")
    changed = {"base_model": str(base), "sample_packing": True, **SMOLLM2}
    changed |= few_rows(tmp_path, "falcon-h1-7b-qlora")
    copy = recipe_with(tmp_path, "falcon-h1-7b-qlora", **changed)
    result = train(str(copy), tmp_path / "run", **STEPS)
    assert result.code != 0
    assert "sample_packing" in result.output
    assert "carry one packed conversation into the next" in result.output
    assert not (tmp_path / "run").exists() and "Traceback" not in result.output
