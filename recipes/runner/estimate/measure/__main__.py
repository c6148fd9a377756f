"""Measure peaks: `python -m recipes.runner.estimate.measure`, on a machine with a card of 80 GB.

Each set-up trains a few steps of random weights through Axolotl, in a process of its own, and is
printed beside what `plan` says of the same file. Without a GPU tiny models show that all of it
runs.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from recipes.runner.core.errors import UserError, user_errors_exit
from recipes.runner.core.paths import ROOT
from recipes.runner.estimate.gpu import count_gpus
from recipes.runner.estimate.measure.cases import CASES, STEPS, Case, base_config, config_of
from recipes.runner.estimate.measure.peaks import HEADINGS, table_row
from recipes.runner.estimate.memory import GIB, estimate
from recipes.runner.estimate.trained import trained_tensors
from recipes.runner.models.architecture import build

_RESULT = "MEASURED_PEAK"  # as `peak` reads it, which imports Axolotl


def main() -> int:
    """Measure the cases; return 1 when one failed or is further off than asked."""
    parser = argparse.ArgumentParser(
        prog="python -m recipes.runner.estimate.measure", description=__doc__
    )
    parser.add_argument("--only", default="", help="some cases, by name, with commas between")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "measure")
    parser.add_argument("--within", type=float, default=0.1, help="share that plan may be off")
    args = parser.parse_args()
    with user_errors_exit():
        tiny = count_gpus() == 0
        if tiny:
            print("No GPU here: tiny models show that all runs, and nothing about memory.")
        args.out.mkdir(parents=True, exist_ok=True)
        print(HEADINGS)
        good = [_case(case, args.out, tiny, args.within) for case in _chosen(args.only)]
        return int(not all(good))
    return 1


def _chosen(only: str) -> list[Case]:
    known = {case.name: case for case in CASES}
    names = [name.strip() for name in only.split(",") if name.strip()] or list(known)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UserError(f"no case {unknown[0]!r}", "--only", f"Cases: {', '.join(known)}")
    return [known[name] for name in names]


def _case(case: Case, out: Path, tiny: bool, within: float) -> bool:
    """Measure one, and print its line; whether it ran and `plan` is near enough."""
    folder = out / ("tiny" if tiny else "models") / case.base
    if not (folder / "config.json").is_file():
        make_model(folder, base_config(case.base, tiny))
    vocabulary = base_config(case.base, tiny)["vocab_size"]
    config = config_of(case, str(folder), str(out / f"{case.name}.jsonl"), str(out), tiny)
    _write_rows(Path(config["datasets"][0]["path"]), config["sequence_len"], vocabulary)
    measured = _train(case, config, out)
    if "failed" in measured:
        print(f"| {case.name} | {case.rows} x {config['sequence_len']:,} | {measured['failed']} |")
        return False
    shape = build(dict(base_config(case.base, tiny)))
    memory = estimate(config, shape, on_gpu=not tiny)
    planned = sum(tensor.size for tensor in trained_tensors(config, shape))
    off = memory.allocated / measured["peak_bytes"] - 1
    peak_gib = measured["peak_bytes"] / GIB
    print(table_row(case, config["sequence_len"], peak_gib, memory), flush=True)
    if planned != measured["trained"]:
        print(f"  trained: {measured['trained']:,}, and plan says {planned:,}")
        return False
    return tiny or abs(off) <= within


def make_model(folder: Path, config: dict[str, Any]) -> None:
    """Random weights in 16 bits, and a tokenizer of as many words, written to a folder."""
    import torch
    from tokenizers import Tokenizer, models
    from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

    # On the card, where there is one: 7B random numbers take minutes otherwise.
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = AutoModelForCausalLM.from_config(
            AutoConfig.for_model(**config), dtype=torch.bfloat16
        )
    model.save_pretrained(folder)
    words = {"<pad>": 0, "</s>": 1} | {f"w{n}": n for n in range(2, config["vocab_size"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="</s>"))
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="</s>", pad_token="<pad>", unk_token="</s>"
    ).save_pretrained(folder)


def _write_rows(path: Path, length: int, vocabulary: int) -> None:
    """Rows that are tokens already, all of them labelled, as long as the case allows."""
    chance = random.Random(42)
    with path.open("w", encoding="utf-8") as file:
        for _ in range(16 * STEPS):
            ids = [chance.randrange(2, vocabulary) for _ in range(length)]
            row = {"input_ids": ids, "attention_mask": [1] * length, "labels": ids}
            file.write(json.dumps(row) + "\n")


def _train(case: Case, config: dict[str, Any], out: Path) -> dict[str, Any]:
    """Run one case in a process of its own; what it measured, or ``failed`` and why."""
    file, result, log = (out / f"{case.name}.{ending}" for ending in ("yaml", "json", "log"))
    file.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    result.unlink(missing_ok=True)
    environment = {
        **os.environ, _RESULT: str(result), "AXOLOTL_DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }  # fmt: skip
    with log.open("w", encoding="utf-8") as output:
        done = subprocess.run(
            [sys.executable, "-m", "axolotl.cli.train", str(file)],
            env=environment, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT, check=False,
        )  # fmt: skip
    if done.returncode == 0 and result.is_file():
        measured: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
        return measured
    lines = log.read_text(encoding="utf-8").splitlines()
    errors = [line for line in lines if "Error" in line] or lines or ["no output"]
    return {"failed": f"failed: {errors[-1].strip()[:200]} ({log})"}


if __name__ == "__main__":
    raise SystemExit(main())
