"""Who may write into a run folder: one process group, and never over a finished run in silence."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from recipes.runner.core.errors import UserError
from recipes.runner.core.recipe import display_path, strategy_of
from recipes.runner.core.terminal import send
from recipes.runner.run.agreement import changed_settings
from recipes.runner.run.checkpoints import checkpoints, set_damaged_aside
from recipes.runner.run.record import ENDED_WELL, RUNNING, RunRecord, now, read_record

# A resumed run with another of these would be neither the old run nor the new one.
_MUST_AGREE = (
    "base_model",
    "adapter",
    "load_in_4bit",
    "load_in_8bit",
    "lora_r",
    "lora_alpha",
    "lora_target_modules",
    "sequence_len",
    "sample_packing",
    "optimizer",
    "seed",
)


def refuse_finished(folder: Path, force: bool) -> None:
    """Stop before a finished run is written over.

    Raises:
        UserError: the folder holds a finished run and ``force`` is off.
    """
    status = read_record(folder).get("status")
    if status in ENDED_WELL and not force:
        raise UserError(
            f"this run is finished ({status})",
            display_path(folder),
            "Take another name with RUN=..., or FORCE=1 to start over (the old run is kept beside"
            f" it as {folder.name}.old)",
        )


def set_old_run_aside(folder: Path) -> None:
    """Rename a run folder to ``<name>.old``; an older ``.old`` makes way for it."""
    if not folder.exists():
        return
    old = folder.with_name(folder.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    folder.rename(old)
    send("note", text=f"the run that was in {display_path(folder)} is now in {old.name}")


def lock(folder: Path) -> FileLock:
    """Take the run folder for this process until it ends.

    Raises:
        UserError: another process trains into the folder now.
    """
    folder.mkdir(parents=True, exist_ok=True)
    held = FileLock(folder / ".lock")
    try:
        held.acquire(timeout=0)
    except Timeout:
        raise UserError(
            "another process is training into this folder now",
            display_path(folder),
            "Wait for it, stop it, or take another name with RUN=...",
        ) from None
    return held


def close_record(folder: Path, status: str, reason: str, patience: float = 0.0) -> None:
    """Say of a run whose process was ended from outside how it ended; it can't say so itself.

    Does nothing where it has, or where another process trains into the folder now.

    Args:
        folder: of the run.
        status: how it ended.
        reason: why.
        patience: seconds that a process which was told to end may take to let go of the folder.
    """
    if read_record(folder).get("status") != RUNNING:
        return
    held = FileLock(folder / ".lock")
    with contextlib.suppress(OSError, Timeout), held.acquire(timeout=patience):
        record = RunRecord(folder)
        record.data = read_record(folder)
        record.update(status=status, reason=reason, ended=now())


def prepare_resuming(folder: Path, config: dict[str, Any]) -> str | None:
    """Set damaged checkpoints aside and say what the run goes on from.

    Returns:
        The name of the checkpoint that will be resumed from (its path, where the recipe names one
        of another run), or None for a new run.

    Raises:
        UserError: the settings differ from those that the checkpoints were made with, or Axolotl
            would not go on from them.
    """
    for path, reason in set_damaged_aside(folder):
        send("warning", text=f"{display_path(path)} is passed over: {reason}")
    whole = checkpoints(folder)
    named = config.get("resume_from_checkpoint")
    if not named and not whole:
        return None
    start = Path(str(named)) if named else whole[-1]
    if not named:
        _refuse_beginning_anew(folder, config)
    record = read_record(start.parent)
    before = record.get("config") or {}
    if before:
        _check_sharding(folder, record, config)
    changed = [
        f"{key} {before[key]} -> {config[key]}"
        for key in _MUST_AGREE
        if before.get(key) is not None
        and config.get(key) is not None
        and before[key] != config[key]
        and "asked" not in record  # of a record that is older than this comparison
    ]
    changed += changed_settings(record, config)
    if changed:
        raise UserError(
            f"an interrupted run with other settings is here ({'; '.join(changed)})",
            display_path(folder),
            "Go on with those, take another name with RUN=..., or FORCE=1 to start over",
        )
    if before:
        _check_step_size(folder, record, config)
    step = start.name.split("-")[-1]
    send("status", text=f"Resuming from {display_path(start)} (step {step})")
    return start.name if start.parent == folder else str(start)


def _refuse_beginning_anew(folder: Path, config: dict[str, Any]) -> None:
    """Axolotl begins anew where it isn't told to go on, and writes over what is there."""
    if config.get("auto_resume_from_checkpoints"):
        return
    raise UserError(
        "an interrupted run is here, and the recipe doesn't go on with one: it would be written"
        " over",
        display_path(folder),
        "Write auto_resume_from_checkpoints: true, take another name with RUN=..., or FORCE=1 to"
        " start over",
    )


def _check_sharding(folder: Path, record: dict[str, Any], config: dict[str, Any]) -> None:
    """Each way of sharding writes checkpoints of its own; DeepSpeed's fit one number of ranks."""
    then, now = strategy_of(record["config"]), strategy_of(config)
    ranks, then_ranks = int(os.environ.get("WORLD_SIZE", "1")), int(record.get("world_size") or 1)
    if then == now and (ranks == then_ranks or not now.startswith("zero")):
        return
    raise UserError(
        f"an interrupted run is here whose checkpoints are those of {then} on {then_ranks} ranks;"
        f" this one would be {now} on {ranks}",
        display_path(folder),
        "Go on with the same STRATEGY and GPUS, take another name with RUN=..., or FORCE=1 to"
        " start over",
    )


def _check_step_size(folder: Path, record: dict[str, Any], config: dict[str, Any]) -> None:
    """Another number of ranks may go on with a run, as long as a step holds as many sequences."""
    ranks = int(os.environ.get("WORLD_SIZE", "1"))
    then_ranks = int(record.get("world_size") or 1)
    now, then = _sequences_a_step(config, ranks), _sequences_a_step(record["config"], then_ranks)
    if now == then:
        return
    raise UserError(
        f"an interrupted run is here whose optimizer steps hold {then} sequences, on {then_ranks}"
        f" rank{'s' if then_ranks > 1 else ''}; this one's would hold {now}, on {ranks}",
        display_path(folder),
        "Keep micro_batch_size x gradient_accumulation_steps x ranks (SET=...), take another name"
        " with RUN=..., or FORCE=1 to start over",
    )


def _sequences_a_step(config: dict[str, Any], ranks: int) -> int:
    accumulation = int(config.get("gradient_accumulation_steps") or 1)
    return int(config.get("micro_batch_size") or 1) * accumulation * ranks
