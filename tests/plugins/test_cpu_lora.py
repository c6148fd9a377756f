"""LoRA layers on a CPU as four products: values and gradients of PEFT's own forward."""

from __future__ import annotations

import copy

import pytest
import torch
from bitsandbytes.nn import Linear4bit
from peft import LoraConfig, get_peft_model
from torch import nn

from plugins import cpu_lora
from plugins.cpu_lora import join_products
from tests.plugins.llama.tiny_llama import make_llama

TARGETS = ["q_proj", "o_proj", "gate_proj", "down_proj"]


def adapted(four_bit: bool = False, **settings) -> nn.Module:
    """A tiny bfloat16 Llama under float32 adapters that do something."""
    torch.manual_seed(0)
    base = make_llama().to(torch.bfloat16)
    if four_bit:
        for layer in base.model.layers:
            plain = layer.mlp.gate_proj
            packed = Linear4bit(
                plain.in_features, plain.out_features, bias=False, quant_type="nf4",
                compute_dtype=torch.bfloat16,
            )  # fmt: skip
            packed.load_state_dict(plain.state_dict())
            layer.mlp.gate_proj = packed.to("cpu")
    model = get_peft_model(base, LoraConfig(r=4, target_modules=TARGETS, **settings))
    for name, weight in model.named_parameters():
        if "lora_" in name:
            weight.data = torch.randn_like(weight, dtype=torch.float32) * 0.1
    return model


def run(model: nn.Module, autocast: bool = True) -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.arange(1, 17).view(2, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        logits = model(input_ids=ids).logits.float()
    logits.square().mean().backward()
    grads = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    return logits.detach(), torch.cat(grads)


def far(found: torch.Tensor, right: torch.Tensor) -> float:
    return float((found - right).norm() / right.norm())


def joined_layers(model: nn.Module, monkeypatch) -> int:
    """How many layers run joined in one pass."""
    calls = []
    apply = cpu_lora._Joined.apply
    monkeypatch.setattr(
        cpu_lora._Joined, "apply", staticmethod(lambda *a: calls.append(1) or apply(*a))
    )
    run(model)
    return len(calls)


def test_gradients_are_those_of_the_formula() -> None:
    torch.manual_seed(0)
    x, a, b = (
        torch.randn(*shape, dtype=torch.float64, requires_grad=True)
        for shape in ((2, 3, 6), (2, 6), (5, 2))
    )
    w = torch.randn(5, 6, dtype=torch.float64)
    assert torch.allclose(
        cpu_lora._Joined.apply(x, w, a, b, 0.7), x @ w.t() + 0.7 * (x @ a.t()) @ b.t()
    )
    assert torch.autograd.gradcheck(
        lambda *t: cpu_lora._Joined.apply(t[0], w, *t[1:], 0.7), (x, a, b)
    )


@pytest.mark.parametrize("four_bit", [False, True])
def test_as_near_to_float32_as_pefts_own(four_bit, monkeypatch) -> None:
    plain = adapted(four_bit)
    joined = copy.deepcopy(plain)
    join_products(joined)
    right = None if four_bit else run(copy.deepcopy(plain).float(), autocast=False)
    own, found = run(plain), run(joined)
    for of_found, of_own in zip(found, own, strict=True):
        assert 0 < far(of_found, of_own) < 0.05
    if right is not None:
        for of_found, of_own, of_right in zip(found, own, right, strict=True):
            assert far(of_found, of_right) < 1.5 * far(of_own, of_right)
    layers = len(joined.base_model.model.model.layers)
    assert joined_layers(joined, monkeypatch) == layers * len(TARGETS)


def test_weights_leave_four_bits_once(monkeypatch) -> None:
    model = adapted(four_bit=True)
    join_products(model)
    calls = []
    unpack = cpu_lora.dequantize_4bit
    monkeypatch.setattr(cpu_lora, "dequantize_4bit", lambda *a: calls.append(1) or unpack(*a))
    first, second = run(model), run(model)
    assert len(calls) == len(model.base_model.model.model.layers)
    assert torch.equal(first[0], second[0])
    held = {name for name, _ in model.named_parameters()} | set(model.state_dict())
    assert held == {name for name, _ in adapted(True).named_parameters()} | set(
        adapted(True).state_dict()
    )


def test_weights_of_a_large_model_stay_packed(monkeypatch) -> None:
    monkeypatch.setattr(cpu_lora, "UNPACKED_MOST", 10)
    model = adapted(four_bit=True)
    join_products(model)
    blocks = model.base_model.model.model.layers
    assert joined_layers(model, monkeypatch) == len(blocks) * (len(TARGETS) - 1)
    assert all("forward" not in vars(block.mlp.gate_proj) for block in blocks)


@pytest.mark.parametrize(
    "settings", [{"lora_dropout": 0.5}, {"use_dora": True}, {"lora_bias": True}], ids=str
)
def test_other_adapters_take_pefts_forward(settings, monkeypatch) -> None:
    model = adapted(**settings).train()
    join_products(model)
    assert joined_layers(model, monkeypatch) == 0


def test_base_alone_and_another_adapter_are_right(monkeypatch) -> None:
    model = adapted()
    with torch.no_grad():
        model.add_adapter("reference", LoraConfig(r=2, target_modules=TARGETS))
    plain = copy.deepcopy(model)
    join_products(model)
    ids = torch.arange(1, 17).view(2, 8)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        with model.disable_adapter(), plain.disable_adapter():
            assert torch.equal(model(input_ids=ids).logits, plain(input_ids=ids).logits)
        for name in ("reference", "default"):
            model.set_adapter(name)
            plain.set_adapter(name)
            found, own = (m(input_ids=ids).logits.float() for m in (model, plain))
            assert far(found, own) < 0.05
    assert torch.equal(run(model, False)[0], run(plain, False)[0])
