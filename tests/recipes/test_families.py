"""One descriptor a model family: it says what transformers builds."""

from __future__ import annotations

import json

import pytest

from recipes.runner.core.recipe import RECIPES
from recipes.runner.models.families import FAMILIES, family_of

SMALL = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1,
    "num_attention_heads": 4, "num_key_value_heads": 2, "pad_token_id": 0,
}  # fmt: skip


def built(model_type: str):
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **SMALL))


@pytest.mark.parametrize("model_type", sorted(FAMILIES))
def test_a_descriptor_says_what_transformers_builds(model_type):
    from torch import nn

    family, model = FAMILIES[model_type], built(model_type)
    names = {name.rsplit(".", 1)[-1] for name, _ in model.named_modules()}
    kinds = {type(module).__name__ for module in model.modules()}
    assert family.block in kinds
    assert ("q_proj" in names) == (family.projections == "separate")
    assert any("RMSNorm" in kind for kind in kinds) == (family.norm == "rms")
    assert bool(names & {"gate_proj", "gate_up_proj"}) == (family.activation != "gelu")
    blocks = [module for name, module in model.named_modules() if ".0." in name]
    linears = {type(module) for module in blocks if isinstance(module, nn.Linear)}
    assert (nn.Linear not in linears) == family.own_linear


def test_every_kept_shape_is_of_a_family_that_is_known():
    shapes = list((RECIPES / "architectures").glob("*.json"))
    assert len(shapes) >= 6
    for path in shapes:
        assert json.loads(path.read_text())["shape"]["model_type"] in FAMILIES, path.name


def test_an_unknown_family_claims_nothing():
    family = family_of("mamba")
    assert family.block is None and not family.fused_path({}) and not family.own_linear
    assert not family.fuses_loss({}) and not family.recomputes({})
    assert family.fuses_loss({"liger_fused_linear_cross_entropy": True})


@pytest.mark.parametrize("model_type", ["falcon", "llama", "qwen2"])
def test_the_plain_loss_and_shards_put_logits_back(model_type):
    family = FAMILIES[model_type]
    named = {"plugins": [family.plugin]}
    assert family.fuses_loss(named) and family.recomputes(named)
    assert not family.fuses_loss({**named, family.options: {"loss": "plain"}})
    assert not family.fuses_loss({**named, family.options: {"enabled": False}})
    assert not family.fuses_loss(named, shards_weights=True)
    assert not family.fuses_loss({}) and not family.recomputes({})


def test_plugins_and_options_are_those_that_stand_there():
    import importlib

    for family in FAMILIES.values():
        if family.plugin is None:
            continue
        module, _, name = family.plugin.rpartition(".")
        plugin = getattr(importlib.import_module(module), name)
        assert plugin.key == family.options
        assert family.model_type in plugin.model_types
