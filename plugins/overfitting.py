"""Says when a run learns its data by heart: train loss falls on, held-out loss doesn't."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from axolotl.integrations.base import BasePlugin
from pydantic import BaseModel, ConfigDict, Field
from transformers import TrainerCallback

from recipes.runner.core.recipe import display_path
from recipes.runner.core.terminal import send


class OverfittingOptions(BaseModel):
    """When to warn."""

    model_config = ConfigDict(extra="forbid")

    evaluations: int = Field(default=2, ge=1)
    """Warn when the gap between held-out and train loss has grown this often in a row, with the
    held-out loss above its best."""


class OverfittingArgs(BaseModel):
    """What the plugin adds to Axolotl's configuration."""

    overfitting_watch: OverfittingOptions = Field(default_factory=OverfittingOptions)


class OverfittingWatchPlugin(BasePlugin):
    """Shows both losses at each evaluation, and warns once when they part."""

    def get_input_args(self) -> str:
        """Where Axolotl finds the schema of the `overfitting_watch:` block."""
        return "plugins.overfitting.OverfittingArgs"

    def add_callbacks_post_trainer(self, cfg: Any, trainer: Any) -> list[TrainerCallback]:
        """Watch the evaluations."""
        options = OverfittingOptions(**dict(cfg.get("overfitting_watch") or {}))
        return [OverfittingWatch(options.evaluations)]


class OverfittingWatch(TrainerCallback):
    """Compares train and held-out loss from evaluation to evaluation.

    Args:
        patience: evaluations in a row with a growing gap before the one warning.

    Attributes:
        warning: the warning's text once it was given.
    """

    def __init__(self, patience: int) -> None:
        self.patience = patience
        self.warning: str | None = None
        self._train_losses: list[float] = []
        self._gap: float | None = None
        self._best: tuple[float, int] | None = None
        self._growing = 0

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Collect the train loss since the last evaluation."""
        if logs and "loss" in logs:
            self._train_losses.append(float(logs["loss"]))

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any
    ) -> None:
        """Show both losses; warn when the gap has opened for long enough."""
        held_out = (metrics or {}).get("eval_loss")
        if held_out is None:
            return
        # The mean since the last evaluation: one batch's loss tells of that batch alone.
        losses, self._train_losses = self._train_losses, []
        train = sum(losses) / len(losses) if losses else None
        is_best = self._best is None or held_out < self._best[0]
        if is_best:
            self._best = (float(held_out), state.global_step)
        send(
            "evaluation",
            step=state.global_step,
            train_loss=train,
            held_out_loss=float(held_out),
            is_best=is_best and state.global_step > 0,
        )
        if train is None:
            return
        gap = float(held_out) - train
        widens = self._gap is not None and gap > self._gap and not is_best
        self._growing = self._growing + 1 if widens else 0
        self._gap = gap
        if self._growing >= self.patience and self.warning is None:
            self._warn(args, state)

    def _warn(self, args: Any, state: Any) -> None:
        assert self._best is not None
        loss, step = self._best
        kept = Path(args.output_dir) / f"checkpoint-{step}"
        where = f", kept in {display_path(kept)}" if kept.exists() else ""
        self.warning = (
            f"overfitting: the gap between train and held-out loss has opened for {self._growing}"
            f" evaluations in a row (now {self._gap:.2f}). Best so far: step {step}, held-out loss"
            f" {loss:.3f}{where}. More steps learn the data by heart: stop, or use fewer epochs,"
            " a smaller rank or more data"
        )
        send("warning", text=self.warning)
