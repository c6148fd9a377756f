"""Sends what a person wants to see of a run: what is done, how far it is, and how it ended."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from axolotl.integrations.base import BasePlugin
from transformers import PrinterCallback, ProgressCallback, TrainerCallback

from plugins.run_record.plugin import tokens_seen
from recipes.runner.core.recipe import display_path
from recipes.runner.core.terminal import answers_text, duration, send
from recipes.runner.run.outcome import kept_evaluation, price
from recipes.runner.run.record import read_record


class TerminalPlugin(BasePlugin):
    """A progress bar with loss, tokens/s and time left; at the end, what to run next."""

    def add_callbacks_post_trainer(self, cfg: Any, trainer: Any) -> list[TrainerCallback]:
        """Put one progress bar in place of the Trainer's own."""
        for callback in (ProgressCallback, PrinterCallback):
            trainer.remove_callback(callback)
        return [_Show()]

    def post_train_unload(self, cfg: Any) -> None:
        """Say what came out, and what to run next."""
        folder = Path(cfg.output_dir)
        send("summary", lines=summary_lines(folder, read_record(folder)))


class _Show(TrainerCallback):
    def __init__(self) -> None:
        self.loss: float | None = None
        self.began = time.monotonic()
        self.start_step = 0
        self.start_tokens = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.began, self.start_step = time.monotonic(), state.global_step
        send("status", text=f"Training for {state.max_steps} steps ...")

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.start_step:
            self.began = time.monotonic()
            self.start_tokens = tokens_seen(state)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        if logs and "loss" in logs:
            self.loss = float(logs["loss"])
            self._send(state)

    def _send(self, state: Any) -> None:
        seconds = time.monotonic() - self.began
        done = state.global_step - self.start_step
        send(
            "progress",
            step=state.global_step,
            of=state.max_steps,
            loss=self.loss,
            tokens_per_second=(tokens_seen(state) - self.start_tokens) / seconds,
            seconds_left=seconds / done * (state.max_steps - state.global_step) if done else None,
        )


def summary_lines(folder: Path, run: dict[str, Any]) -> list[str]:
    """The last lines of a run: held-out loss before and after, the adapter, what to run next."""
    lines = [""]
    evaluations = run.get("evaluations") or []
    best = kept_evaluation(run)
    if len(evaluations) > 1 and best:
        first = evaluations[0]
        before, after = first["held_out_loss"], best["held_out_loss"]
        lines.append(
            f"Held-out loss   {before:.3f} before, {after:.3f} after"
            f" ({100 * (after / before - 1):+.1f}%, kept: step {best['step']})"
        )
        if first.get("answers") and best.get("answers"):
            lines.append(f"Answers before  {answers_text(first['answers'])}")
            lines.append(f"Answers after   {answers_text(best['answers'])}")
        if lost := price(run):
            lines.append(f"The price       {lost}")
    if run.get("status") == "stopped early":
        lines.append(f"Stopped early   at step {run.get('steps')} of {run.get('steps_planned')}")
    if run.get("seconds"):
        speed = run.get("tokens_per_second")
        lines.append(
            f"Time            {duration(run['seconds'])} of training"
            + (f", {speed:,.0f} tokens/s" if speed else "")
        )
    adapter = folder / "adapter_model.safetensors"
    lines.append(f"Adapter         {display_path(adapter)}")
    lines.append(
        f"Record          {display_path(folder / 'run.json')}, README.md and curves.png beside it"
    )
    lines.append(f"Next            make eval RUN={folder.name}{_against(run.get('config') or {})}")
    return lines


def _against(config: dict[str, Any]) -> str:
    """What a run on preferences is held against: the run that it went on from."""
    before = Path(str(config.get("lora_model_dir") or ""))
    if not config.get("rl") or not before.name:
        return ""
    return f" AGAINST={before.name if before.parent.name == 'runs' else before}"
