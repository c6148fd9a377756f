"""What the benchmark runs under the name of a recipe is what its user runs."""

from __future__ import annotations

import pytest

from plugins.falcon.benchmark.cases import cases, config_of
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
