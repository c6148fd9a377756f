"""Falcon's family: what Falcon-H1's state-space layers forbid, and FSDP for any of its classes."""

from __future__ import annotations

import inspect
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import transformers

from recipes.runner.check.against_model import check_against_model
from recipes.runner.check.finding import Finding
from recipes.runner.check.refusals import axolotl_refusals
from recipes.runner.core.overrides import Overrides
from recipes.runner.core.recipe import load_recipe
from recipes.runner.estimate.sharding import strategy_settings
from recipes.runner.models.architecture import architecture
from recipes.runner.models.families import FAMILIES

H1 = "falcon-h1-7b-qlora"
PUBLISHED = {  # parameters, as the Hub counts them
    "tiiuae/falcon-11B": 11.1e9,
    "tiiuae/Falcon3-1B-Instruct": 1.67e9,
    "tiiuae/Falcon-H1-0.5B-Instruct": 0.521e9,
    "tiiuae/Falcon-H1-7B-Instruct": 7_585_654_880,
}


def found(name: str, **changes: Any) -> list[Finding]:
    config = {**load_recipe(name).config, **changes}
    return [one for one in check_against_model(config) if one.level in ("error", "warning")]


@pytest.mark.parametrize(("model", "parameters"), PUBLISHED.items())
def test_a_kept_shape_has_the_published_number_of_parameters(model: str, parameters: int) -> None:
    assert architecture(model).parameters == pytest.approx(parameters, rel=2e-3)


def test_a_config_with_infinity_as_transformers_writes_it_is_read(tmp_path: Path) -> None:
    from transformers import FalconH1Config

    FalconH1Config(
        vocab_size=96, hidden_size=32, num_hidden_layers=1, num_attention_heads=4, mamba_d_ssm=64,
        num_key_value_heads=2, intermediate_size=48, mamba_n_heads=4, mamba_d_state=16,
    ).save_pretrained(tmp_path)  # fmt: skip
    assert '"Infinity"' in (tmp_path / "config.json").read_text()
    assert architecture(str(tmp_path)).model_type == "falcon_h1"


def test_falcon2_11b_has_one_norm_before_both_branches() -> None:
    modules = architecture("tiiuae/falcon-11B").modules
    norms = {m.name for m in modules if ".0." in m.path and m.kind == "other"}
    assert norms == {"input_layernorm"}
    qkv = next(m for m in modules if m.name == "query_key_value")
    assert qkv.out_features == (32 + 2 * 8) * 128


@pytest.mark.parametrize("key", ["sample_packing", "eval_sample_packing"])
def test_packing_is_refused_for_falcon_h1(key: str) -> None:
    (finding,) = found(H1, **{key: True})
    assert finding.place == (key,) and finding.level == "error"
    assert "carry one packed conversation into the next" in finding.what
    assert not found("falcon3-7b-qlora")  # which packs


@pytest.mark.parametrize("name", ["out_proj", "conv1d"])
def test_a_lora_that_falcon_h1_never_reads_is_refused(name: str) -> None:
    (finding,) = found(H1, lora_target_modules=["q_proj", name])
    assert finding.level == "error" and f"a LoRA on {name} is never used" in finding.what


@pytest.mark.parametrize(
    "targets",
    [["q_proj", "mamba.out_proj"], ["model.layers.0.mamba.out_proj"], r".*\.(q_proj|out_proj)"],
)
def test_however_it_is_named(targets: Any) -> None:
    """PEFT would stop too, and only once the weights are loaded."""
    (finding,) = found(H1, lora_target_modules=targets)
    assert finding.level == "error" and "a LoRA on out_proj is never used" in finding.what
    assert not found(H1, lora_target_modules=targets, lora_exclude_modules=["out_proj"])


def test_kernels_that_stop_at_its_attention_are_refused_for_falcon_h1() -> None:
    unset = dict.fromkeys(("lora_qkv_kernel", "lora_o_kernel", "lora_mlp_kernel"))
    (finding,) = found(H1, **unset)
    assert finding.level == "error" and finding.place == ("adapter",)
    assert "stop at falcon_h1's attention" in finding.what
    (finding,) = found(H1, lora_o_kernel=True)
    assert finding.place == ("lora_o_kernel",)
    assert not found(H1, **{**unset, "lora_embedding_kernel": False}), "one key leaves all off"
    assert not found("falcon2-11b-qlora"), "our plugin switches them off"
    (finding,) = found("falcon2-11b-qlora", falcon={"enabled": False})
    assert "stop at falcon's attention" in finding.what


@pytest.mark.parametrize("model_type", FAMILIES)
def test_which_attention_axolotls_kernels_know(model_type: str) -> None:
    """As they look for it: three lines of the source of its forward."""
    from axolotl.monkeypatch.lora_kernels import ORIGINAL_O_CODE, QKV_PATCHES
    from axolotl.monkeypatch.utils import detab_code

    module = import_module(transformers.CONFIG_MAPPING[model_type].__module__.replace(
        ".configuration_", ".modeling_"
    ))  # fmt: skip
    block = FAMILIES[model_type].block or ""
    attention = getattr(module, block.replace("DecoderLayer", "Attention"))
    source, _ = detab_code(inspect.getsource(attention.forward))
    known = any(lines in source for lines, _ in QKV_PATCHES) and ORIGINAL_O_CODE in source
    assert known == FAMILIES[model_type].lora_kernels


def test_out_proj_of_falcon_h1_stays_in_16_bits() -> None:
    (finding,) = found(H1, bnb_config_kwargs={"llm_int8_skip_modules": ["lm_head"]})
    assert finding.level == "error" and finding.todo == "Add out_proj to the list"
    (finding,) = found(H1, bnb_config_kwargs={"bnb_4bit_quant_type": "nf4"})
    assert finding.level == "warning" and "quantises the head" in finding.what


@pytest.mark.parametrize(
    ("name", "block"),
    [
        ("falcon3-1b-lora", "LlamaDecoderLayer"),
        ("falcon2-11b-qlora", "FalconDecoderLayer"),
        (H1, "FalconH1DecoderLayer"),
    ],
)
def test_fsdp_goes_by_the_class_and_not_by_the_name(name: str, block: str) -> None:
    """Axolotl refuses its old key `fsdp` for any base with falcon in its name."""
    config = load_recipe(name).config
    settings: Overrides = strategy_settings("fsdp", config, {})
    assert settings["fsdp_config.transformer_layer_cls_to_wrap"] == block
    inside = {k.split(".")[1]: v for k, v in settings.items() if k.startswith("fsdp_config.")}
    sharded = {**config, "fsdp_version": 2, "fsdp_config": inside}
    assert not list(axolotl_refusals(sharded))
    assert not [one for one in check_against_model(sharded) if one.level == "error"]
