"""Settings that nothing reads, that need another, or that are out of range.

Each row holds a setting that is wrong, and one that differs in a word and is right: the first is
told by its key, of the second nothing is said under that key.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import yaml

from recipes.runner.check.check import quiet
from recipes.runner.check.keys import inspect_recipe
from recipes.runner.core.yaml_file import YamlFile

BASE = """
base_model: mistralai/Mistral-7B-Instruct-v0.3
datasets: [{path: org/data, type: chat_template}]
val_set_size: 0.05
learning_rate: 0.0002
micro_batch_size: 2
num_epochs: 2
output_dir: runs/x
"""
LORA = "adapter: lora, lora_r: 8, lora_alpha: 8, lora_target_linear: true"
PAIRS = "datasets: [{path: org/pairs, type: chatml.intel}]"
FSDP = "fsdp_version: 2, fsdp_config: {auto_wrap_policy: "

WORDS = {"LORA": LORA, "PAIRS": PAIRS, "FSDP ": FSDP}
LINES = (Path(__file__).parent / "settings.txt").read_text(encoding="utf-8").splitlines()


def _row(line: str) -> tuple[str, ...]:
    for word, text in WORDS.items():
        line = line.replace(word, text)
    return tuple(cell.strip() for cell in line.split(" | "))


TABLE = [_row(line) for line in LINES if line and not line.startswith("#")]


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def said(settings: str) -> list[str]:
    config: dict[str, Any] = {**yaml.safe_load(BASE), **yaml.safe_load(f"{{{settings}}}")}
    with quiet():
        report = inspect_recipe(config, YamlFile(Path("recipe.yaml"), config))
    return [error.what for error in (*report.errors, *report.warnings)]


def about(key: str, lines: list[str]) -> list[str]:
    return [line for line in lines if line.startswith(f"{key}: ") or f" {key}," in line]


@pytest.mark.parametrize(("key", "wrong", "right"), TABLE)
def test_wrong_is_told_and_right_is_not(key: str, wrong: str, right: str) -> None:
    assert about(key, said(wrong)), said(wrong)
    assert not about(key, said(right))


def test_every_rule_has_a_row() -> None:
    from recipes.runner.check.conditions import RULES

    keys = {key for key, _, _ in TABLE}
    untried = [rule.keys for rule in RULES if not keys & set(rule.keys)]
    # Of one shape with others: without the switch that is named in the key itself.
    assert len(untried) <= 16, untried


def test_deepspeeds_fields_are_of_the_version_that_is_pinned() -> None:
    from recipes.runner.check.deepspeed import VERSION

    pinned = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    assert f'"deepspeed=={VERSION}"' in pinned


def test_what_axolotl_says_is_heard_where_its_log_is_quiet() -> None:
    """As after AXOLOTL_LOG_LEVEL=ERROR, whose loggers take the level of the one above them."""
    said("lora_r: 8")  # what speaks is imported
    loggers = [logging.getLogger(name) for name in logging.root.manager.loggerDict]
    below = [one for one in loggers if one.name.startswith("axolotl.")]
    above = logging.getLogger("axolotl")
    before = [(one, one.level) for one in (above, *below)]
    for one, _ in before:
        one.setLevel(logging.ERROR if one is above else logging.NOTSET)
    try:
        lines = said("attn_implementation: sage, pad_to_sequence_len: true")
        assert about("attn_implementation", lines), lines
        assert above.level == logging.ERROR
    finally:
        for one, level in before:
            one.setLevel(level)
