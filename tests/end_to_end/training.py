"""Runs of the real command, in a process of its own, into a folder that pytest removes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    FalconConfig,
    FalconForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
)

from recipes.runner.core.recipe import ROOT, load_recipe
from recipes.runner.models.smollm2 import make_small_model

SHARED_TOKENIZER = ROOT.parent / "shared" / "falcon-7b-tokenizer"


@dataclass
class Result:
    code: int
    output: str
    folder: Path

    @property
    def record(self) -> dict[str, Any]:
        return json.loads((self.folder / "run.json").read_text())

    def losses(self) -> dict[int, float]:
        return {point["step"]: point["loss"] for point in self.record["losses"]}

    def held_out(self) -> dict[int, float]:
        return {e["step"]: e["held_out_loss"] for e in self.record["evaluations"]}


def command(recipe: str, folder: Path, overrides: dict[str, Any], ranks: int = 1) -> list[str]:
    pairs = " ".join(f"{k}={v}" for k, v in {"output_dir": folder, **overrides}.items())
    spread = ["--gpus", "0", "--processes", str(ranks)] if ranks > 1 else []
    return [sys.executable, "-m", "recipes", "train", str(recipe), "--set", pairs, *spread]


def train(
    recipe: str,
    folder: Path,
    environment: dict[str, str] | None = None,
    ranks: int = 1,
    **overrides: Any,
) -> Result:
    done = subprocess.run(
        command(recipe, folder, overrides, ranks),
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, **(environment or {})},
        timeout=500,
    )
    return Result(done.returncode, done.stdout + done.stderr, folder)


def train_and_kill(
    recipe: str, folder: Path, checkpoint: str, ranks: int = 1, **overrides: Any
) -> Result:
    """Kill -9 the process that trains, the last rank's, as soon as ``checkpoint`` is whole."""
    with subprocess.Popen(
        command(recipe, folder, overrides, ranks),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        deadline = time.monotonic() + 300
        while not (folder / checkpoint / "trainer_state.json").exists():
            assert process.poll() is None, process.stdout.read()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        for pid in training_processes(folder, ranks - 1 if ranks > 1 else None):
            os.kill(pid, signal.SIGKILL)
        output, _ = process.communicate(timeout=600)
    return Result(process.returncode, output, folder)


def training_processes(folder: Path, rank: int | None = None) -> list[int]:
    """The processes that train into ``folder`` now, of one rank or of all."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().decode().split("\0")
                variables = (entry / "environ").read_bytes().decode().split("\0")
            except OSError:
                continue
            ours = any(str(folder) in word for word in words)
            trains = "axolotl.cli.train" in words and "accelerate" not in " ".join(words)
            if ours and trains and (rank is None or f"RANK={rank}" in variables):
                found.append(int(entry.name))
    return found


def recipe_with(folder: Path, name: str, **changes: Any) -> Path:
    """A copy of a recipe with some keys changed, as a user would make it."""
    config = {**load_recipe(name).config, **changes}
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path


# What is asked at each evaluation where a test is of something else: the same, and less of it.
FEW_ANSWERS = {"answers_watch": {"held_out": 2, "max_new_tokens": 8}}


def few_rows(folder: Path, recipe: str, train: int = 12, held_out: int = 12) -> dict[str, Any]:
    """Keys of a data set of short conversations in the form of a recipe's own.

    The held-out ones are the first of those that are trained on, so that their loss falls.
    """
    config = load_recipe(recipe).config
    # No pool of processes for a few rows: each of its workers imports everything first.
    keys: dict[str, Any] = {
        "dataset_prepared_path": str(folder / "prepared"),
        "dataset_num_proc": 1,
    }
    for key, name, count in (
        ("datasets", "train", train), ("test_datasets", "validation", held_out),
    ):  # fmt: skip
        rows = [
            {"id": f"row-{number}", "messages": [
                {"role": "user", "content": f"I worry about thing {number}."},
                {"role": "assistant", "content": f"What worries you most about thing {number}?"},
            ]} for number in range(count)
        ]  # fmt: skip
        path = folder / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        (entry,) = config[key]
        keys[key] = [{**entry, "path": str(path)}]
    return keys


def few_held_out(recipe: str) -> dict[str, Any]:
    """Keys with one in eight of a recipe's own held-out conversations."""
    (entry,) = load_recipe(recipe).config["test_datasets"]
    return {"test_datasets": [{**entry, "shards": 8}]}


def tiny_llama(folder: Path, able: bool = False) -> Path:
    """A random model of two layers with SmolLM2's own tokenizer: quick steps, real text.

    With ``able`` its weights are large enough that an adapter can tell prompts apart and be sure of
    a token, and so learn by heart; with small ones and the head tied to the embeddings it can't.
    """
    tokenizer = AutoTokenizer.from_pretrained(make_small_model())
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=not able,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
        initializer_range=0.1 if able else 0.02,
    )
    model = LlamaForCausalLM(config)
    if able:
        torch.nn.init.normal_(model.model.embed_tokens.weight, std=1.0)
        torch.nn.init.normal_(model.lm_head.weight, std=0.2)
    return _save(model, tokenizer, folder)


def tiny_falcon(folder: Path) -> Path:
    """A random Falcon of two layers in the layout of the 7B, with Falcon-7B's own tokenizer."""
    tokenizer = AutoTokenizer.from_pretrained(SHARED_TOKENIZER)
    torch.manual_seed(0)
    config = FalconConfig(
        vocab_size=65024, hidden_size=64, num_hidden_layers=2, num_attention_heads=2
    )
    return _save(FalconForCausalLM(config), tokenizer, folder)


def tiny(config: Any, tokenizer: Path, folder: Path) -> Path:
    """A random causal language model of any class, with a tokenizer that was made for another."""
    torch.manual_seed(0)
    return _save(
        AutoModelForCausalLM.from_config(config), AutoTokenizer.from_pretrained(tokenizer), folder
    )


def _save(model: Any, tokenizer: Any, folder: Path) -> Path:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
