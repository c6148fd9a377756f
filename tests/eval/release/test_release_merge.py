"""Merging: proven against base + adapter, kept only then, for Llama and for Falcon."""

from __future__ import annotations

import json
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from tiny_chat import KNOWN, make_tokenizer
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    FalconConfig,
    FalconForCausalLM,
    FalconH1Config,
    FalconH1ForCausalLM,
)

from eval.generation.arms import attach_adapter
from eval.generation.base_model import load_base
from eval.generation.decoding import Decoding
from eval.generation.generate import end_tokens, generate
from eval.release import merge as merging
from eval.release.__main__ import main
from eval.release.merge import merge, merged_folder, refuse_added_tokens
from eval.release.proof import Distance, problems, tolerance
from recipes.runner.core.errors import UserError
from recipes.runner.run.finished import Run, find_run


@pytest.fixture(scope="module")
def llama_run(make_run: Callable[..., Path]) -> Run:
    return find_run(str(make_run("other", load_in_4bit=True)), None)


def copy_of(run: Run, folder: Path) -> Run:
    shutil.copytree(run.path, folder, ignore=shutil.ignore_patterns("merged"))
    return find_run(str(folder), None)


def answers(model: Any, tokenizer: Any) -> list[str]:
    asked = [[{"role": "user", "content": question}] for question in KNOWN]
    ends = end_tokens(model, tokenizer)
    return [a.text for a in generate(model, tokenizer, asked, Decoding(12), ends, "")]


def test_merged_answers_as_base_and_adapter_and_its_proof_is_kept(llama_run: Run) -> None:
    folder = merge(llama_run)
    assert folder == llama_run.path / "merged" == merged_folder(llama_run)
    proof = json.loads((folder / "merge.json").read_text())
    assert proof["dtype"] == "bf16" and proof["prompts"] == "8 held-out conversations"
    found = proof["from_adapter_over_same_base"]
    assert 0 < found["relative"] <= proof["tolerance"]
    assert found["relative"] < 0.25 * proof["adapter_effect"]["relative"]
    assert proof["from_trained_quantised_base"]["relative"] < 0.1
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, use_safetensors=True).eval()
    assert (
        model.dtype is torch.bfloat16 and getattr(model.config, "quantization_config", None) is None
    )
    base = load_base(llama_run.config, "fp32", "cpu")
    tuned = attach_adapter(llama_run, base)
    assert answers(model.float(), tokenizer) == answers(tuned, base.tokenizer)
    assert not list(llama_run.path.glob(".merged*"))


def test_embeddings_stay_what_they_were(llama_run: Run) -> None:
    folder = merged_folder(llama_run) or merge(llama_run)
    merged = load_file(folder / "model.safetensors")["model.embed_tokens.weight"]
    base = load_file(Path(llama_run.base_model) / "model.safetensors")["model.embed_tokens.weight"]
    assert torch.equal(merged, base.to(torch.bfloat16))


def test_falcon_is_merged_over_its_quantised_values(tmp_path: Path) -> None:
    base = tmp_path / "falcon"
    torch.manual_seed(0)
    model = FalconForCausalLM(
        FalconConfig(
            vocab_size=420, hidden_size=64, num_hidden_layers=2, num_attention_heads=2,
            initializer_range=0.2, bos_token_id=1, eos_token_id=1, pad_token_id=0,
        )
    )  # fmt: skip
    model.save_pretrained(base)
    make_tokenizer().save_pretrained(base)
    lora = LoraConfig(
        r=8, init_lora_weights=False, task_type="CAUSAL_LM",
        target_modules=["query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"],
    )  # fmt: skip
    get_peft_model(AutoModelForCausalLM.from_pretrained(base), lora).save_pretrained(tmp_path / "x")
    config = {"base_model": str(base), "chat_template": "tokenizer_default", "load_in_4bit": True,
              "special_tokens": {"eos_token": "<|end|>", "pad_token": "<|pad|>"}}  # fmt: skip
    run = Run(tmp_path / "x", {"status": "finished", "config": config})
    folder = merge(run)
    proof = json.loads((folder / "merge.json").read_text())
    assert proof["prompts"] == "8 prompts of the suites"
    merged = load_file(folder / "model.safetensors")
    plain, adapter = model.state_dict(), load_file(run.path / "adapter_model.safetensors")
    name = "transformer.h.0.mlp.dense_h_to_4h"
    delta = (
        adapter[f"base_model.model.{name}.lora_B.weight"]
        @ adapter[f"base_model.model.{name}.lora_A.weight"]
    ) * (lora.lora_alpha / lora.r)
    held = merged[f"{name}.weight"].float() - delta
    off = (held - plain[f"{name}.weight"]).norm() / plain[f"{name}.weight"].norm()
    assert 0.04 < off < 0.15  # nf4 rounds by about a tenth; an unquantised base would be at 0.002


def test_falcon_h1_keeps_its_multipliers_and_out_proj_in_16_bits(tmp_path: Path) -> None:
    """muP's multipliers stand in config.json, and act on weights that the merge must not scale."""
    base = tmp_path / "h1"
    torch.manual_seed(0)
    multipliers = {
        "embedding_multiplier": 5.0, "lm_head_multiplier": 0.4, "key_multiplier": 0.5,
        "attention_in_multiplier": 0.8, "attention_out_multiplier": 0.9, "ssm_in_multiplier": 1.25,
        "ssm_out_multiplier": 0.3, "mlp_multipliers": [0.9, 0.6],
        "ssm_multipliers": [0.35, 0.25, 0.35, 0.5, 0.35],
    }  # fmt: skip
    model = FalconH1ForCausalLM(
        FalconH1Config(
            vocab_size=420, hidden_size=64, intermediate_size=96, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2, head_dim=16, mamba_d_ssm=64,
            mamba_n_heads=4, mamba_d_head=16, mamba_d_state=16, mamba_chunk_size=16,
            initializer_range=0.2, bos_token_id=1, eos_token_id=1, pad_token_id=0, **multipliers,
        )
    )  # fmt: skip
    model.save_pretrained(base)
    make_tokenizer().save_pretrained(base)
    lora = LoraConfig(
        r=8, init_lora_weights=False, task_type="CAUSAL_LM",
        target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "in_proj", "up_proj", "down_proj"],
    )  # fmt: skip
    get_peft_model(AutoModelForCausalLM.from_pretrained(base), lora).save_pretrained(tmp_path / "x")
    config = {"base_model": str(base), "chat_template": "tokenizer_default", "load_in_4bit": True,
              "special_tokens": {"eos_token": "<|end|>", "pad_token": "<|pad|>"}}  # fmt: skip
    for kept in ({}, {"bnb_config_kwargs": {"llm_int8_skip_modules": ["out_proj", "lm_head"]}}):
        run = Run(tmp_path / "x", {"status": "finished", "config": {**config, **kept}})
        folder = merge(run)
        written = json.loads((folder / "config.json").read_text())
        assert {key: written[key] for key in multipliers} == multipliers
        merged, plain = load_file(folder / "model.safetensors"), model.state_dict()
        for name in ("out_proj", "conv1d"):
            weight = f"model.layers.1.mamba.{name}.weight"
            assert torch.equal(merged[weight], plain[weight].to(torch.bfloat16))
        head = merged["lm_head.weight"].float() - plain["lm_head.weight"]
        assert (head.norm() / plain["lm_head.weight"].norm() < 0.01) == bool(kept)


def _nf4_simulated_everywhere(run: Run, partial: Path) -> None:
    """What `axolotl merge-lora` does to a QLoRA run: embeddings and head are rounded too."""
    from axolotl.cli.merge_lora import do_merge_lora
    from axolotl.utils.dict import DictDefault

    do_merge_lora(cfg=DictDefault(
        base_model=run.base_model, lora_model_dir=str(run.path), output_dir=str(partial),
        adapter="qlora", load_in_4bit=True, save_safetensors=True,
    ))  # fmt: skip


def _one_layer_forgotten(run: Run, partial: Path) -> None:
    merging_real(run, partial)
    file = partial / "merged" / "model.safetensors"
    merged, base = load_file(file), load_file(partial / "base" / "model.safetensors")
    name = "model.layers.1.mlp.down_proj.weight"
    save_file({**merged, name: base[name]}, file, metadata={"format": "pt"})


merging_real = merging._axolotl_merge


@pytest.mark.parametrize("fault", [_nf4_simulated_everywhere, _one_layer_forgotten])
def test_a_merge_that_is_not_the_same_is_not_kept(
    llama_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Callable[..., None]
) -> None:
    run = copy_of(llama_run, tmp_path / "run")
    monkeypatch.setattr(merging, "_axolotl_merge", fault)
    with pytest.raises(UserError, match=r"not base \+ adapter, and was not kept: logits differ"):
        merge(run)
    assert not (run.path / "merged").exists() and not list(run.path.glob(".merged*"))


def test_an_adapter_finer_than_the_dtype_is_refused_and_passes_in_fp32(
    llama_run: Run, tmp_path: Path
) -> None:
    run = copy_of(llama_run, tmp_path / "run")
    file = run.path / "adapter_model.safetensors"
    weights = load_file(file)
    save_file({k: v * (0.002 if "lora_B" in k else 1) for k, v in weights.items()}, file)
    with pytest.raises(UserError, match=r"bf16 is too coarse for this adapter.*DTYPE=fp32"):
        merge(run)
    proof = json.loads((merge(run, "fp32") / "merge.json").read_text())
    assert proof["from_adapter_over_same_base"]["relative"] < 1e-4


def test_a_disk_that_fills_in_the_middle(llama_run: Run, tmp_path: Path) -> None:
    run = copy_of(llama_run, tmp_path / "run")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(UserError, match=r"can't be merged: .*File too large") as caught:
            merge(run)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(caught.value)
    assert not (run.path / "merged").exists() and not list(run.path.glob(".merged*"))


@pytest.mark.parametrize("named", [None, "tokenizer_default"])
def test_a_run_without_a_template(llama_run: Run, tmp_path: Path, named: str | None) -> None:
    base = Path(shutil.copytree(llama_run.base_model, tmp_path / "base"))
    (base / "chat_template.jinja").unlink()
    config = {**llama_run.config, "base_model": str(base)}
    config["chat_template"] = named
    run = copy_of(llama_run, tmp_path / "run")
    adapter = json.loads((run.path / "adapter_config.json").read_text())
    adapter["base_model_name_or_path"] = str(base)
    (run.path / "adapter_config.json").write_text(json.dumps(adapter))
    with pytest.raises(UserError, match=r"has no chat template\. Name one in the recipe"):
        merge(Run(run.path, {**run.record, "config": config}))
    assert not (run.path / "merged").exists() and not list(run.path.glob(".merged*"))


def test_tokens_that_the_model_has_no_embedding_for(llama_run: Run, tmp_path: Path) -> None:
    run = copy_of(llama_run, tmp_path / "run")
    config = {**run.config, "tokens": [f"<|new {number}|>" for number in range(420)]}
    with pytest.raises(UserError, match="tokens were added that it never learnt"):
        merge(Run(run.path, {**run.record, "config": config}))
    assert not (run.path / "merged").exists() and not list(run.path.glob(".merged*"))


def test_tokens_on_spare_rows_of_the_embeddings(llama_run: Run, tmp_path: Path) -> None:
    """As Qwen2.5 has some 400: rows that no token had in training."""
    run = copy_of(llama_run, tmp_path / "run")
    tokenizer = AutoTokenizer.from_pretrained(run.base_model)
    tokenizer.save_pretrained(run.path)
    rows = len(tokenizer) + 64
    refuse_added_tokens(run, tokenizer, rows, "here")
    tokenizer.add_tokens(["<|new|>"])
    with pytest.raises(UserError, match=r"here: .* and that of training .* that it never learnt"):
        refuse_added_tokens(run, tokenizer, rows, "here")


@pytest.mark.parametrize(("dtype", "layers"), [("bf16", 30), ("fp16", 30), ("fp32", 30)])
def test_tolerance_follows_the_dtype(dtype: str, layers: int) -> None:
    allowed = tolerance(dtype, layers)
    effect = Distance(10.0, 1.0, 0.5, 8)
    assert problems(Distance(allowed * 0.99, 0.1, 1.0, 8), effect, dtype, layers) == []
    assert problems(Distance(allowed * 1.01, 0.1, 1.0, 8), effect, dtype, layers)
    assert problems(Distance(float("nan"), 0.1, 1.0, 8), effect, dtype, layers)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["merge"], "RUN: no run was named"),
        (["merge", "--run", "no-such-run-at-all"], "there is no such run"),
        (["merge", "--run", "{run}", "--dtype", "int4"], "'int4' is no dtype of weights"),
    ],
)
def test_mistakes_are_one_line(
    llama_run: Run, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main([argument.replace("{run}", str(llama_run.path)) for argument in arguments])
    error = capsys.readouterr().err.strip()
    assert caught.value.code == 1 and words in error and "\n" not in error
