"""What a 40B run and a 64-GPU run would need: estimated, from shapes and one measured GPU."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from recipes.runner.core.files import write_text
from recipes.runner.core.overrides import apply
from recipes.runner.core.recipe import RECIPES, display_path, load_recipe
from recipes.runner.estimate.memory import GIB, Memory, estimate
from recipes.runner.estimate.plan import FLOPS_PER_PARAMETER
from recipes.runner.estimate.sharding import strategy_settings
from recipes.runner.estimate.shards import estimate_shared, loading_bytes
from recipes.runner.models.architecture import Architecture, architecture

FILE = RECIPES / "launch" / "SIZING.md"
SMALL, LARGE = "tiiuae/falcon-7b", "tiiuae/falcon-40b"
# bf16 matrix products on one H200, and the share of them that whole training steps reached there
# (plugins/falcon/NOTES.md): fused Falcon; a Llama shape with Axolotl's kernels and checkpointing,
# for what can't take the fused path; stock Falcon.
CEILING = 785e12
SHARES = {"fused path": 0.61, "not fused, Axolotl's kernels": 0.34, "stock": 0.12}
MACHINES, GPUS_EACH = 8, 8
LINKS = {"8 x 400 Gb/s InfiniBand": 8 * 50e9, "100 Gb/s Ethernet": 12.5e9}  # bytes/s a machine
SHARED_BY = (2, 8, 64)  # GPUs
ROWS, LENGTH = 4, 2048  # the micro-batch that was measured


def tokens_per_second(shape: Architecture, share: float) -> float:
    """Tokens/s of one GPU whose steps reach ``share`` of the ceiling, weights frozen."""
    return share * CEILING / (FLOPS_PER_PARAMETER * shape.parameters)


def exchange_seconds(size: float, link: float) -> float:
    """An all-reduce of ``size`` bytes between machines, or two all-gathers of as many.

    Either way ``2 (M-1)/M`` of them pass each machine's link.
    """
    return 2 * (MACHINES - 1) / MACHINES * size / link


def _config(base: str, **changes: Any) -> dict[str, Any]:
    return apply(
        load_recipe("falcon7b-qlora").config,
        {"micro_batch_size": 1, "sequence_len": LENGTH, "base_model": base, **changes},
    )


def _case(base: str) -> tuple[Architecture, Memory]:
    shape = architecture(base)
    return shape, estimate(_config(base), shape)


def _memory_rows() -> list[str]:
    rows = []
    shape = architecture(LARGE)
    lora = {"load_in_4bit": False, "adapter": "lora"}
    whole = {**lora, "adapter": None, "optimizer": "adamw_torch_fused"}
    for name, changes in (
        ("QLoRA r 32, nf4", {}),
        ("LoRA r 32, bf16", lora),
        ("every weight, AdamW", whole),
    ):
        config = _config(LARGE, **changes)
        cut = apply(config, strategy_settings("fsdp", config, {}))
        cells = [estimate_shared(cut, shape, "fsdp", gpus).total for gpus in SHARED_BY]
        cells.insert(0, estimate_shared(config, shape, "ddp", 1).total)
        rows.append(_memory_row(name, cells))
    return rows


def _memory_row(name: str, cells: list[float]) -> str:
    return f"| {name} | " + " | ".join(f"{size / GIB:,.1f}" for size in cells) + " |"


def _speed_rows() -> list[str]:
    rows = []
    for base in (SMALL, LARGE):
        shape, _ = _case(base)
        cells = [f"{tokens_per_second(shape, share):,.0f}" for share in SHARES.values()]
        rows.append(f"| {base} | " + " | ".join(cells) + " |")
    return rows


def _scaling_rows() -> list[str]:
    rows = []
    gpus = MACHINES * GPUS_EACH
    for base, strategy, share in (
        (SMALL, "ddp", "fused path"),
        (LARGE, "ddp", "fused path"),
        (LARGE, "zero3, fsdp", "fused path"),
    ):
        shape, memory = _case(base)
        alone = tokens_per_second(shape, SHARES[share])
        step = ROWS * LENGTH / alone
        for link, speed in LINKS.items():
            sent = memory.gradients + (0 if strategy == "ddp" else memory.weights)
            wait = exchange_seconds(sent, speed)
            whole = gpus * alone * step / (step + wait)
            rows.append(
                f"| {base} | {strategy} | {link} | {step * 1e3:,.0f} | {wait * 1e3:,.0f}"
                f" | {step / (step + wait):.0%} | {whole:,.0f} |"
            )
    return rows


def sizing_text() -> str:
    """The whole file as it should be."""
    shape, memory = _case(LARGE)
    small, _ = _case(SMALL)
    environment = Environment(
        loader=FileSystemLoader(FILE.parent),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown, from our own numbers
    )
    return environment.get_template(f"{FILE.name}.jinja").render(
        large=LARGE,
        length=LENGTH,
        rows=ROWS,
        parameters=shape.parameters,
        loading=loading_bytes(_config(LARGE), shape, "fsdp"),
        checkpoint=memory.adapters + memory.optimizer,
        flops=FLOPS_PER_PARAMETER,
        ceiling=CEILING,
        machines=MACHINES,
        gpus_each=GPUS_EACH,
        tokens=MACHINES * GPUS_EACH * ROWS * LENGTH,
        speed=tokens_per_second(small, SHARES["fused path"]),
        shares=" | ".join(f"{name} ({share:.0%})" for name, share in SHARES.items()),
        memory_rows="\n".join(_memory_rows()),
        speed_rows="\n".join(_speed_rows()),
        scaling_rows="\n".join(_scaling_rows()),
    )


def write_sizing() -> str:
    """Write the file; return its path for display."""
    write_text(FILE, sizing_text())
    return display_path(FILE)
