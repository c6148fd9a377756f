"""`load_in_4bit` and `load_in_8bit` quantise Falcon, from the checkpoint, and say when not."""

from __future__ import annotations

import bitsandbytes as bnb
import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.trainable_tokens import TrainableTokensLayer
from tiny_falcon import make_falcon
from torch import nn
from transformers import BitsAndBytesConfig, FalconForCausalLM
from transformers.integrations import bitsandbytes as bnb_integration
from transformers.models.falcon import modeling_falcon
from transformers.models.falcon.modeling_falcon import FalconLinear

from plugins.falcon import quantization
from plugins.quantization_guard import check_quantised
from recipes.runner.core.errors import UserError

TARGETS = ["query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"]
NF4 = BitsAndBytesConfig(
    load_in_4bit=True,
    bnb_4bit_quant_type="nf4",
    bnb_4bit_use_double_quant=True,
    bnb_4bit_compute_dtype=torch.float32,
)
INT8 = BitsAndBytesConfig(load_in_8bit=True)


@pytest.fixture
def checkpoint(tmp_path):
    make_falcon(head_dim=16, num_attention_heads=4, hidden_size=64).save_pretrained(
        tmp_path / "falcon"
    )
    return tmp_path / "falcon"


@pytest.fixture
def stock(monkeypatch):
    """transformers as it comes, whatever an earlier test enabled."""
    original = bnb_integration.replace_with_bnb_linear
    original = getattr(original, "__wrapped__", original)
    monkeypatch.setattr(bnb_integration, "replace_with_bnb_linear", original)
    monkeypatch.setattr("transformers.integrations.replace_with_bnb_linear", original)
    return original


def load(path, config):
    return FalconForCausalLM.from_pretrained(path, quantization_config=config, device_map="cpu")


def adapter(model):
    return get_peft_model(model, LoraConfig(r=2, target_modules=TARGETS))


@pytest.mark.parametrize("config,kind", [(NF4, bnb.nn.Linear4bit), (INT8, bnb.nn.Linear8bitLt)])
def test_every_falcon_linear_is_quantised(checkpoint, stock, config, kind) -> None:
    assert quantization.enable()
    model = load(checkpoint, config)
    assert sum(isinstance(m, kind) for m in model.modules()) == 2 * 4
    assert not any(type(m) is FalconLinear for m in model.modules())
    assert type(model.lm_head) is nn.Linear
    with torch.no_grad():
        logits = model(torch.arange(12, 30)[None]).logits
        plain = FalconForCausalLM.from_pretrained(checkpoint)(torch.arange(12, 30)[None]).logits
    assert 0 < (logits - plain).norm() / plain.norm() < 0.5


def test_saved_and_reloaded_the_same(checkpoint, stock, tmp_path) -> None:
    quantization.enable()
    model = load(checkpoint, NF4)
    model.save_pretrained(tmp_path / "saved")
    again = FalconForCausalLM.from_pretrained(tmp_path / "saved", device_map="cpu")
    assert sum(isinstance(m, bnb.nn.Linear4bit) for m in again.modules()) == 8
    ids = torch.arange(12, 30)[None]
    with torch.no_grad():
        assert torch.allclose(model(ids).logits, again(ids).logits, atol=1e-6)


def test_stock_quantises_nothing_and_the_guard_says_so(checkpoint, stock) -> None:
    model = adapter(load(checkpoint, NF4))
    with pytest.raises(UserError, match=r"8 of the layers .* not 4-bit \(8 x FalconLinear\)"):
        check_quantised(model, load_in_4bit=True, load_in_8bit=False)
    check_quantised(model, load_in_4bit=False, load_in_8bit=False)


@pytest.mark.parametrize("config,bits", [(NF4, 4), (INT8, 8)])
def test_the_guard_passes_a_quantised_falcon(checkpoint, stock, config, bits) -> None:
    quantization.enable()
    model = adapter(load(checkpoint, config))
    check_quantised(model, load_in_4bit=bits == 4, load_in_8bit=bits == 8)


def test_enable_steps_aside_when_upstream_is_mended(stock, monkeypatch) -> None:
    def fixed(model, *args, **kwargs):
        for name, module in list(model.named_modules()):
            if isinstance(module, nn.Linear):
                model.set_submodule(name, bnb.nn.Linear4bit(8, 8))
        return model

    monkeypatch.setattr(bnb_integration, "replace_with_bnb_linear", fixed)
    assert not quantization.enable()
    assert bnb_integration.replace_with_bnb_linear is fixed


@pytest.mark.parametrize(
    "gone", [(modeling_falcon, "FalconLinear"), (bnb_integration, "replace_with_bnb_linear")]
)
def test_enable_steps_aside_when_upstream_has_gone_another_way(stock, monkeypatch, gone) -> None:
    monkeypatch.delattr(*gone)
    assert not quantization.enable()


def test_the_guard_passes_trained_tokens_of_a_tied_head(checkpoint, stock) -> None:
    """PEFT wraps the embeddings and the head that is tied to them, which stay in 16 bits."""
    quantization.enable()
    tokens = LoraConfig(r=2, target_modules=TARGETS, trainable_token_indices=[3, 5])
    model = get_peft_model(load(checkpoint, NF4), tokens)
    assert any(isinstance(module, TrainableTokensLayer) for module in model.modules())
    check_quantised(model, load_in_4bit=True, load_in_8bit=False)


def test_enable_twice_hooks_once(stock) -> None:
    quantization.enable()
    hooked = bnb_integration.replace_with_bnb_linear
    quantization.enable()
    assert bnb_integration.replace_with_bnb_linear is hooked


def test_linears_left_alone_stay_falcon_linears(checkpoint, stock) -> None:
    quantization.enable()
    config = BitsAndBytesConfig(
        load_in_4bit=True, llm_int8_skip_modules=["dense_4h_to_h", "lm_head"]
    )
    model = load(checkpoint, config)
    assert type(model.transformer.h[0].mlp.dense_4h_to_h) is FalconLinear
    assert isinstance(model.transformer.h[0].mlp.dense_h_to_4h, bnb.nn.Linear4bit)
