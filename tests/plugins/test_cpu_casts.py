"""LoRA layers under a CPU's autocast, with PEFT's casts and without them."""

from __future__ import annotations

import copy

import pytest
import torch
from peft import LoraConfig, get_peft_model

from plugins.cpu_casts import leave_casts_to_autocast
from tests.plugins.llama.tiny_llama import make_llama


@pytest.fixture
def pair():
    """A tiny bfloat16 Llama under float32 adapters that do something, and one without casts."""
    torch.manual_seed(0)
    model = get_peft_model(
        make_llama().to(torch.bfloat16),
        LoraConfig(r=4, target_modules=["q_proj", "o_proj", "down_proj"]),
    )
    for name, weight in model.named_parameters():
        if "lora_" in name:
            weight.data = torch.randn_like(weight, dtype=torch.float32) * 0.1
    without = copy.deepcopy(model)
    leave_casts_to_autocast(without)
    return model.eval(), without.eval()


def run(model, autocast: bool) -> tuple[torch.Tensor, list[torch.Tensor]]:
    ids = torch.arange(1, 17).view(2, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        logits = model(input_ids=ids).logits
    logits.float().square().mean().backward()
    return logits.detach(), [p.grad for p in model.parameters() if p.grad is not None]


@pytest.mark.parametrize("autocast", [True, False])
def test_values_and_gradients_are_the_same_to_the_bit(pair, autocast) -> None:
    (logits, grads), (of_without, grads_of_without) = (run(model, autocast) for model in pair)
    assert torch.equal(logits, of_without)
    assert len(grads) == len(grads_of_without) > 0
    assert all(torch.equal(a, b) for a, b in zip(grads, grads_of_without, strict=True))


def test_nothing_is_lifted_to_float32_under_autocast(pair) -> None:
    lifted = []
    for model in pair:
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            run(model, autocast=True)
        lifted.append(sum(e.count for e in profile.key_averages() if e.key == "aten::_to_copy"))
    assert lifted[1] < lifted[0]
