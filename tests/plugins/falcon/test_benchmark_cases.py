"""What the benchmark runs under the name of a recipe is what its user runs."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from plugins.falcon.benchmark.cases import RESULT_VARIABLE, WARM_UP_VARIABLE, cases, config_of
from plugins.falcon.benchmark.stopwatch import Stopwatch
from recipes.runner.core.recipe import load_recipe


@pytest.mark.parametrize("name", ["stock-as-shipped", "as-shipped"])
def test_a_shipped_case_keeps_what_its_speed_hangs_on(name) -> None:
    recipe = load_recipe("falcon7b-qlora").config
    case = next(case for case in cases(False, recipe) if case.name == name)
    config = config_of(case, recipe, "model", "data.jsonl", "folder", 16, True)
    for key in (
        "micro_batch_size", "gradient_accumulation_steps", "sequence_len", "optimizer",
        "logging_steps", "lora_r", "lora_dropout", "bf16",
    ):  # fmt: skip
        assert config[key] == recipe[key], key


class Reads(nn.Module):
    """A model that is called with tokens."""

    def __init__(self, padding: int | None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.config = SimpleNamespace(pad_token_id=padding)

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        return input_ids


@pytest.mark.parametrize("padding,useful", [(9, 5), (None, 8)])
def test_useful_tokens_are_no_padding(tmp_path, monkeypatch, padding, useful) -> None:
    """A packed batch has no mask, and is filled up all the same."""
    monkeypatch.setenv(WARM_UP_VARIABLE, "1")
    monkeypatch.setenv(RESULT_VARIABLE, str(tmp_path / "found.json"))
    model = Reads(padding)
    watch = Stopwatch(model)
    for step in (1, 2, 3):
        model(input_ids=torch.tensor([[1, 2, 3, 9], [4, 5, 9, 9]]))
        state = SimpleNamespace(global_step=step, max_steps=3, log_history=[])
        watch.on_step_end(None, state, None)
    watch.on_train_end(None, state, None)
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["positions_per_step"] == 8
    ratio = found["useful_tokens_per_second"] / found["tokens_per_second"]
    assert ratio == pytest.approx(useful / 8)
