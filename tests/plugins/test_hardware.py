"""Plain paths without a GPU, and 4-bit gradients that survive an evaluation."""

import copy
import gc
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from accelerate import FullyShardedDataParallelPlugin
from axolotl.utils.dict import DictDefault
from bitsandbytes.functional import has_avx512bf16
from bitsandbytes.nn import Linear4bit

from plugins.hardware import HardwarePlugin, keep_gradients_on_cpu, with_dtype
from recipes.runner.core.fallbacks import fallbacks_taken

no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")


def input_gradient(model: torch.nn.Module) -> torch.Tensor:
    model.train()
    x = torch.ones(4, 64, dtype=torch.bfloat16, requires_grad=True)
    model(x).float().square().sum().backward()
    return x.grad


def four_bit() -> torch.nn.Sequential:
    torch.manual_seed(0)
    layers = [Linear4bit(64, 64, bias=False, quant_type="nf4") for _ in range(2)]
    return torch.nn.Sequential(*layers).to("cpu")


def evaluate(model: torch.nn.Module) -> None:
    model.eval()
    with torch.no_grad():
        model(torch.ones(4, 64, dtype=torch.bfloat16))


@pytest.mark.skipif(not has_avx512bf16(), reason="this CPU has no AVX512-BF16")
def test_stock_loses_the_gradient_after_an_evaluation():
    model = four_bit()
    evaluate(model)
    model.train()
    x = torch.ones(4, 64, dtype=torch.bfloat16, requires_grad=True)
    output = model(x).float().square().sum()
    try:
        output.backward()
    except RuntimeError:
        return
    assert x.grad is None or not torch.allclose(x.grad, input_gradient(four_bit()))


def test_gradient_is_the_same_before_and_after_an_evaluation():
    model = four_bit()
    keep_gradients_on_cpu(model)
    before = input_gradient(model)
    evaluate(model)
    assert torch.equal(input_gradient(model), before)
    assert before.abs().sum() > 0


@no_gpu
def test_recipe_is_fitted_to_the_cpu_and_each_change_is_said():
    cfg = {"bf16": "auto", "tf32": True, "optimizer": "paged_adamw_8bit", "lora_mlp_kernel": True}
    HardwarePlugin().register(cfg)
    assert cfg["optimizer"] == "adamw_torch"
    assert cfg["lora_mlp_kernel"] is False
    assert cfg["fp16"] is False
    assert isinstance(cfg["bf16"], bool)
    assert {"device", "optimizer"} <= {taken["part"] for taken in fallbacks_taken()}


def test_fsdp_hands_the_loss_on_in_float32():
    plugin = FullyShardedDataParallelPlugin(fsdp_version=2)
    plugin.set_mixed_precision("bf16")
    assert plugin.mixed_precision_policy.output_dtype == torch.bfloat16  # accelerate's own
    trainer = SimpleNamespace(
        accelerator=SimpleNamespace(state=SimpleNamespace(fsdp_plugin=plugin)),
        model=torch.nn.Identity(),
    )
    HardwarePlugin().post_trainer_create(None, trainer)
    policy = plugin.mixed_precision_policy
    assert policy.param_dtype == torch.bfloat16
    assert policy.output_dtype is None and policy.reduce_dtype == torch.float32
    HardwarePlugin().post_trainer_create(
        None,
        SimpleNamespace(
            accelerator=SimpleNamespace(state=SimpleNamespace()), model=torch.nn.Identity()
        ),
    )


@pytest.mark.parametrize(
    "keys,place",
    [
        ({"world_size": 1}, {"": 0}),
        ({"world_size": 1, "device_map": "auto"}, "auto"),
        ({"world_size": 1, "deepspeed": "ds.json"}, None),
        ({"world_size": 2, "fsdp_config": {"fsdp_version": 2}}, None),
    ],
)
def test_one_process_loads_straight_onto_its_gpu(keys, place, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    cfg = DictDefault(keys)
    HardwarePlugin().load_datasets(cfg)
    assert cfg.device_map == place


@pytest.mark.parametrize("read", [False, True])
def test_shards_of_zero3_are_in_the_dtype_of_training(monkeypatch, read):
    file = "recipes/accelerate/zero3.json"
    own = json.loads(Path(file).read_text(encoding="utf-8"))
    # Axolotl has read the file by then.
    cfg = DictDefault(deepspeed=own if read else file, bf16=True, fp16=False)
    before = copy.deepcopy(cfg.deepspeed)
    HardwarePlugin().pre_model_load(cfg)
    assert cfg.deepspeed == before  # no ZeRO-3 in this process
    monkeypatch.setenv("ACCELERATE_DEEPSPEED_ZERO_STAGE", "3")
    HardwarePlugin().pre_model_load(cfg)
    assert cfg.deepspeed == {**own, "bf16": {"enabled": True}, "fp16": {"enabled": False}}


def test_a_dtype_that_deepspeeds_file_says_stays():
    said = {"bf16": {"enabled": True}, "zero_optimization": {"stage": 3}}
    assert with_dtype(said, bf16=False, fp16=True) == said


@pytest.mark.parametrize("hook", ["load_datasets", "pre_model_load"])
def test_garbage_collections_pass_over_what_is_there_before_the_model(hook):
    before = [[]]
    getattr(HardwarePlugin(), hook)(DictDefault())
    after = [[]]
    walked = gc.get_objects()
    assert any(thing is after for thing in walked)
    assert not any(thing is before for thing in walked)
