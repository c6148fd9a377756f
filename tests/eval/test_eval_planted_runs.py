"""Planted adapters are what they are called."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from eval.labelled.pairs import FAULTS, HARM
from eval.planted_runs import CANNED, CHANGED, examples, plant
from recipes.runner.core.errors import UserError
from recipes.runner.run.finished import Run

LAYERS = 14  # a multiple of the first stride that is tried


@pytest.fixture
def run(tmp_path: Path) -> Run:
    torch.manual_seed(0)
    tensors = {
        f"base_model.model.model.layers.{layer}.self_attn.q_proj.lora_{half}.weight": torch.randn(
            (4, 8) if half == "A" else (8, 4)
        ).bfloat16()
        for layer in range(LAYERS)
        for half in "AB"
    }
    folder = tmp_path / "good"
    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "tiny"}')
    record = {"config": {"base_model": "tiny"}}
    (folder / "run.json").write_text(json.dumps(record))
    return Run(folder, record)


def test_what_is_changed_and_what_is_not(run: Run, tmp_path: Path) -> None:
    good = load_file(run.path / "adapter_model.safetensors")
    made = {
        kind: load_file(plant(run, kind, tmp_path / "out") / "adapter_model.safetensors")
        for kind in CHANGED
    }
    for tensors in made.values():
        assert {n: (t.shape, t.dtype) for n, t in tensors.items()} == {
            n: (t.shape, t.dtype) for n, t in good.items()
        }
    for name, before in good.items():
        second = "lora_B" in name
        assert bool(made["zero"][name].any()) is not second
        assert torch.equal(made["x3"][name], 3 * before if second else before)
        assert not torch.equal(made["noise"][name], before)
        assert not torch.equal(made["shuffled"][name], before)
    moved = sorted(t.float().sum().item() for t in made["shuffled"].values())
    assert moved == sorted(t.float().sum().item() for t in good.values())
    assert json.loads((tmp_path / "out/zero/run.json").read_text()) == run.record
    assert run.path.name == "good" and load_file(run.path / "adapter_model.safetensors")


def test_what_the_trained_ones_learn_from() -> None:
    worse, safer, canned = (examples(kind) for kind in ("worse", "safer", "canned"))
    assert min(len(worse), len(safer), len(canned)) > 100
    assert not {answer for _, answer in worse} & {answer for _, answer in safer}
    assert {answer for _, answer in canned} == {CANNED}
    assert set(HARM) < set(FAULTS)


def test_a_run_without_an_adapter_is_refused(run: Run, tmp_path: Path) -> None:
    (run.path / "adapter_model.safetensors").unlink()
    with pytest.raises(UserError, match="holds no adapter"):
        plant(run, "zero", tmp_path / "out")
    assert not (tmp_path / "out").exists()
