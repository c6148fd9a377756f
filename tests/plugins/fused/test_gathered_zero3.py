"""Fused blocks under ZeRO-3, two ranks on the CPU: values and gradients of one rank over both."""

from __future__ import annotations

import os
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing

from plugins.fused.backends import Choice
from plugins.fused.gathered import gather_whole_blocks
from tests.plugins.fused.comparison import outputs_and_gradients, relative
from tests.plugins.fused.test_gathered import RANKS, batch_of, make

pytest.importorskip("deepspeed", reason="make setup EXTRAS=deepspeed installs it")
CONFIG = {
    "train_micro_batch_size_per_gpu": 1, "zero_allow_untested_optimizer": True,
    "zero_optimization": {"stage": 3, "stage3_param_persistence_threshold": 0},
}  # fmt: skip


def _rank(rank: int, family: str, memory: str, folder: Path) -> None:
    torch.set_num_threads(1)
    # Read besides the group that is there; without them DeepSpeed looks for MPI.
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(RANKS),
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0", "DS_ACCELERATOR": "cpu",
    }  # fmt: skip
    import deepspeed
    from deepspeed.utils import safe_get_full_grad

    # A faster way of CPU ranks, which it would compile; the package hides the module's name.
    sys.modules["deepspeed.comm.torch"].build_shm_op = lambda: None
    (whole, module, _), (model, _, layers) = (make(family, folder / str(rank)) for _ in range(2))
    module.install(whole)  # the modules, packed sequences apart
    module.install(model, Choice(block=True, memory=memory, gathered=True))
    gather_whole_blocks(layers)
    each = [outputs_and_gradients(whole, batch_of(other)) for other in range(RANKS)]
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=RANKS,
        timeout=timedelta(seconds=240),
    )  # fmt: skip
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.0)
    engine, *_ = deepspeed.initialize(
        model=model, optimizer=optimizer, dist_init_required=False, config=CONFIG
    )
    batch = batch_of(rank)
    inputs = {key: value for key, value in batch.items() if key != "labels"}
    for turn in range(2):  # the second pass finds the shards that the first has left
        logits = engine(**inputs).logits
        if not turn:  # later DeepSpeed keeps what will be wanted soon, here all of it
            assert not any(p.numel() for p in layers[0].parameters() if p.requires_grad)
        got = logits[batch["attention_mask"].bool()]
        weights = torch.linspace(-1, 1, logits.shape[-1], dtype=logits.dtype)
        engine.backward((got * weights).square().mean())
        assert relative(got.detach(), each[rank][0]) < 1e-5
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                want = sum(found[name] for _, found in each) / RANKS
                assert relative(safe_get_full_grad(parameter), want) < 1e-5, name
        engine.step()
    dist.destroy_process_group()


@pytest.mark.parametrize(
    "family,memory", [("falcon", "low"), ("qwen2", "fast"), ("falcon_4bit", "low")]
)
def test_two_ranks_give_the_mean_of_both(tmp_path, family, memory) -> None:
    multiprocessing.spawn(_rank, (family, memory, tmp_path), nprocs=RANKS)
