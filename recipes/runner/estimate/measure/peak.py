"""The Axolotl plugin in every measured run: the most memory that torch held."""

from __future__ import annotations

import json
import os
import resource
from pathlib import Path
from typing import Any

import torch
from axolotl.integrations.base import BasePlugin
from transformers import TrainerCallback

RESULT_VARIABLE = "MEASURED_PEAK"


class PeakPlugin(BasePlugin):
    """Writes the peak of training to the file that the environment names."""

    def post_model_load(self, cfg: Any, model: Any) -> None:
        """Forget what loading took: the peak of training is asked for."""
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()

    def add_callbacks_post_trainer(self, cfg: Any, trainer: Any) -> list[TrainerCallback]:
        """Watch the steps."""
        return [_Peak()]


class _Peak(TrainerCallback):
    def __init__(self) -> None:
        self.peak = 0

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Axolotl resets the card's peak when it logs, which is after this."""
        self.peak = max(self.peak, _held())

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        model = kwargs["model"]
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
        result = {"peak_bytes": self.peak, "trained": trained, "steps": state.global_step}
        Path(os.environ[RESULT_VARIABLE]).write_text(json.dumps(result), encoding="utf-8")


def _held() -> int:
    """`max_memory_allocated` of the card; without one, the most that the process has held."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
