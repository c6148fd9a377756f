"""The Axolotl plugin: guards the run folder and keeps run.json as the run goes."""

from __future__ import annotations

import atexit
import os
import sys
import time
from pathlib import Path
from typing import Any

from axolotl.integrations.base import BasePlugin
from torch import nn
from transformers import TrainerCallback

from plugins.failures import on_failure, say_failures_in_one_line
from plugins.preference.watch import figures as preference_figures
from plugins.run_record import facts
from plugins.run_record.curves import LOSS, draw_curves
from recipes.runner.core.fallbacks import fallbacks_taken
from recipes.runner.core.flags import flag
from recipes.runner.core.hashes import file_hash
from recipes.runner.core.processes import end_with_parent
from recipes.runner.core.terminal import PIPE_VARIABLE, send
from recipes.runner.run import folder, record
from recipes.runner.run.agreement import asked_for
from recipes.runner.run.outcome import checkpoint_step

_UNSHOWN = ("axolotl_config_path", "capabilities", "env_capabilities")
_WRITE_EVERY = 2.0  # seconds; quick steps need not each rewrite the file


class RunRecordPlugin(BasePlugin):
    """One run folder, one record: what went in, what is trained, what came out."""

    def __init__(self) -> None:
        super().__init__()
        self.record: record.RunRecord | None = None
        self._lock: Any = None

    def register(self, cfg: dict) -> None:
        """Take the run folder, or say why not.

        Raises:
            UserError: the run is finished, is being trained, or was begun with other settings.
        """
        say_failures_in_one_line()
        _end_with_launcher()
        if not _is_main():
            return
        out = Path(str(cfg["output_dir"]))
        force = flag("FORCE")
        folder.refuse_finished(out, force)
        self._lock = folder.lock(out)
        if force and (out / record.FILE).exists():
            self._lock.release()
            folder.set_old_run_aside(out)
            self._lock = folder.lock(out)
        recipe = Path(str(cfg["axolotl_config_path"]))
        as_dict = cfg.to_dict() if hasattr(cfg, "to_dict") else dict(cfg)
        resumed_from = folder.prepare_resuming(out, as_dict)
        before = record.read_record(out) if resumed_from else {}
        self.record = record.RunRecord(out)
        self.record.data = {
            "evaluations": before.get("evaluations", []),
            "losses": before.get("losses", []),
            "seconds_before": before.get("seconds", 0.0),
            "tokens_before": before.get("tokens", 0),
        }
        on_failure(lambda reason: self._end(record.FAILED, reason))
        atexit.register(self._end_if_still_running)
        self.record.update(
            status=record.RUNNING,
            reason=None,
            run=out.name,
            recipe=recipe.stem,
            recipe_path=str(recipe),
            recipe_sha256=file_hash(recipe) if recipe.is_file() else None,
            overrides=os.environ.get("FALCON_RECIPES_SET", ""),
            launch=os.environ.get("FALCON_RECIPES_LAUNCH", ""),
            config={key: value for key, value in as_dict.items() if key not in _UNSHOWN},
            asked=asked_for(as_dict),
            resumed_from=resumed_from,
            started=before.get("started") or record.now(),
            ended=None,
            git=facts.git_commit(),
            packages=facts.package_versions(),
            world_size=int(os.environ.get("WORLD_SIZE", "1")),
            seed=as_dict.get("seed"),
        )

    def pre_model_load(self, cfg: Any) -> None:
        """Record the configuration as Axolotl resolved it, and the data as read."""
        if self.record is None:
            return
        resolved = cfg.to_dict() if hasattr(cfg, "to_dict") else dict(cfg)
        self.record.update(
            config={key: value for key, value in resolved.items() if key not in _UNSHOWN},
            base_model=cfg.base_model,
            data=facts.data_files(cfg),
            machine=facts.machine(),
        )
        send("status", text=f"Loading {cfg.base_model} ...")

    def post_model_load(self, cfg: Any, model: nn.Module) -> None:
        """Record what is trained, and how the base is really held."""
        if self.record is not None:
            self.record.update(
                trained=facts.parameters_trained(model),
                base_as_held=facts.base_as_held(model),
                fallbacks=fallbacks_taken(),
                fused=_fused(),
            )

    def post_trainer_create(self, cfg: Any, trainer: Any) -> None:
        """Of preferences, record what is trained now: their adapter comes with the trainer."""
        if self.record is not None and cfg.rl:
            self.record.update(trained=facts.parameters_trained(trainer.model))

    def add_callbacks_post_trainer(self, cfg: Any, trainer: Any) -> list[TrainerCallback]:
        """Follow the steps."""
        return [_Follow(self.record)] if self.record is not None else []

    def post_train_unload(self, cfg: Any) -> None:
        """The adapter is saved: the run is done."""
        if self.record is None:
            return
        data = self.record.data
        stopped = data.get("steps", 0) < data.get("steps_planned", 0)
        self._end(record.STOPPED_EARLY if stopped else record.FINISHED, None)

    def _end(self, status: str, reason: str | None) -> None:
        if self.record is None or self.record.data.get("status") != record.RUNNING:
            return
        self.record.update(
            status=status, reason=reason, ended=record.now(), fallbacks=fallbacks_taken()
        )

    def _end_if_still_running(self) -> None:
        try:
            self._end(record.INTERRUPTED, "stopped before its end; the same command resumes it")
        except OSError:
            return


class _Follow(TrainerCallback):
    """Writes steps, tokens, speed, memory and losses into the record as they come."""

    def __init__(self, run: record.RunRecord) -> None:
        self.run = run
        self.began = self.first_step = time.monotonic()
        self.tokens_at_start = 0
        self.counted: list[tuple[int, float]] = []
        self.written = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.began = time.monotonic()
        # The fused path has settled by now whether it merges micro-batches.
        self.run.update(steps_planned=state.max_steps, steps=state.global_step, fused=_fused())

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if not self.run.data.get("first_step"):
            self.run.data["first_step"] = record.now()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        logs = logs or {}
        if "loss" in logs:
            point = {
                "step": state.global_step,
                "loss": float(logs["loss"]),
                "learning_rate": float(logs.get("learning_rate", 0.0)),
                **preference_figures(logs),
            }
            kept = [p for p in self.run.data["losses"] if p["step"] < state.global_step]
            self.run.data["losses"] = [*kept, point]
            if "num_tokens" in logs:  # TRL's trainers count by themselves, from 0 when resumed
                self.counted = [*self.counted[:1], (int(logs["num_tokens"]), time.monotonic())]

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step <= 1 or not self.tokens_at_start:
            self.tokens_at_start = tokens_seen(state)
            self.first_step = time.monotonic()
        self.run.data |= {
            "steps": state.global_step,
            "epoch": state.epoch,
            # Axolotl resets CUDA's peak at each log, so the highest of all is kept here.
            "peak_memory_bytes": max(
                self.run.data.get("peak_memory_bytes", 0), facts.peak_memory_bytes()
            ),
        }
        if time.monotonic() - self.written > _WRITE_EVERY:
            self._count(state)
            self.run.update()
            self.written = time.monotonic()

    def _count(self, state: Any) -> None:
        """Tokens and speed so far; reading them waits for the GPU, so not after every step."""
        tokens, before = tokens_seen(state), self.run.data.get("tokens_before", 0)
        speed = _speed(tokens - self.tokens_at_start, time.monotonic() - self.first_step)
        if self.counted:
            (first, since), (last, now) = self.counted[0], self.counted[-1]
            speed = _speed(last - first, now - since)
            tokens = before + last
        seconds = time.monotonic() - self.began
        tokens = tokens or before  # TRL's trainer has logged nothing yet
        self.run.data |= {
            "tokens": tokens,
            "tokens_trained": tokens_seen(state, "trainable"),
            "seconds": self.run.data.get("seconds_before", 0.0) + seconds,
            "tokens_per_second": speed,
        }

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any
    ) -> None:
        loss = (metrics or {}).get("eval_loss")
        if loss is None:
            return
        losses = self.run.data["losses"]
        point = {
            "step": state.global_step,
            "train_loss": losses[-1]["loss"] if losses else None,
            "held_out_loss": float(loss),
        }
        if metrics.get(
            "eval_answers"
        ):  # of the plugin that watches answers, where a recipe names it
            point["answers"] = metrics["eval_answers"]
        point |= preference_figures(metrics, "eval_")
        kept = [p for p in self.run.data["evaluations"] if p["step"] != state.global_step]
        self.run.update(
            evaluations=sorted([*kept, point], key=lambda p: p["step"]),
            best_checkpoint=state.best_model_checkpoint,
        )
        self._draw()

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._count(state)
        self.run.update(best_checkpoint=state.best_model_checkpoint, steps=state.global_step)
        self._draw()

    def _draw(self) -> None:
        data = self.run.data
        if data["losses"]:
            draw_curves(
                data["losses"],
                data["evaluations"],
                data["run"],
                self.run.folder / "curves.png",
                chosen=checkpoint_step(data.get("best_checkpoint")),
                unit=f"loss of {str.upper(rl)}" if (rl := data["config"].get("rl")) else LOSS,
            )


def tokens_seen(state: Any, kind: str = "total") -> int:
    """Tokens so far, over all ranks, as Axolotl's trainer counts them.

    Args:
        state: the trainer's state.
        kind: ``total``, every position of a batch, or ``trainable``, those with a label.
    """
    return int((getattr(state, "tokens", None) or {}).get(kind, 0))


def _speed(tokens: int, seconds: float) -> float | None:
    return tokens / seconds if tokens > 0 and seconds > 0 else None


def _fused() -> dict[str, Any] | None:
    """How the fused path runs; None in a run without it."""
    module = sys.modules.get("plugins.fused.backends")
    return module.chosen() if module else None


def _is_main() -> bool:
    return os.environ.get("RANK", "0") == "0"


def _end_with_launcher() -> None:
    """Ask the kernel to end this process when its parent is killed, so that no orphan trains on."""
    if os.environ.get(PIPE_VARIABLE):
        end_with_parent()
