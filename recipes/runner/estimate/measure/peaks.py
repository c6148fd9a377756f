"""Peaks that were measured: what `python -m recipes.runner.estimate.measure` printed on a card."""

from __future__ import annotations

from recipes.runner.estimate.measure.cases import CASES, Case, base_config, config_of
from recipes.runner.estimate.memory import GIB, Memory, estimate
from recipes.runner.models.architecture import build

MACHINE = (
    "one H200, torch 2.11, axolotl 0.19.0, transformers 5.16.1, peft 0.20.0, bitsandbytes 0.50.2,"
    " liger 0.8.1"
)
PEAKS = {
    "mistral-qlora-liger": 5.504,
    "mistral-qlora-8192": 8.461,
    "mistral-lora-kept": 32.887,
    "mistral-lora-modules": 17.163,
    "mistral-8-bit": 9.126,
    "mistral-dora": 5.728,
    "qwen-qlora-plain-loss": 10.037,
    "qwen-qlora-8192": 9.393,
    "qwen-saved": 16.522,
    "qwen3-full": 8.274,
    "qwen3-full-8-bit-optimizer": 5.752,
    "llama-full-liger": 12.276,
    "llama-full-kept": 13.418,
}
"""Name of a case to GiB, as `torch.cuda.max_memory_allocated` counts them."""


def planned(case: Case) -> Memory:
    """What `plan` says of a case."""
    config = config_of(case, "model", "rows.jsonl", "runs/measure", tiny=False)
    return estimate(config, build(dict(base_config(case.base, tiny=False))))


HEADINGS = """| set-up | rows x length | measured GiB | plan GiB | off | the worst moment |
|---|---|---:|---:|---:|---|"""


def table_row(case: Case, length: int, peak_gib: float, memory: Memory) -> str:
    """A case's measured peak beside what `plan` says, in Markdown."""
    said = memory.allocated / GIB
    return (
        f"| {case.name} | {case.rows} x {length:,} | {peak_gib:.2f} | {said:.2f}"
        f" | {said / peak_gib - 1:+.1%} | {memory.worst} |"
    )


def peaks_table() -> str:
    """Markdown: each measured case beside what `plan` says."""
    measured = (case for case in CASES if case.name in PEAKS)
    rows = (table_row(case, case.length, PEAKS[case.name], planned(case)) for case in measured)
    return "\n".join([HEADINGS, *rows])
