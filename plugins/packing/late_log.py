"""A step's line of log is written when the next step's work has been given to the GPU.

The Trainer reads a step's loss as soon as the step has been launched. That waits until the GPU is
done, and the GPU then waits for the next step: of a Falcon-7B step of 4,096 tokens on an H200 some
16 ms in 231. Here the numbers are copied to the host behind the step's work, and read one step
later, when they have long arrived.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from transformers.trainer_pt_utils import nested_gather


@dataclass
class _Line:
    """What a line of log needs of its step.

    Attributes:
        step: whose.
        epoch: likewise.
        steps: since the line before.
        loss: summed over them, on its way to the host.
        grad_norm: likewise, or a number, or None.
        learning_rate: of the step.
        tokens: counted so far, on their way to the host; None where nobody counts.
        arrived: when the numbers are on the host; None where they were at once.
    """

    step: int
    epoch: float | None
    steps: int
    loss: torch.Tensor
    grad_norm: torch.Tensor | float | None
    learning_rate: float
    tokens: dict[str, torch.Tensor] | None
    arrived: torch.cuda.Event | None


class LateLog:
    """Goes before a Trainer's class.

    Nothing is late where an evaluation, a checkpoint or the end follows, on a CPU, and under
    DeepSpeed, which reads the gradient's norm in every step anyway.
    """

    devices: tuple[str, ...] = ("cuda",)
    """Types of devices whose work the program runs ahead of."""
    _line: _Line | None = None

    def _maybe_log_save_evaluate(
        self,
        tr_loss: torch.Tensor,
        grad_norm: torch.Tensor | float | None,
        model: Any,
        trial: Any,
        epoch: float,
        ignore_keys_for_eval: list[str] | None,
        start_time: float,
        learning_rate: float | None = None,
    ) -> None:
        trainer: Any = self
        self._write_line(start_time)
        last, control = trainer._globalstep_last_logged, trainer.control
        due = control.should_log and trainer.state.global_step > last
        if due and self._can_wait():
            if learning_rate is None:
                learning_rate = trainer._get_learning_rate()
            self._line = self._take_line(tr_loss, grad_norm, float(learning_rate))
            trainer._globalstep_last_logged = trainer.state.global_step
            control.should_log = False
        super()._maybe_log_save_evaluate(  # type: ignore[misc]
            tr_loss, grad_norm, model, trial, epoch, ignore_keys_for_eval, start_time,
            learning_rate=learning_rate,
        )  # fmt: skip

    def _can_wait(self) -> bool:
        trainer: Any = self
        control = trainer.control
        follows = (
            control.should_evaluate, control.should_save, control.should_training_stop,
            control.should_epoch_stop,
        )  # fmt: skip
        return trainer.args.device.type in self.devices and not (
            any(follows) or trainer.is_deepspeed_enabled
        )

    def _take_line(
        self, tr_loss: torch.Tensor, grad_norm: torch.Tensor | float | None, learning_rate: float
    ) -> _Line:
        trainer: Any = self
        state = trainer.state
        # nanmean, as Axolotl has it: a rank's rows may have nothing to learn.
        loss = _to_host(nested_gather(tr_loss, trainer.args.parallel_mode).nanmean())
        tr_loss -= tr_loss
        if isinstance(grad_norm, torch.Tensor):
            # Under FSDP2 each rank has a part of it, and adding them up is a step of its own.
            whole = getattr(grad_norm, "full_tensor", None)
            grad_norm = _to_host(whole() if whole is not None else grad_norm)
        counted = getattr(state, "tokens", None)
        tokens = None
        if counted:
            tokens = {name: _to_host(torch.as_tensor(count)) for name, count in counted.items()}
        arrived = None
        if torch.cuda.is_available():
            arrived = torch.cuda.current_stream().record_event()
        return _Line(
            state.global_step, state.epoch, state.global_step - trainer._globalstep_last_logged,
            loss, grad_norm, learning_rate, tokens, arrived,
        )  # fmt: skip

    def _write_line(self, start_time: float) -> None:
        """Log the step before, where its line still waits, as it was then."""
        trainer: Any = self
        line, self._line = self._line, None
        if line is None:
            return
        if line.arrived is not None:
            line.arrived.synchronize()
        state = trainer.state
        total = line.loss.item()
        logs = {"loss": total / line.steps}
        if line.grad_norm is not None:
            logs["grad_norm"] = float(line.grad_norm)
        logs["learning_rate"] = line.learning_rate
        trainer._total_loss_scalar += total
        now = state.global_step, state.epoch, getattr(state, "tokens", None)
        should_log = trainer.control.should_log
        try:
            state.global_step, state.epoch = line.step, line.epoch
            if line.tokens is not None:
                state.tokens = line.tokens
            trainer.log(logs, start_time)
        finally:
            state.global_step, state.epoch = now[:2]
            if line.tokens is not None:
                state.tokens = now[2]
            trainer.control.should_log = should_log


def _to_host(x: torch.Tensor) -> torch.Tensor:
    """A copy of ``x`` in the host's memory, behind the GPU's work so far."""
    if not x.is_cuda:
        return x.detach().clone()
    host = torch.empty(x.shape, dtype=x.dtype, pin_memory=True)
    return host.copy_(x.detach(), non_blocking=True)
