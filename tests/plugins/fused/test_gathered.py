"""Fused blocks under FSDP2, two ranks on the CPU: values and gradients of one rank over both."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing
from accelerate.utils import FullyShardedDataParallelPlugin
from axolotl.monkeypatch import fsdp2_qlora
from axolotl.monkeypatch.accelerate import fsdp2
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

from plugins.falcon import model as falcon
from plugins.fused.backends import Choice
from plugins.fused.gathered import FusedLayer
from plugins.llama import model as llama
from tests.plugins.falcon.tiny_falcon import make_4bit_falcon, make_falcon
from tests.plugins.falcon.tiny_falcon import with_adapter as with_falcon_adapter
from tests.plugins.fused.comparison import outputs_and_gradients, pack, relative, with_adapter
from tests.plugins.llama.tiny_llama import TARGETS, make_llama

RANKS = 2


def make(family: str, folder: Path):
    """A model with its adapter, the module of its fused path, and its layers."""
    if family == "falcon_4bit":
        fsdp2_qlora.apply_init_sharded_param_patch()
        fsdp2_qlora.apply_init_unsharded_param_patch()
        model = with_falcon_adapter(make_4bit_falcon(folder), rank=4).train()
        return model, falcon, model.base_model.model.transformer.h
    if family == "falcon":
        model = with_falcon_adapter(make_falcon(), rank=4).train()
        return model, falcon, model.base_model.model.transformer.h
    model = with_adapter(make_llama(family), TARGETS, 4).train()
    return model, llama, model.base_model.model.model.layers


def batch_of(rank: int) -> dict[str, torch.Tensor]:
    return pack([7, 1, 4], padding=2, seed=rank)


def cut(model: torch.nn.Module, block: str) -> None:
    """Cut ``model`` as Axolotl does, by its own function."""
    plugin = FullyShardedDataParallelPlugin(
        fsdp_version=2, auto_wrap_policy="transformer_based_wrap", reshard_after_forward=True,
        transformer_cls_names_to_wrap=[block], cpu_ram_efficient_loading=False,
    )  # fmt: skip
    names = ("dp_shard",)
    state = SimpleNamespace(
        fsdp_plugin=plugin, device_mesh=init_device_mesh("cpu", (RANKS,), mesh_dim_names=names),
        parallelism_config=SimpleNamespace(fsdp_dim_names=names),
    )  # fmt: skip
    fsdp2.fsdp2_prepare_model(SimpleNamespace(state=state), model)


def copy_as_on_a_gpu(targets, sources, non_blocking=False) -> None:
    """`torch._foreach_copy_` of CUDA: numbers of 16 bits go by way of float32, and NaN is NaN."""
    for target, source in zip(targets, sources, strict=True):
        target.copy_(source.float() if source.is_floating_point() else source)


def _rank(rank: int, family: str, memory: str, folder: Path) -> None:
    torch.set_num_threads(1)
    torch._foreach_copy_ = copy_as_on_a_gpu
    # Made first: among ranks, transformers has one save for all.
    (whole, module, _), (model, _, layers) = (make(family, folder / str(rank)) for _ in range(2))
    module.install(whole)  # the modules, packed sequences apart
    module.install(model, Choice(block=True, memory=memory, gathered=True))
    each = [outputs_and_gradients(whole, batch_of(other)) for other in range(RANKS)]
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=RANKS,
        timeout=timedelta(seconds=60),
    )  # fmt: skip
    cut(model, type(layers[0]).__name__)
    ran = []
    for layer in layers:
        assert isinstance(layer, FSDPModule) and isinstance(layer, FusedLayer)
        inside = [module for module in layer.modules() if module is not layer]
        assert not any(isinstance(module, FSDPModule) for module in inside)
        layer.register_forward_hook(
            lambda layer, args, kwargs, output: ran.append("run_fused" in kwargs), with_kwargs=True
        )
    for _ in range(2):  # the second pass finds the shards that the first has left
        got, gradients = outputs_and_gradients(model, batch_of(rank))
        assert relative(got, each[rank][0]) < 1e-5
        assert gradients.keys() == each[rank][1].keys()
        for name, gradient in gradients.items():
            want = sum(found[name] for _, found in each) / RANKS
            assert relative(gradient.full_tensor(), want) < 1e-5, name
        together = torch.nn.utils.clip_grad_norm_(model.parameters(), 1e9).full_tensor()
        apart = [sum(found[name] for _, found in each) / RANKS for name in gradients]
        assert together.item() == pytest.approx(torch.nn.utils.get_total_norm(apart).item(), 1e-5)
    assert ran and all(ran)
    dist.destroy_process_group()


@pytest.mark.skipif(sys.platform == "win32", reason="gloo over a file")
@pytest.mark.parametrize(
    "family,memory", [("falcon", "fast"), ("qwen2", "low"), ("falcon_4bit", "low")]
)
def test_two_ranks_give_the_mean_of_both(tmp_path, family, memory) -> None:
    multiprocessing.spawn(_rank, (family, memory, tmp_path), nprocs=RANKS)


def _carry(rank: int, folder: Path) -> None:
    torch._foreach_copy_ = copy_as_on_a_gpu
    fsdp2_qlora.apply_init_dtype_attrs_patch()  # as Axolotl does
    fsdp2_qlora.apply_init_sharded_param_patch()  # before torch 2.12, bytes would want a gradient
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=RANKS,
        timeout=timedelta(seconds=240),
    )  # fmt: skip
    codes = torch.arange(-(2**15), 2**15, dtype=torch.int16)
    for dtype, whole in ((torch.bfloat16, False), (torch.uint8, True)):
        layer = torch.nn.Linear(8, 8, bias=False, dtype=torch.bfloat16)
        layer.packed = torch.nn.Parameter(codes.clone().view(dtype)[:, None], requires_grad=False)
        policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16)
        fully_shard(layer, mesh=init_device_mesh("cpu", (RANKS,)), mp_policy=policy)
        layer.unshard()
        arrived = layer.packed.detach().reshape(-1).view(torch.int16)
        assert torch.equal(arrived, codes) is whole
    dist.destroy_process_group()


@pytest.mark.skipif(sys.platform == "win32", reason="gloo over a file")
def test_packed_weights_arrive_as_they_left_in_bytes_alone(tmp_path) -> None:
    multiprocessing.spawn(_carry, (tmp_path,), nprocs=RANKS)


def test_a_layer_that_is_called_by_transformers_is_its_own(tmp_path) -> None:
    model, module, _ = make("falcon", tmp_path)
    plain, _, _ = make("falcon", tmp_path)
    module.install(model, Choice(block=True, memory="fast", gathered=True))
    module.install(plain)
    batch = batch_of(0)
    for candidate in (model, plain):
        candidate.eval()
    inputs = {key: value for key, value in batch.items() if key != "labels"}
    with torch.no_grad():
        got = model(**inputs, output_hidden_states=True, use_cache=False)
        want = plain(**inputs, output_hidden_states=True, use_cache=False)
    assert relative(got.logits, want.logits) < 1e-6
    assert len(got.hidden_states) == len(want.hidden_states)
