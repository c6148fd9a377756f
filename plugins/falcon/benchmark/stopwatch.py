"""The Axolotl plugin in every run of the benchmark: time, tokens and memory of its steps."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import torch
from axolotl.integrations.base import BasePlugin
from torch import nn
from transformers import TrainerCallback

from plugins.falcon.benchmark.cases import RESULT_VARIABLE, WARM_UP_VARIABLE
from plugins.fused.backends import chosen
from plugins.run_record.facts import base_as_held, peak_memory_bytes
from recipes.runner.core.fallbacks import fallbacks_taken


class StopwatchPlugin(BasePlugin):
    """Measures whole optimizer steps, data loading included, after some to warm up."""

    def add_callbacks_post_trainer(self, cfg: Any, trainer: Any) -> list[TrainerCallback]:
        """Watch the batches that reach the model, and the steps."""
        return [Stopwatch(trainer.model)]


class Stopwatch(TrainerCallback):
    """Writes one JSON file when training ends.

    Args:
        model: whose calls in training are counted.
    """

    def __init__(self, model: nn.Module) -> None:
        self.counts: list[torch.Tensor | int] = []
        self.marks: list[tuple[float, int, int]] = []
        self.positions = 0
        self.peak = self.reserved = 0
        self.warm_up = int(os.environ[WARM_UP_VARIABLE])
        self.model = model
        model.register_forward_pre_hook(self._count, with_kwargs=True)

    def _count(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        ids = kwargs["input_ids"]
        self.positions += ids.numel()
        # By the token, since a packed batch may bring no mask. Summed at the end: reading the
        # number now would wait for the GPU.
        padding = getattr(self.model.config, "pad_token_id", None)
        self.counts.append(ids.numel() if padding is None else ids.ne(padding).sum())

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Note the peak since the start, and the time where the measured steps begin and end.

        Axolotl resets the card's peak when it logs, which is after this.
        """
        self.peak = max(self.peak, peak_memory_bytes())
        if torch.cuda.is_available():
            self.reserved = max(self.reserved, torch.cuda.max_memory_reserved())
        if state.global_step in (self.warm_up, state.max_steps):
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            self.marks.append((time.perf_counter(), self.positions, len(self.counts)))

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Write what was measured."""
        (began, positions_before, counted), (ended, positions_after, _) = self.marks
        seconds, positions = ended - began, positions_after - positions_before
        steps = state.max_steps - self.warm_up
        real = sum(int(n) for n in self.counts[counted:])
        losses = [entry["loss"] for entry in state.log_history if "loss" in entry]
        result = {
            "steps_measured": steps,
            "seconds": seconds,
            "positions_per_step": positions / steps,
            "tokens_per_second": positions / seconds,
            "useful_tokens_per_second": real / seconds,
            "peak_memory_bytes": self.peak,
            "reserved_memory_bytes": self.reserved,
            "losses": losses,
            "base_as_held": base_as_held(self.model),
            "chosen": chosen(),
            "fallbacks": fallbacks_taken(),
        }
        Path(os.environ[RESULT_VARIABLE]).write_text(json.dumps(result), encoding="utf-8")
