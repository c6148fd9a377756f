"""Which checkpoints of a run folder are whole."""

from __future__ import annotations

import json
import struct
import zipfile
from pathlib import Path

_HEADER_LENGTH = 8


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoint folders of a run, oldest first."""
    found = [path for path in folder.glob("checkpoint-*") if path.name.split("-")[-1].isdigit()]
    return sorted(found, key=lambda path: int(path.name.split("-")[-1]))


def damage(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint, or None when it can be resumed from.

    Sizes and indexes are read, not the tensors: a cut file is found without loading it.
    """
    state = checkpoint / "trainer_state.json"  # the Trainer writes it last
    try:
        json.loads(state.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "it was not written to its end (no trainer_state.json)"
    weights = sorted(checkpoint.glob("*.safetensors"))
    if not weights and not any(checkpoint.glob("global_step*")):
        sharded = any(checkpoint.glob("pytorch_model_fsdp*"))
        if not sharded:
            return "it holds no weights"
    for path in weights:
        expected = _safetensors_size(path)
        if expected != path.stat().st_size:
            return f"{path.name} is cut short or damaged"
    for name in ("optimizer.pt", "scheduler.pt", "optimizer.bin"):
        path = checkpoint / name
        if path.exists() and not zipfile.is_zipfile(path):
            return f"{name} is cut short or damaged"
    return None


def set_damaged_aside(folder: Path) -> list[tuple[Path, str]]:
    """Rename damaged checkpoints, so that the newest whole one is resumed from.

    Returns:
        Each renamed folder, under its old name, and what is wrong with it.
    """
    aside = []
    for path in checkpoints(folder):
        reason = damage(path)
        if reason:
            target = path.with_name(path.name + ".damaged")
            number = 1
            while target.exists():
                number += 1
                target = path.with_name(f"{path.name}.damaged-{number}")
            path.rename(target)
            aside.append((path, reason))
    return aside


def _safetensors_size(path: Path) -> int | None:
    """The size in bytes that a safetensors file's own header asks for; None without a header."""
    with path.open("rb") as file:
        start = file.read(_HEADER_LENGTH)
        if len(start) < _HEADER_LENGTH:
            return None
        (length,) = struct.unpack("<Q", start)
        if length > path.stat().st_size:
            return None
        try:
            header = json.loads(file.read(length))
        except ValueError:
            return None
    ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    return _HEADER_LENGTH + int(length) + max(ends, default=0)
