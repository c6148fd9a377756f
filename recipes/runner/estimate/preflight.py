"""GPU, dtype, memory, disk and the model's files, all looked at before anything is loaded."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from recipes.runner.core.errors import UserError, UserErrors
from recipes.runner.core.terminal import send
from recipes.runner.estimate.gpu import count_gpus
from recipes.runner.estimate.memory import GIB, Memory, estimate, recomputes, show
from recipes.runner.estimate.own_shards import own_strategy
from recipes.runner.estimate.settings import as_axolotl_reads
from recipes.runner.estimate.shards import estimate_shared
from recipes.runner.models.architecture import CannotEstimate, architecture, is_kept


def find_problems(config: dict[str, Any]) -> list[UserError]:
    """What stands in the way of this recipe on this machine; empty when nothing does.

    What can't be estimated stands in nobody's way: it is said, and the run starts.

    Args:
        config: the recipe's keys, overrides applied.
    """
    config = as_axolotl_reads(config)
    on_gpu = count_gpus() > 0
    problems: list[UserError] = []
    try:
        shape = architecture(str(config.get("base_model")))
        if not on_gpu and shape.parameters > LARGEST_ON_CPU:
            # Alone: with no GPU, nothing else about memory or downloads matters yet.
            return [_no_gpu(config, shape.parameters, estimate(config, shape))]
        needed = estimate(config, shape, on_gpu)
        if on_gpu:
            ranks = int(os.environ.get("WORLD_SIZE", "1"))
            shared = estimate_shared(config, shape, own_strategy(config) or "ddp", ranks)
            problems += _memory_problems(config, shared, recomputes(config, shape))
        else:
            problems += _ram_problems(needed)
        problems += _disk_problems(config, needed)
    except CannotEstimate as reason:
        send("note", text=f"memory was not looked at: {reason}")
    except UserErrors as wrong:
        problems += wrong.errors
    if on_gpu:
        problems += _dtype_problems(config)
    return problems + _model_problems(config)


def refuse_without_gpu(config: dict[str, Any]) -> None:
    """Give preflight's refusal at once where no GPU can make it pass.

    The shape of a base that is kept nowhere takes transformers, some nine seconds of a CPU. The
    training process imports that anyway, so there the recipe's own plugin looks, and alone.

    Raises:
        UserErrors: this recipe can't run on a CPU.
    """
    looks_itself = _PLUGIN in (config.get("plugins") or [])
    if count_gpus() or (looks_itself and not is_kept(str(config.get("base_model")))):
        return
    problems = find_problems(config)
    if problems:
        raise UserErrors(problems)


LARGEST_ON_CPU = 500_000_000
"""Parameters beyond which a CPU trains for days: 7B at two cores is some 2 tokens/s."""

_PLUGIN = "plugins.preflight.PreflightPlugin"
_CPU_RECIPE = "smollm2-135m-qlora"
_SLACK = 1.05


def _no_gpu(config: dict[str, Any], parameters: int, needed: Any) -> UserError:
    return UserError(
        f"no CUDA GPU here, and {config['base_model']} has {parameters / 1e9:.1f}B parameters"
        f" (about {needed.total / GIB:.1f} GiB of GPU memory for this recipe)",
        todo=f"What works here: make train RECIPE={_CPU_RECIPE}",
    )


def _dtype_problems(config: dict[str, Any]) -> list[UserError]:
    import torch

    if config.get("bf16") is not True or torch.cuda.is_bf16_supported(including_emulation=False):
        return []
    name = torch.cuda.get_device_properties(0).name
    return [UserError(f"{name} has no bf16", "bf16", "Set bf16: auto, which takes fp16 there")]


def _memory_problems(config: dict[str, Any], memory: Memory, recomputed: bool) -> list[UserError]:
    import torch

    free, total = torch.cuda.mem_get_info()
    if memory.needed <= free * _SLACK:
        return []
    name = torch.cuda.get_device_properties(0).name
    parts = "; ".join(line.strip() for line in show(memory))
    return [
        UserError(
            f"{name} has {free / GIB:.1f} of {total / GIB:.1f} GiB free, and this recipe needs"
            f" about {memory.needed / GIB:.1f} GiB ({' '.join(parts.split())})",
            todo=f"{_less(config, recomputed)}, free the card, or PREFLIGHT=0",
        )
    ]


def _less(config: dict[str, Any], recomputed: bool) -> str:
    """What makes a recipe smaller that it doesn't do yet."""
    ways = []
    if (config.get("micro_batch_size") or 1) != 1:
        ways.append("lower micro_batch_size")
    ways.append("lower sequence_len")
    if not recomputed:
        ways.append("gradient_checkpointing: true")
    if not config.get("adapter"):
        ways.append("an adapter (adapter: qlora)")
    elif not config.get("load_in_4bit"):
        ways.append("load_in_4bit: true with adapter: qlora")
    return ", ".join(ways).capitalize()


def _ram_problems(needed: Any) -> list[UserError]:
    available = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file():
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                available = int(line.split()[1]) * 1024
    if needed.total <= available:
        return []
    return [
        UserError(
            f"{available / GIB:.1f} GiB of memory are free, and this recipe needs about"
            f" {needed.total / GIB:.1f} GiB",
            todo="Lower micro_batch_size or sequence_len, close programs, or PREFLIGHT=0",
        )
    ]


def _disk_problems(config: dict[str, Any], needed: Any) -> list[UserError]:
    folder = Path(str(config.get("output_dir") or "."))
    while not folder.exists():
        folder = folder.parent
    # Each checkpoint holds what is trained and the optimizer; one more is there while the oldest
    # goes.
    kept = int(config.get("save_total_limit") or 4) + 2
    # A run without an adapter writes the model itself.
    trained = needed.adapters if config.get("adapter") else needed.weights
    wanted = kept * (trained + needed.optimizer)
    free = shutil.disk_usage(folder).free
    if wanted <= free:
        return []
    return [
        UserError(
            f"{free / GIB:.1f} GiB are free on the disk, and {kept} checkpoints take about"
            f" {wanted / GIB:.1f} GiB",
            str(folder),
            "Free space, lower save_total_limit, or name another output_dir",
        )
    ]


def _model_problems(config: dict[str, Any]) -> list[UserError]:
    name = str(config.get("base_model"))
    if Path(name).expanduser().exists() or name.startswith(("models/", ".", "/")):
        return []
    if _is_cached(name) or _hub_answers(name):
        return []
    return [
        UserError(
            f"{name} is not on this machine and the Hugging Face Hub can't be reached",
            "base_model",
            "Check the network, or name a local folder: SET=base_model=/path/to/model",
        )
    ]


def _is_cached(name: str) -> bool:
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(name, "config.json"), str)


def _hub_answers(name: str) -> bool:
    from huggingface_hub import file_exists

    try:
        return bool(file_exists(name, "config.json"))
    except Exception:  # a dozen kinds of network error, all with one meaning here
        return False
