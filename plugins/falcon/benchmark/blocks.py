"""Steps of the fused blocks alone, without Axolotl around them: speed, memory, longest row.

`python -m plugins.falcon.benchmark.blocks falcon-7b,4x2048,low llama-7b,1x512,fast,eager` prints a
line of JSON a row. Words after a size: fast, low or auto; fp8; eager (nothing recorded); held
(nothing in host memory); flash; x4 (passes a step); limit24 (PyTorch held to 24 GiB); from80000
(the first row tried for the longest); whole (a sequence a row); kernels.

Weights are drawn at random and quantised on the card; ids are random, four sequences a row, all
labelled; LoRA of rank 32 on every linear layer; a step is forward, backward and AdamW.
"""

from __future__ import annotations

import argparse
import gc
import json
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from plugins.falcon import model as falcon
from plugins.falcon.benchmark.cases import LLAMA_LINEARS
from plugins.falcon.benchmark.shares import frozen_flops, shares_of
from plugins.fused.backends import Choice
from plugins.fused.memory import GIB
from plugins.llama import model as llama
from recipes.runner.core.fallbacks import fallbacks_taken
from recipes.runner.core.labels import IGNORE

SHAPES: dict[str, dict[str, Any]] = {
    "falcon-7b": {"model_type": "falcon"},  # transformers' defaults
    "llama-7b": {"model_type": "llama", "max_position_embeddings": 131072},
    "mistral-7b": {"model_type": "mistral", "sliding_window": None},
    "qwen2.5-7b": {
        "model_type": "qwen2", "hidden_size": 3584, "intermediate_size": 18944,
        "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4,
        "vocab_size": 152064, "max_position_embeddings": 131072,
    },
}  # fmt: skip
TARGETS = {
    "falcon": ["query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"],
    "llama": LLAMA_LINEARS,
}
SEQUENCES = 4  # of a row
WARM_UP = 4  # compiled in the first, recorded in the second
PROFILED = 8  # steps of a profile of kernels: in the first after a pause products run faster
TRIES = 7  # rows tried for each limit


def make(shape: str, rank: int = 32) -> nn.Module:
    """A model of random nf4 weights with an adapter, on the card, in training mode."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    config = AutoConfig.for_model(**SHAPES[shape])
    with torch.device("cuda"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    quantise(model)
    family = "falcon" if config.model_type == "falcon" else "llama"
    settings = LoraConfig(
        r=rank, lora_alpha=rank, lora_dropout=0.05, target_modules=TARGETS[family]
    )
    return get_peft_model(model.requires_grad_(False), settings).train().cuda()


def quantise(model: Any) -> None:
    """Hold every linear layer but the head in nf4, on the card."""
    from bitsandbytes.nn import Linear4bit, Params4bit

    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if not isinstance(child, nn.Linear) or name == "lm_head":
                continue
            has_bias = child.bias is not None
            small = Linear4bit(
                child.in_features, child.out_features, has_bias, torch.bfloat16, device="meta"
            )
            weight: Any = Params4bit(
                child.weight.data, requires_grad=False, quant_type="nf4", module=small
            )
            small.weight, small.bias = weight.to("cuda"), child.bias
            setattr(parent, name, small)
    model.is_loaded_in_4bit = True
    gc.collect()
    torch.cuda.empty_cache()


def batch_of(
    rows: int, length: int, vocabulary: int, sequences: int = SEQUENCES
) -> dict[str, torch.Tensor]:
    """Random ids [rows, length] with labels and positions, on the card."""
    from plugins.fused.loss import find_target_rows

    ids = torch.randint(20, vocabulary, (rows, length))
    each = -(-length // sequences)
    positions = (torch.arange(length) % each).expand(rows, -1)
    labels = ids.masked_fill(positions == 0, IGNORE)
    batch = {
        "input_ids": ids, "labels": labels, "position_ids": positions.contiguous(),
        "target_rows": find_target_rows(labels),
    }  # fmt: skip
    return {key: value.cuda() for key, value in batch.items()}


def install(model: nn.Module, words: list[str]) -> Choice:
    """Put the fused path on, by a kind of memory, ``eager``, ``held``, ``flash`` and ``fp8``."""
    memory = next((word for word in words if word in ("fast", "low", "auto")), "fast")
    choice = Choice(
        True, "flash" if "flash" in words else "grouped", True, True, memory,
        memory != "fast" and "held" not in words, "eager" not in words and "flash" not in words,
        fp8="fp8" in words,
    )  # fmt: skip
    module = falcon if falcon.find_falcon(model) is not None else llama
    module.install(model, choice)
    return choice


class Steps:
    """Whole optimizer steps of a model.

    Args:
        model: from `make`, with the fused path installed.
        passes: forward and backward before each optimizer's step.
    """

    def __init__(self, model: Any, passes: int = 1) -> None:
        self.model, self.passes = model, passes
        trained = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, lr=1e-5, fused=True)

    def run(self, batch: dict[str, torch.Tensor], steps: int) -> float:
        """Seconds of a step, over ``steps``."""
        torch.cuda.synchronize()
        began = time.perf_counter()
        for _ in range(steps):
            for _ in range(self.passes):
                self.model(**batch, use_cache=False).loss.backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
        torch.cuda.synchronize()
        return (time.perf_counter() - began) / steps


def measure(model: Any, words: list[str], rows: int, length: int, steps: int) -> dict[str, Any]:
    """Time and memory of ``steps`` steps, after some to warm up."""
    choice = install(model, words)
    hold(number_of(words, "limit"))
    passes = int(number_of(words, "x") or 1)
    training = Steps(model, passes)
    sequences = 1 if "whole" in words else SEQUENCES
    batch = batch_of(rows, length, model.config.vocab_size, sequences)
    fresh()
    training.run(batch, WARM_UP)
    seconds = training.run(batch, steps)
    profiled = PROFILED if "kernels" in words else 1
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        training.run(batch, profiled)
    kernels = kernels_of(profile, profiled)
    decoder = getattr(model.base_model.model, model.base_model.model.base_model_prefix)
    recorded = sum(one.recording is not None for one in decoder.fused.graphs.shapes.values())
    result = {
        "tokens_per_second": round(rows * length * passes / seconds),
        "ms_per_step": round(seconds * 1e3, 1),
        "gpu_busy_ms": round(sum(ms for ms, _ in kernels.values()), 1),
        "peak_gib": round(torch.cuda.max_memory_allocated() / GIB, 2),
        "reserved_gib": round(torch.cuda.max_memory_reserved() / GIB, 2),
        "recorded": recorded, "memory": choice.memory, "fallbacks": fallbacks_taken(),
    }  # fmt: skip
    if "kernels" in words:
        flops = frozen_flops(model, batch["target_rows"].numel(), rows * length)
        result["shares"] = shares_of(kernels, passes * flops)
        result["kernels"] = {
            name: [round(ms, 2), count] for name, (ms, count) in list(kernels.items())[:25]
        }
    return result


def kernels_of(profile: torch.profiler.profile, steps: int = 1) -> dict[str, tuple[float, int]]:
    """Milliseconds and launches of each kind of kernel in one of ``steps``, the longest first.

    PyTorch's element by element ones differ beyond their first 60 letters alone, and are one kind.
    """
    found: dict[str, tuple[float, int]] = {}
    for kernel in profile.key_averages():
        ms, count = found.get(kernel.key[:60], (0.0, 0))
        spent = kernel.self_device_time_total / 1e3 / steps
        found[kernel.key[:60]] = ms + spent, count + kernel.count // steps
    return dict(sorted(found.items(), key=lambda one: -one[1][0]))


def number_of(words: list[str], name: str) -> float | None:
    """The number in a word such as ``limit24``; None where there is no such word."""
    found = (word[len(name) :] for word in words if word.startswith(name))
    return next((float(rest) for rest in found if rest.replace(".", "", 1).isdigit()), None)


def hold(gib: float | None) -> None:
    """Let PyTorch have so much of the card, all of it for None."""
    total = torch.cuda.get_device_properties(0).total_memory / GIB
    torch.cuda.set_per_process_memory_fraction(1.0 if gib is None else min(1.0, gib / total))


def longest_row(model: Any, words: list[str], limits: list[float]) -> Iterator[dict[str, Any]]:
    """The longest row found of a step within each limit in GiB, each run.

    PyTorch is held to the limit less 0.5 GiB, which CUDA's context takes. The first try comes from
    the line through two peaks, or is the word ``from80000``; a longer one from the room that was
    left, and once one has failed from halfway between.
    """
    hold(None)
    install(model, [*words, "eager"])
    training, vocabulary = Steps(model), model.config.vocab_size
    training.run(batch_of(1, 2048, vocabulary), 1)  # the optimizer's moments stand from here on
    peaks, short, long = [], 3072, 12288
    for length in (short, long):
        fresh()
        training.run(batch_of(1, length, vocabulary), 1)
        peaks.append(torch.cuda.max_memory_reserved() / GIB)
    slope = (peaks[1] - peaks[0]) / (long - short)
    for limit in limits:
        room = limit - 0.5
        hold(room)
        found: dict[str, Any] = {"limit_gib": limit, "failed": "no row tried fits"}
        first = number_of(words, "from") or short + (room - peaks[0]) / slope
        best, failed, tried = 0, 0, int(first)
        for _ in range(TRIES):
            tried = tried // 512 * 512
            if tried <= best:
                break
            fresh()
            try:
                seconds = training.run(batch_of(1, tried, vocabulary), 1)
            except torch.OutOfMemoryError:
                training.optimizer.zero_grad()
                failed = tried
            else:
                best, peak = tried, torch.cuda.max_memory_reserved() / GIB
                found = {
                    "limit_gib": limit, "longest": best, "tokens_per_second": round(best / seconds),
                    "reserved_gib": round(peak, 2),
                }  # fmt: skip
            tried = next_length(best, failed, 0.97 * (room - peak) / slope if best else 0.0)
        hold(None)
        yield found | {"shortest_failed": failed or None}


def next_length(best: int, failed: int, more: float) -> int:
    """The row to try next.

    Args:
        best: the longest that fitted, 0 for none yet.
        failed: the last that didn't fit, 0 for none yet.
        more: tokens that the room left by ``best`` may hold.
    """
    if not failed:
        return int(best + more)
    return (best + failed) // 2 if best else int(failed * 0.9)


def fresh() -> None:
    """Let go of what nothing holds, and of the peaks so far."""
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()


def main() -> None:
    """Print a line of JSON for each row asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "rows", nargs="+", help="SHAPE,ROWSxLENGTH or SHAPE,longest:8/12, then words"
    )
    parser.add_argument("--steps", type=int, default=8)
    args = parser.parse_args()
    model, made = None, ""
    for row in args.rows:
        shape, size, *words = row.split(",")
        if shape != made:
            model = None
            gc.collect()
            torch.cuda.empty_cache()
            model, made = make(shape), shape
        try:
            if size.startswith("longest:"):
                limits = [float(part) for part in size.split(":")[1].split("/")]
                for result in longest_row(model, words, limits):
                    print(json.dumps({"row": row} | result), flush=True)
                continue
            rows, length = map(int, size.split("x"))
            result = measure(model, words, rows, length, args.steps)
        except RuntimeError as error:
            result = {"failed": str(error).split("\n")[0]}
        print(json.dumps({"row": row} | result), flush=True)


if __name__ == "__main__":
    main()
