"""The circumstances of a run: packages, commit, machine, data, and how the model is really held."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from collections import Counter
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import nn

from recipes.runner.core.recipe import ROOT

_PACKAGES = (
    "torch",
    "axolotl",
    "transformers",
    "peft",
    "bitsandbytes",
    "accelerate",
    "deepspeed",
    "datasets",
    "tokenizers",
    "trl",
    "liger-kernel",
    "triton",
)


def package_versions() -> dict[str, str]:
    """Versions of the packages that decide what training does; absent ones are left out."""
    versions = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def git_commit() -> dict[str, Any]:
    """Commit and whether tracked files differ from it; empty outside a clone."""
    try:
        commit = _git("rev-parse", "HEAD")
        return {"commit": commit, "modified": bool(_git("status", "--porcelain", "-uno"))}
    except (OSError, subprocess.CalledProcessError):
        return {}


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def machine() -> dict[str, Any]:
    """Host, cores and the device that this rank trains on; memory in bytes."""
    facts: dict[str, Any] = {
        "host": platform.node(),
        "platform": platform.platform(),
        "cpu_cores": os.cpu_count(),
        "device": "cpu",
    }
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(torch.cuda.current_device())
        facts |= {
            "device": properties.name,
            "device_count": torch.cuda.device_count(),
            "device_memory_bytes": properties.total_memory,
            "cuda": torch.version.cuda,
        }
    return facts


def data_files(config: Any) -> list[dict[str, Any]]:
    """The local files that the run reads, with rows and SHA-256."""
    found = []
    for key in ("datasets", "test_datasets"):
        for dataset in config.get(key) or []:
            path = Path(str(dataset.get("path")))
            if path.is_file():
                content = path.read_bytes()
                found.append(
                    {
                        "use": key,
                        "path": str(path),
                        "rows": content.count(b"\n"),
                        "sha256": hashlib.sha256(content).hexdigest(),
                    }
                )
    return found


def parameters_trained(model: nn.Module) -> dict[str, Any]:
    """Number and dtype of trained parameters, and the kinds of module they stand in.

    Returns:
        ``parameters``, ``by_dtype``, and ``modules``: the name of the adapted layer without its
        layer number, to how many of them are trained.
    """
    by_dtype: Counter[str] = Counter()
    modules: Counter[str] = Counter()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            by_dtype[str(parameter.dtype)] += parameter.numel()
            if "lora_A" in name:
                modules[name.split(".lora_A")[0].rsplit(".", 1)[-1]] += 1
    return {
        "parameters": sum(by_dtype.values()),
        "by_dtype": dict(by_dtype),
        "modules": dict(modules),
    }


def base_as_held(model: nn.Module) -> list[dict[str, Any]]:
    """How the frozen weights really stand in memory, by module class and dtype.

    Counted from the modules themselves: a base that was asked for in 4 bits and isn't shows here
    as ``Linear`` in ``torch.float32``.
    """
    counts: Counter[tuple[str, str]] = Counter()
    sizes: Counter[tuple[str, str]] = Counter()
    for module in model.modules():
        frozen = [p for p in module.parameters(recurse=False) if not p.requires_grad]
        for parameter in frozen:
            dtype = str(parameter.dtype)
            state = getattr(parameter, "quant_state", None)
            if state is not None:
                dtype = f"{state.quant_type} (4-bit)"
            key = (type(module).__name__, dtype)
            sizes[key] += parameter.numel() * parameter.element_size()
        if frozen:
            counts[(type(module).__name__, _dtype_name(frozen[0]))] += 1
    return [
        {"class": name, "dtype": dtype, "modules": counts[(name, dtype)], "bytes": size}
        for (name, dtype), size in sorted(sizes.items())
    ]


def _dtype_name(parameter: nn.Parameter) -> str:
    state = getattr(parameter, "quant_state", None)
    return f"{state.quant_type} (4-bit)" if state is not None else str(parameter.dtype)


def peak_memory_bytes() -> int:
    """The most memory this process has held: of the GPU when there is one, else resident."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
