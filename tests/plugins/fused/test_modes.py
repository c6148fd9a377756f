"""Training mode and cleared gradients are PyTorch's, found in less time."""

from __future__ import annotations

import copy

import pytest
import torch
from axolotl.utils.dict import DictDefault
from peft import PeftModel
from torch import nn

from plugins.fused.causal_lm import put_before
from plugins.fused.modes import QuickModes
from plugins.llama.plugin import LlamaPlugin
from tests.plugins.fused.comparison import pack, with_adapter
from tests.plugins.llama.tiny_llama import TARGETS, make_llama


class Frozen(nn.Dropout):
    """Stays in evaluation whatever it is told, and counts how often that was."""

    told = 0

    def train(self, mode: bool = True):
        self.told += 1
        return super().train(False)


@pytest.fixture
def model():
    made = with_adapter(make_llama(), TARGETS)
    put_before(QuickModes, made)
    return made


def modes(model: nn.Module) -> set[bool]:
    return {module.training for module in model.modules()}


def test_all_modules_have_the_mode(model) -> None:
    assert modes(model.eval()) == {False}
    assert modes(model.train()) == {True}
    layers = model.base_model.model.model.layers
    layers[1].mlp.gate_proj.lora_dropout.eval()  # one alone, deep inside
    assert modes(model.train()) == {True}
    layers[1].mlp.gate_proj.added = nn.Dropout().eval()  # and one that came later
    assert modes(model.train()) == {True}
    assert modes(copy.deepcopy(model).eval()) == {False}
    assert modes(model) == {True}


def test_nobody_is_told_twice(model) -> None:
    asked = []
    model.train()
    head = model.base_model.model.lm_head
    head.train = lambda mode=True: asked.append(mode)
    assert model.train() is model
    assert asked == []
    model.eval()
    assert asked == [False]


def test_a_module_of_a_mind_of_its_own_is_told_each_time(model) -> None:
    frozen = model.base_model.model.model.frozen = Frozen()
    model.eval()
    for _ in range(2):
        model.train()
    assert frozen.told == 3
    assert not frozen.training


@pytest.mark.parametrize("set_to_none", [True, False])
def test_gradients_are_cleared(model, set_to_none) -> None:
    model.get_input_embeddings().weight.requires_grad_(True)  # not an adapter's
    batch = pack([9])
    model(input_ids=batch["input_ids"], labels=batch["labels"]).loss.backward()
    trained = [p for p in model.parameters() if p.requires_grad]
    assert all(p.grad is not None for p in trained)
    model.zero_grad(set_to_none)
    for parameter in trained:
        if set_to_none:
            assert parameter.grad is None
        else:
            assert not torch.any(parameter.grad)


def test_the_plugin_puts_it_on_a_model_under_peft(tmp_path) -> None:
    model = with_adapter(make_llama(), TARGETS)
    LlamaPlugin().post_model_load(DictDefault({"model_config_type": "llama"}), model)
    assert isinstance(model, QuickModes) and isinstance(model, PeftModel)
    model.save_pretrained(tmp_path)
    plain = PeftModel.from_pretrained(make_llama(), tmp_path).eval()
    ids = pack([9])["input_ids"]
    assert torch.allclose(model.eval()(ids).logits, plain(ids).logits, atol=1e-5)
    whole = make_llama()
    LlamaPlugin().post_model_load(DictDefault({"model_config_type": "llama"}), whole)
    assert not isinstance(whole, QuickModes)
