"""Fused blocks and loss under ZeRO-3, two ranks on the CPU: what one rank over both gives."""

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


def config(whole: int) -> dict:
    """DeepSpeed's, which leaves parameters of up to ``whole`` numbers uncut."""
    return {
        "train_micro_batch_size_per_gpu": 1, "zero_allow_untested_optimizer": True,
        "zero_optimization": {"stage": 3, "stage3_param_persistence_threshold": whole},
    }  # fmt: skip


def loss_and_gradients(model, batch: dict) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The loss that the model makes itself, by the modules, and its gradients."""
    model.zero_grad()
    labels = batch["labels"].masked_fill(batch["position_ids"] == 0, -100)
    loss = model(**batch | {"labels": labels}, use_cache=False).loss
    loss.backward()
    named = model.named_parameters()
    return loss.detach(), {name: p.grad.clone() for name, p in named if p.grad is not None}


def _rank(rank: int, family: str, memory: str, fused_loss: bool, folder: Path) -> None:
    torch.set_num_threads(1)
    # Read besides the group that is there; without them DeepSpeed looks for MPI.
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(RANKS),
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0", "DS_ACCELERATOR": "cpu",
    }  # fmt: skip
    import deepspeed
    from deepspeed.accelerator.cpu_accelerator import CPU_Accelerator
    from deepspeed.accelerator.real_accelerator import set_accelerator
    from deepspeed.utils import safe_get_full_grad

    set_accelerator(CPU_Accelerator())  # it was imported above, and has taken a card that is there

    # A faster way of CPU ranks, which it would compile; the package hides the module's name.
    sys.modules["deepspeed.comm.torch"].build_shm_op = lambda: None
    (whole, module, _), (model, _, layers) = (make(family, folder / str(rank)) for _ in range(2))
    module.install(whole)  # the modules, packed sequences apart
    module.install(model, Choice(block=True, memory=memory, gathered=True, loss=fused_loss))
    gather_whole_blocks(layers)
    results = loss_and_gradients if fused_loss else outputs_and_gradients
    each = [results(whole, batch_of(other)) for other in range(RANKS)]
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=RANKS,
        timeout=timedelta(seconds=240),
    )  # fmt: skip
    trained = [p for p in model.parameters() if p.requires_grad]
    # Without the fused loss as recipes/accelerate/zero3.json has it: adapters are left whole.
    left = 0 if fused_loss else max(p.numel() for p in trained)
    engine, *_ = deepspeed.initialize(
        model=model, optimizer=torch.optim.SGD(trained, 0.0), dist_init_required=False,
        config=config(left),
    )  # fmt: skip
    batch = batch_of(rank)
    inputs = {key: value for key, value in batch.items() if key != "labels"}
    head = model.base_model.model.lm_head
    for turn in range(2):  # the second pass finds the shards that the first has left
        if fused_loss:
            output = engine(**batch)
            assert output.logits is None
            got = loss = output.loss
        else:
            logits = engine(**inputs).logits
            got = logits[batch["attention_mask"].bool()]
            weights = torch.linspace(-1, 1, logits.shape[-1], dtype=logits.dtype)
            loss = (got * weights).square().mean()
        if not turn:  # later DeepSpeed keeps what will be wanted soon, here all of it
            for parameter in (head.weight, *layers[0].parameters()):
                assert parameter.numel() == 0 or parameter.ds_numel <= left
        engine.backward(loss)
        assert relative(got.detach(), each[rank][0]) < 1e-5
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                want = sum(found[name] for _, found in each) / RANKS
                assert relative(safe_get_full_grad(parameter), want) < 1e-5, name
        engine.step()
    dist.destroy_process_group()


@pytest.mark.parametrize(
    "family,memory,fused_loss",
    [("falcon", "low", True), ("qwen2", "fast", False), ("falcon_4bit", "low", True)],
)
def test_two_ranks_give_the_mean_of_both(tmp_path, family, memory, fused_loss) -> None:
    multiprocessing.spawn(_rank, (family, memory, fused_loss, tmp_path), nprocs=RANKS)
