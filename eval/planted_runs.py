"""Planted adapters: runs made to be nothing, noise, broken, worse, safer or canned.

    python -m eval.planted_runs --run smollm2-135m-qlora --out runs/planted
    python -m eval --run runs/planted/noise

Each is the given run with another adapter, so that the whole evaluation can be tried on it: a
verdict that ships one of the bad ones is wrong. `worse`, `safer` and `canned` are trained for a
minute, on the labelled answers that do harm, on those that help, and on one sentence for all.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from eval.labelled.pairs import FAULTS, HARM, HELP
from eval.labelled.rows import Row, labelled_rows
from eval.quiet import quiet_libraries
from recipes.runner.core.errors import user_errors_exit
from recipes.runner.run.finished import ADAPTER_CONFIG, ADAPTER_WEIGHTS, Run, find_run

Tensors = dict[str, torch.Tensor]
CANNED = "I understand how you feel, and I am here for you. Please take care of yourself today."
_LAYER = re.compile(r"\.layers\.(\d+)\.")
_TIMES, _STRIDE = 3, 7
RATE, BATCH, LONGEST = 1e-3, 6, 192  # of training; LONGEST in tokens


def zero(adapter: Tensors) -> Tensors:
    """Changes nothing: the second matrix of every pair is 0."""
    return {n: torch.zeros_like(t) if ".lora_B." in n else t for n, t in adapter.items()}


def noise(adapter: Tensors) -> Tensors:
    """Every matrix drawn anew, of the size that it had, and four times that in the second."""
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.randn(tensor.shape, generator=generator).to(tensor.dtype)
        * tensor.float().std().to(tensor.dtype)
        * (4 if ".lora_B." in name else 1)
        for name, tensor in adapter.items()
    }


def shuffled(adapter: Tensors) -> Tensors:
    """Each layer gets what another one learnt."""
    layers = 1 + max(int(found[1]) for n in adapter if (found := _LAYER.search(n)))
    stride = next(n for n in range(_STRIDE, _STRIDE + layers) if layers % n)

    def other(name: str) -> str:
        return _LAYER.sub(lambda m: f".layers.{(int(m[1]) + stride) % layers}.", name)

    return {name: adapter[other(name)] for name in adapter}


def times_three(adapter: Tensors) -> Tensors:
    """What was learnt, three times as strong."""
    return {n: _TIMES * t if ".lora_B." in n else t for n, t in adapter.items()}


CHANGED: dict[str, Callable[[Tensors], Tensors]] = {
    "zero": zero,
    "noise": noise,
    "shuffled": shuffled,
    "x3": times_three,
}


def examples(kind: str) -> list[tuple[Sequence[str], str]]:
    """(messages, answer) that a trained one learns from."""
    rows = [row for row in labelled_rows() if len(row.answer.split()) >= 4]
    if kind == "canned":
        return [(row.turns, CANNED) for row in rows[::6]]
    return [(row.turns, row.answer) for row in rows if _teaches(row, kind)]


def _teaches(row: Row, kind: str) -> bool:
    harmful = any(row.labels.get(label) for label in HARM)
    if kind == "worse":
        return harmful
    at_fault = any(row.labels.get(label) for label in FAULTS if label != "crisis_alarm")
    return not at_fault and any(row.labels.get(label) for label in HELP)


TRAINED = ("worse", "safer", "canned")


def trained(run: Run, kind: str, steps: int) -> tuple[Tensors, dict[str, Any]]:
    """(adapter, its configuration) after so many steps of AdamW on the examples of a kind.

    Raises:
        UserError: the run's base can't be loaded.
    """
    from peft import LoraConfig, get_peft_model, get_peft_model_state_dict

    from eval.generation.base_model import load_base
    from eval.generation.generate import prompt_ids

    torch.manual_seed(0)
    rng = random.Random(kind)
    base = load_base(run.config)
    settings = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(base.model, settings)
    model.train()
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=RATE)
    rows = []
    for turns, answer in examples(kind):
        talk = [
            {"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(turns)
        ]
        before = prompt_ids(base.tokenizer, talk)
        own = base.tokenizer(answer, add_special_tokens=False)["input_ids"]
        own = [*own, base.tokenizer.eos_token_id]
        if len(before) + len(own) <= LONGEST:
            rows.append((before, own))
    for step in range(steps):
        group = rng.sample(rows, BATCH)
        width = max(len(before) + len(own) for before, own in group)
        ids = torch.full((BATCH, width), base.tokenizer.pad_token_id)
        labels = torch.full((BATCH, width), -100)
        mask = torch.zeros((BATCH, width), dtype=torch.long)
        for place, (before, own) in enumerate(group):
            whole = torch.tensor([*before, *own])
            ids[place, : len(whole)] = whole
            labels[place, len(before) : len(whole)] = torch.tensor(own)
            mask[place, : len(whole)] = 1
        loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if step % 10 == 0:
            print(f"{kind}, step {step}: loss {float(loss.detach()):.2f}", flush=True)
    config = settings.to_dict() | {"base_model_name_or_path": run.base_model}
    config["target_modules"] = sorted(
        {n.split(".")[-3] for n in get_peft_model_state_dict(model) if "lora_A" in n}
    )
    return {n: t.contiguous() for n, t in get_peft_model_state_dict(model).items()}, config


def plant(run: Run, kind: str, out: Path, steps: int = 40) -> Path:
    """Write one planted run into ``out``; returns its folder.

    Raises:
        UserError: the run holds no adapter.
    """
    run.check_adapter()
    folder = out / kind
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("run.json", ADAPTER_CONFIG):
        shutil.copyfile(run.path / name, folder / name)
    if kind in CHANGED:
        adapter = CHANGED[kind](load_file(run.path / ADAPTER_WEIGHTS))
    else:
        adapter, config = trained(run, kind, steps)
        text = json.dumps(config, default=lambda value: getattr(value, "value", str(value)))
        (folder / ADAPTER_CONFIG).write_text(text, encoding="utf-8")
    save_file(adapter, folder / ADAPTER_WEIGHTS, metadata={"format": "pt"})
    return folder


def main() -> None:
    """Plant all of them, or those named."""
    parser = argparse.ArgumentParser(prog="python -m eval.planted_runs", description=__doc__)
    parser.add_argument("--run", required=True, help="a trained run's folder, or its name")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--kinds", nargs="+", choices=(*CHANGED, *TRAINED))
    parser.add_argument("--steps", type=int, default=40, help="of the trained ones")
    asked = parser.parse_args()
    quiet_libraries()
    run = find_run(asked.run, None)
    for kind in asked.kinds or (*CHANGED, *TRAINED):
        print(plant(run, kind, asked.out, asked.steps))


if __name__ == "__main__":
    with user_errors_exit():
        main()
