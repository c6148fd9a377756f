"""GPU, dtype, memory, disk and the model's files, all looked at before anything is loaded."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from recipes.runner.core.errors import UserError, UserErrors
from recipes.runner.core.recipe import strategy_of
from recipes.runner.estimate.gpu import count_gpus
from recipes.runner.estimate.memory import GIB, estimate, show
from recipes.runner.estimate.sharding import estimate_shared
from recipes.runner.models.architecture import architecture


def find_problems(config: dict[str, Any]) -> list[UserError]:
    """What stands in the way of this recipe on this machine; empty when nothing does.

    Args:
        config: the recipe's keys, overrides applied.
    """
    shape = architecture(str(config.get("base_model")))
    on_gpu = count_gpus() > 0
    needed = estimate(config, shape, on_gpu)
    problems = []
    if on_gpu:
        ranks = int(os.environ.get("WORLD_SIZE", "1"))
        problems += _gpu_problems(
            config, estimate_shared(config, shape, strategy_of(config), ranks)
        )
    elif shape.parameters > LARGEST_ON_CPU:
        # Alone: with no GPU, nothing else about memory or downloads matters yet.
        return [_no_gpu(config, shape.parameters, estimate(config, shape))]
    else:
        problems += _ram_problems(needed)
    problems += _disk_problems(config, needed)
    problems += _model_problems(config)
    return problems


def refuse_without_gpu(config: dict[str, Any]) -> None:
    """Give preflight's refusal at once where no GPU can make it pass.

    Raises:
        UserErrors: this recipe can't run on a CPU.
    """
    if count_gpus():
        return
    problems = find_problems(config)
    if problems:
        raise UserErrors(problems)


LARGEST_ON_CPU = 500_000_000
"""Parameters beyond which a CPU trains for days: 7B at two cores is some 2 tokens/s."""

_CPU_RECIPE = "smollm2-135m-qlora"
_SLACK = 1.05


def _no_gpu(config: dict[str, Any], parameters: int, needed: Any) -> UserError:
    return UserError(
        f"no CUDA GPU here, and {config['base_model']} has {parameters / 1e9:.1f}B parameters"
        f" (about {needed.total / GIB:.1f} GiB of GPU memory for this recipe)",
        todo=f"What works here: make train RECIPE={_CPU_RECIPE}",
    )


def _gpu_problems(config: dict[str, Any], needed: Any) -> list[UserError]:
    import torch

    problems = []
    name = torch.cuda.get_device_properties(0).name
    if config.get("bf16") is True and not torch.cuda.is_bf16_supported(including_emulation=False):
        problems.append(
            UserError(f"{name} has no bf16", "bf16", "Set bf16: auto, which takes fp16 there")
        )
    free, total = torch.cuda.mem_get_info()
    if needed.total > free * _SLACK:
        parts = "; ".join(line.strip() for line in show(needed))
        problems.append(
            UserError(
                f"{name} has {free / GIB:.1f} of {total / GIB:.1f} GiB free, and this recipe needs"
                f" about {needed.total / GIB:.1f} GiB ({' '.join(parts.split())})",
                todo="Lower micro_batch_size or sequence_len, free the card, or PREFLIGHT=0",
            )
        )
    return problems


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
    # Each checkpoint holds adapter and optimizer; one more is there while the oldest goes.
    kept = int(config.get("save_total_limit") or 4) + 2
    wanted = kept * (needed.adapters + needed.optimizer)
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
