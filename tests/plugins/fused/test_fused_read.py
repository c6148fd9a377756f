"""What a fused block reads of PEFT's layers, and what it leaves to the modules."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners import lora
from torch import nn

from plugins.fused import run as fused_run
from plugins.fused.backend import Backend
from plugins.fused.backends import Choice
from plugins.fused.projection import Group, NotFusable, read_group, read_projection
from plugins.llama.model import install
from tests.plugins.fused.comparison import outputs_and_gradients, pack, relative, with_adapter
from tests.plugins.llama.tiny_llama import TARGETS, make_llama

FUSED = Choice(block=True, memory="fast")


def adapted(**settings: object) -> nn.Module:
    """One linear layer under LoRA."""
    model = nn.Sequential(nn.Linear(8, 8, bias=False))
    return get_peft_model(model, LoraConfig(target_modules=["0"], **settings)).base_model.model[0]


def test_a_layer_as_peft_makes_it() -> None:
    layer = adapted(r=8, lora_alpha=16, lora_dropout=0.1).train()
    found = read_projection(layer, training=True)
    assert (found.rank, found.scale, found.dropout) == (8, 2.0, 0.1)
    assert read_projection(layer, training=False).dropout == 0.0


class Unknown(lora.Linear):
    """As a later PEFT may bring one."""


def unknown_class(layer: nn.Module) -> None:
    layer.__class__ = Unknown


def hook(layer: nn.Module) -> None:
    layer.register_forward_pre_hook(lambda module, args: None)


def other_dropout(layer: nn.Module) -> None:
    layer.lora_dropout["default"] = nn.AlphaDropout(0.1)


def other_weight(layer: nn.Module) -> None:
    layer.lora_A["default"] = nn.Sequential(layer.lora_A["default"])


@pytest.mark.parametrize("change", [unknown_class, hook, other_dropout, other_weight])
def test_what_is_not_known_is_refused(change) -> None:
    layer = adapted(r=8)
    change(layer)
    with pytest.raises(NotFusable):
        read_projection(layer, training=True)


@pytest.mark.parametrize("settings", [{"use_dora": True}, {"lora_bias": True}, {"r": 512}])
def test_what_the_block_does_not_compute_is_refused(settings) -> None:
    with pytest.raises(NotFusable):
        read_projection(adapted(**settings), training=True)


def test_a_group_is_its_parts_above_one_another() -> None:
    layers = [adapted(r=8), nn.Linear(8, 4, bias=True), adapted(r=16, lora_alpha=16)]
    for layer in layers:
        layer.requires_grad_(False)
    group = read_group(layers, training=False, join=True, biased=True)
    weight = group.weight(torch.float32, Backend())
    assert isinstance(group, Group) and weight.shape == (20, 8 + 24)
    bases = [layers[0].base_layer.weight, layers[1].weight, layers[2].base_layer.weight]
    assert torch.equal(weight[:, :8], torch.cat(bases))
    assert torch.equal(weight[:8, 8:16], layers[0].lora_B["default"].weight)
    assert torch.equal(weight[12:, 16:], layers[2].lora_B["default"].weight)
    assert not weight[8:12, 8:].any() and not weight[:8, 16:].any()
    assert torch.equal(
        group.bias(torch.float32), torch.cat([torch.zeros(8), layers[1].bias, torch.zeros(8)])
    )


@pytest.fixture
def fused_blocks(monkeypatch):
    """How many blocks ran fused."""
    calls, run = [], fused_run.run_block
    monkeypatch.setattr(fused_run, "run_block", lambda *args: calls.append(1) or run(*args))
    return calls


def test_rows_that_name_their_adapters_get_them(fused_blocks) -> None:
    """PEFT says which by hooks on the layers, which a fused block would pass over."""
    model = with_adapter(make_llama(), TARGETS, rank=8)
    model.add_adapter("other", copy.deepcopy(model.peft_config["default"]))
    model = model.eval()
    stock = copy.deepcopy(model)
    install(model, FUSED)
    ids = torch.randint(12, 128, (2, 6), generator=torch.Generator().manual_seed(3))
    asked = {"input_ids": ids, "adapter_names": ["default", "other"], "use_cache": False}
    with torch.no_grad():
        assert relative(model(**asked).logits, stock(**asked).logits) < 1e-6
    assert not fused_blocks


def test_blocks_below_the_lowest_adapter_are_not_walked_backward(fused_blocks) -> None:
    model = with_adapter(
        make_llama(num_hidden_layers=4).double(), TARGETS, rank=8, layers_to_transform=[2, 3]
    ).train()
    reference = copy.deepcopy(model)
    install(reference)
    install(model, FUSED)
    for one in (model, reference):
        one.enable_input_require_grads()  # as Axolotl always does
    walked = []
    for layer_idx, layer in enumerate(model.base_model.model.model.layers):
        original = type(layer)
        assert original.__name__ == "LlamaDecoderLayer", layer_idx
    from plugins.llama import block

    run = block._backward
    try:
        block._backward = lambda self, *args: walked.append(self.layer_idx) or run(self, *args)
        got, got_gradients = outputs_and_gradients(model, pack([9, 4]))
    finally:
        block._backward = run
    want, want_gradients = outputs_and_gradients(reference, pack([9, 4]))
    assert walked == [3, 2]
    assert relative(got, want) < 1e-5
    for name, gradient in want_gradients.items():
        assert relative(got_gradients[name], gradient) < 1e-5, name


def test_inputs_that_want_gradients_get_them() -> None:
    model = make_llama().requires_grad_(False).train()
    install(model, FUSED)
    embeds = torch.randn(1, 5, 64, requires_grad=True)
    model(inputs_embeds=embeds, use_cache=False).logits.square().mean().backward()
    assert embeds.grad is not None and embeds.grad.abs().sum() > 0


@pytest.mark.parametrize("loss", [True, False])
def test_a_saved_model_keeps_its_architecture(tmp_path, loss) -> None:
    model = make_llama()
    install(model, Choice(block=True, loss=loss))
    model.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    assert saved["architectures"] == ["LlamaForCausalLM"]


def test_each_rank_has_its_own_dropout(monkeypatch) -> None:
    seeds = []
    for rank in (0, 1):
        monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
        monkeypatch.setattr(torch.distributed, "get_rank", lambda rank=rank: rank)
        torch.manual_seed(5)
        seeds.append(fused_run._pass_seed())
    assert seeds[0] != seeds[1]


def switched_off(model) -> None:
    model.disable_adapter_layers()


def merged(model) -> None:
    model.merge_adapter()


def scaled(model) -> None:
    for module in model.modules():
        if isinstance(module, lora.LoraLayer):
            module.set_scale("default", 3.0)


def replaced(model) -> None:
    for module in model.modules():
        if isinstance(module, lora.LoraLayer):
            weight = module.lora_A["default"].weight
            module.lora_A["default"].weight = nn.Parameter(weight.detach() * 2)


def another(model) -> None:
    model.add_adapter("other", LoraConfig(r=8, target_modules=TARGETS, init_lora_weights=False))
    model.set_adapter("other")


def hooked(model) -> None:
    layer = model.base_model.model.model.layers[0].mlp.up_proj
    layer.register_forward_hook(lambda module, args, output: output * 2)


@pytest.mark.parametrize("change", [switched_off, merged, scaled, replaced, another, hooked])
def test_a_change_between_two_passes_is_seen(change, fused_blocks) -> None:
    """Blocks are read once, and again when PEFT or somebody changes a layer."""
    model = with_adapter(make_llama(), TARGETS, rank=8).train()
    stock = copy.deepcopy(model)
    install(model, FUSED)
    asked = {"input_ids": pack([9])["input_ids"], "use_cache": False}
    with torch.no_grad():
        before = model(**asked).logits
        assert relative(before, stock(**asked).logits) < 1e-5
        for one in (model, stock):
            torch.manual_seed(2)
            change(one)
        after = model(**asked).logits
        assert relative(after, stock(**asked).logits) < 1e-5
        assert change is merged or relative(after, before) > 1e-3
    assert fused_blocks


def test_blocks_are_read_once(monkeypatch) -> None:
    from plugins.llama import model as llama_model

    model = with_adapter(make_llama(), TARGETS, rank=8).train()
    install(model, FUSED)
    read, run = [], llama_model.read_block
    monkeypatch.setattr(llama_model, "read_block", lambda *args: read.append(1) or run(*args))
    for _ in range(3):
        model(input_ids=pack([9])["input_ids"], use_cache=False).logits.square().mean().backward()
    assert len(read) == 2


def test_the_last_blocks_keep_their_activations(monkeypatch) -> None:
    """The backward comes to them first, and has freed them when it makes others anew."""
    kept = []
    model = with_adapter(make_llama(num_hidden_layers=4), TARGETS, rank=8).train()
    install(model, Choice(block=True, memory="auto"))
    monkeypatch.setattr(fused_run, "keeping", lambda *args: fused_run.Keeping(1, False))
    run = fused_run.run_block
    monkeypatch.setattr(
        fused_run, "run_block", lambda *args: kept.append(args[0].keep) or run(*args)
    )
    model(input_ids=pack([9])["input_ids"], use_cache=False)
    assert kept == [False, False, False, True]
