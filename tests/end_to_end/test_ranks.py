"""Several ranks, for real: two processes over gloo through accelerate."""

import shutil
import socket

import pytest
import torch
from safetensors.torch import load_file
from training import (
    FEW_ANSWERS,
    few_rows,
    recipe_with,
    tiny_llama,
    train,
    train_and_kill,
    training_processes,
)

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="written for a CPU's paths")

# Without dropout, which no two ranks draw alike, and in float32.
EXACT = {
    "adapter": "lora",
    "load_in_4bit": False,
    "lora_dropout": 0.0,
    "bf16": False,
    "micro_batch_size": 1,
    "warmup_steps": 0,
    # Its own, so that no setting found for SmolLM2 decides how this small model's loss moves.
    "lora_r": 16,
    "lora_alpha": 32,
    "learning_rate": 1.5e-3,
    "max_steps": 4,
    "eval_steps": 2,
    "save_steps": 2,
}
ONE = {"gradient_accumulation_steps": 2}
TWO = {"gradient_accumulation_steps": 1}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    return recipe_with(
        folder,
        "smollm2-135m-qlora",
        base_model=str(tiny_llama(folder / "llama")),
        **few_rows(folder, "smollm2-135m-qlora", train=160, held_out=24),
        **FEW_ANSWERS,
        **EXACT,
    )


@pytest.fixture(scope="module")
def one_rank(tmp_path_factory, recipe):
    result = train(recipe, tmp_path_factory.mktemp("runs") / "one", **ONE)
    assert result.code == 0, result.output
    return result


def assert_same(result, whole):
    """The same losses and the same adapter, to float32's rounding."""
    assert result.code == 0, result.output
    assert result.losses() == pytest.approx(whole.losses(), abs=1e-5)
    assert result.held_out() == pytest.approx(whole.held_out(), abs=1e-5)
    left, right = (load_file(run.folder / "adapter_model.safetensors") for run in (result, whole))
    assert left.keys() == right.keys()
    for name, weights in left.items():
        torch.testing.assert_close(weights, right[name], atol=1e-5, rtol=0)


def test_two_ranks_train_what_one_rank_trains(tmp_path, recipe, one_rank):
    result = train(recipe, tmp_path / "two", ranks=2, **TWO)
    assert_same(result, one_rank)
    assert result.record["world_size"] == 2
    assert result.record["tokens"] == one_rank.record["tokens"]


def test_ranks_stop_early_together_and_keep_the_same_best(tmp_path, recipe):
    # The loss falls; with the highest taken for the best, step 1 is, and step 3 is one too many.
    steps = {"max_steps": 6, "eval_steps": 1, "save_steps": 1, "early_stopping_patience": 2}
    turned = {"greater_is_better": True, "metric_for_best_model": "eval_loss"}
    result = train(recipe, tmp_path / "early", ranks=2, **TWO, **steps, **turned)
    assert result.code == 0, result.output
    assert result.record["status"] == "stopped early"
    held_out = result.held_out()
    best = max((step for step in held_out if step), key=lambda step: held_out[step])
    assert result.record["steps"] == best + 2 < 6
    assert result.record["best_checkpoint"].endswith(f"checkpoint-{best}")
    assert training_processes(tmp_path / "early") == []
    kept, final = (
        load_file(folder / "adapter_model.safetensors")
        for folder in (result.folder / f"checkpoint-{best}", result.folder)
    )
    assert all(torch.equal(weights, final[name]) for name, weights in kept.items())


def test_killed_rank_ends_the_run_and_any_number_of_ranks_goes_on(tmp_path, recipe, one_rank):
    folder = tmp_path / "killed"
    killed = train_and_kill(recipe, folder, "checkpoint-2", ranks=2, **TWO)
    assert killed.code != 0
    assert f"rank 1 on {socket.getfqdn()} was killed (SIGKILL" in killed.output
    assert "goes on from the last checkpoint" in killed.output
    assert training_processes(folder) == []
    refused = train(recipe, folder, **TWO)
    assert refused.code != 0
    assert "steps hold 2 sequences, on 2 ranks; this one's would hold 1, on 1" in refused.output
    again = shutil.copytree(folder, tmp_path / "again")
    for target, ranks, share in ((folder, 1, ONE), (again, 2, TWO)):
        resumed = train(recipe, target, ranks=ranks, **share)
        assert "Resuming from" in resumed.output
        assert_same(resumed, one_rank)
