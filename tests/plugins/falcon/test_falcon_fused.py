"""The fused block equals transformers' modules under PEFT, in values and gradients."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from axolotl.utils.dict import DictDefault
from tiny_falcon import make_4bit_falcon, make_falcon, with_adapter
from transformers.models.falcon.modeling_falcon import FalconAttention

from plugins.falcon.model import install
from plugins.fused import backend as ops
from plugins.fused.args import FusedOptions
from plugins.fused.backends import Choice, Machine, choose
from tests.plugins.fused.comparison import SameDropout, assert_same, pack, relative

FUSED = Choice(block=True, memory="fast")
FUSABLE = ["multi_query", "grouped", "grouped_one_norm"]


@pytest.fixture
def fused_calls(monkeypatch):
    """Counts fused blocks, so that a silent fall back to the modules fails the test."""
    from plugins.fused import run as fused_run

    calls = []
    run = fused_run.run_block
    monkeypatch.setattr(
        fused_run, "run_block", lambda *args: calls.append(args[0].keep) or run(*args)
    )
    return calls


@pytest.mark.parametrize("layout", FUSABLE)
@pytest.mark.parametrize("memory", ["fast", "low"])
@pytest.mark.parametrize("lengths,padding", [([7, 1, 12, 5], 3), ([17], 0), ([1, 1], 4)])
def test_fused_equals_modules(layout, memory, lengths, padding, fused_calls) -> None:
    model = with_adapter(make_falcon(layout).double(), rank=8).train()
    reference = copy.deepcopy(model)
    install(reference)
    install(model, dataclasses.replace(FUSED, memory=memory))
    assert_same(model, reference, pack(lengths, padding), 1e-6)
    assert fused_calls == [memory == "fast"] * 2


def test_rows_padded_left_and_right(fused_calls) -> None:
    model = with_adapter(make_falcon()).train()
    reference = copy.deepcopy(model)  # stock: padding is nothing new to it
    install(model, FUSED)
    mask = torch.tensor([[0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 0]])
    ids = torch.randint(12, 128, (2, 6), generator=torch.Generator().manual_seed(5))
    assert_same(model, reference, {"input_ids": ids, "attention_mask": mask}, 1e-5)
    assert len(fused_calls) == 2


@pytest.mark.parametrize("targets", [["query_key_value"], ["dense_h_to_4h", "dense"]])
def test_adapters_on_some_layers(targets, fused_calls) -> None:
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(
        make_falcon(), LoraConfig(r=4, target_modules=targets, init_lora_weights=False)
    ).train()
    reference = copy.deepcopy(model)
    install(reference)
    install(model, FUSED)
    assert_same(model, reference, pack([5, 8]), 1e-5)
    assert len(fused_calls) == 2


@pytest.mark.parametrize("memory", ["fast", "low"])
def test_dropout_masks_agree_between_forward_and_backward(memory, fused_calls, monkeypatch) -> None:
    model = with_adapter(make_falcon(), dropout=0.3).train()
    reference = copy.deepcopy(model)
    install(reference)
    install(model, dataclasses.replace(FUSED, memory=memory))
    import plugins.falcon.block as falcon_block

    monkeypatch.setattr(
        falcon_block.FalconBlock, "seed", lambda self, batch, which: torch.tensor(77)
    )
    SameDropout.put_on(reference, 0.3, 77)
    assert_same(model, reference, pack([7, 9]), 1e-5)
    assert len(fused_calls) == 2


def test_dropout_differs_between_passes_and_stops_in_eval() -> None:
    model = with_adapter(make_falcon(), dropout=0.3).train()
    install(model, FUSED)
    batch = pack([7, 9])
    ids = {"input_ids": batch["input_ids"], "use_cache": False}
    assert not torch.equal(model(**ids).logits, model(**ids).logits)
    model.eval()
    assert torch.equal(model(**ids).logits, model(**ids).logits)


@pytest.mark.parametrize("dropout", [0.05, 0.5])
def test_the_mask_has_dropouts_statistics(dropout) -> None:
    kept = ops.keep_mask(torch.Size((512, 1024)), dropout, 12345, torch.device("cpu")).double()
    assert abs(kept.mean().item() - (1 - dropout)) < 0.003
    variance = dropout * (1 - dropout)
    assert abs(kept.mean(0).var().item() * 512 / variance - 1) < 0.15
    assert abs(kept.mean(1).var().item() * 1024 / variance - 1) < 0.2
    neighbours = ((kept[:, 1:] - kept.mean()) * (kept[:, :-1] - kept.mean())).mean() / variance
    assert abs(neighbours.item()) < 0.01
    other = ops.keep_mask(torch.Size((512, 1024)), dropout, 12346, torch.device("cpu")).double()
    between = ((kept - kept.mean()) * (other - other.mean())).mean() / variance
    assert abs(between.item()) < 0.01


@pytest.mark.parametrize("layout,rank", [("sequential", 4), ("multi_query", 264)])
def test_what_cannot_be_fused_runs_in_the_modules(layout, rank, fused_calls) -> None:
    from recipes.runner.core.fallbacks import fallbacks_taken

    model = with_adapter(make_falcon(layout), rank).train()
    reference = copy.deepcopy(model)
    install(reference)
    install(model, FUSED)
    assert_same(model, reference, pack([5, 8]), 1e-6)
    assert fused_calls == []
    assert [taken["part"] for taken in fallbacks_taken()] == ["falcon.block"]


def test_an_attention_of_another_class_gets_a_mask() -> None:
    class Other(FalconAttention):
        pass

    model = with_adapter(make_falcon()).train()
    for layer in model.base_model.model.transformer.h:
        layer.self_attention.__class__ = Other
    reference = copy.deepcopy(model)
    install(reference)
    install(model, Choice(attention="grouped"))
    assert_same(model, reference, pack([5, 8], padding=2), 1e-6)


def test_a_disabled_adapter_is_left_out(fused_calls) -> None:
    model = with_adapter(make_falcon()).train()
    install(model, FUSED)
    batch = pack([5, 8])
    ids = {"input_ids": batch["input_ids"], "position_ids": batch["position_ids"]}
    plain = make_falcon().train()
    install(plain)
    with model.disable_adapter():
        assert relative(model(**ids).logits, plain(**ids).logits) < 1e-5
    assert relative(model(**ids).logits, plain(**ids).logits) > 1e-3
    assert len(fused_calls) == 4


def test_quantised_base(tmp_path, fused_calls) -> None:
    model = with_adapter(make_4bit_falcon(tmp_path)).train()
    reference = copy.deepcopy(model)
    install(reference)
    install(model, FUSED)
    assert_same(model, reference, pack([5, 8]), 1e-4)
    assert len(fused_calls) == 2


def test_a_saved_adapter_loads_into_plain_peft(tmp_path) -> None:
    from peft import PeftModel

    model = with_adapter(make_falcon()).train()
    install(model, FUSED)
    batch = pack([9])
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1)
    model(input_ids=batch["input_ids"]).logits.square().mean().backward()
    optimizer.step()
    model.save_pretrained(tmp_path)
    plain = PeftModel.from_pretrained(make_falcon(), tmp_path).eval()
    ids = {"input_ids": batch["input_ids"], "use_cache": False}
    assert relative(model.eval()(**ids).logits, plain(**ids).logits) < 1e-5


@pytest.mark.parametrize(
    "wanted,sharded,taken",
    [
        ({}, "", Choice(True, "grouped", True, True, "auto", True, True)),
        ({"memory": "fast"}, "", Choice(True, "grouped", True, True, "fast", False, True)),
        ({"offload": False, "cuda_graphs": False}, "", Choice(True, "grouped", True, True)),
        ({"attention": "flash"}, "", Choice(True, "flash", True, True, "auto", True)),
        ({}, "FSDP", Choice(False, "grouped", False, False)),
        ({}, "FSDP2", Choice(True, "grouped", True, True, "auto", True, False, True)),
        ({}, "DeepSpeed ZeRO-3", Choice(True, "grouped", True, True, "auto", True, False, True)),
        ({"block": "plain"}, "", Choice(False, "grouped", False, True)),
        ({"block": "plain", "attention": "flash"}, "", Choice(False, "mask", False, True)),
        ({"attention": "plain"}, "FSDP", Choice(False, "mask", False, False)),
        ({"kernels": "plain"}, "", Choice(True, "flash", False, True, "auto", True)),
    ],
)
def test_choice_on_a_new_gpu(wanted, sharded, taken, monkeypatch) -> None:
    from plugins.fused import backends

    for asked in ("flash_runs", "triton_runs"):
        monkeypatch.setattr(backends, asked, lambda *_: "")
    options = FusedOptions(**wanted)
    machine = Machine(torch.device("cuda"), torch.bfloat16, 64, sharded, attends_in_modules=True)
    assert choose(options, machine, "falcon") == taken


@pytest.mark.parametrize("head_dim,attention", [(64, "grouped"), (48, "flash"), (80, "flash")])
def test_heads_of_no_power_of_two_take_flash(monkeypatch, head_dim, attention) -> None:
    """Triton's `arange` takes powers of two alone."""
    from plugins.fused import backends

    for asked in ("flash_runs", "triton_runs"):
        monkeypatch.setattr(backends, asked, lambda *_: "")
    machine = Machine(torch.device("cuda"), torch.bfloat16, head_dim)
    assert choose(FusedOptions(), machine, "llama").attention == attention


def test_a_model_that_waits_on_the_cpu_runs_as_its_gpu_can(monkeypatch) -> None:
    """A launcher leaves a 16-bit model there until the Trainer moves it."""
    from plugins.falcon.plugin import FalconPlugin
    from plugins.fused import plugin

    asked = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(
        plugin, "choose", lambda options, machine, *_: asked.append(machine.device.type) or FUSED
    )
    FalconPlugin().post_model_load(DictDefault({"bf16": True}), make_falcon())
    assert asked == ["cuda"]
