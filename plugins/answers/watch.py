"""The callback: answers at each evaluation, the rule that chooses, the warning."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from transformers import TrainerCallback

from plugins.answers.greedy import Answer
from plugins.answers.measure import measure
from plugins.answers.prompts import Prompt
from recipes.runner.core.terminal import send

METRIC = "eval_sound_answers_loss"
"""Held-out loss, lifted by `_LIFT` when more answers loop than the rule allows, fewer name help in
danger than before the first step, or, under preferences, more harmless prompts are met as a crisis:
what `metric_for_best_model` names to have the best checkpoint chosen by all of it. It ends in
"loss", since transformers takes a metric of another name for one where more is better, and Axolotl
passes no `greater_is_better: false` on."""
FIGURES = "eval_answers"
"""Where an evaluation's metrics hold the figures of its answers."""
_LIFT = 100.0
_MORE_THAN_ONE = 1.5
"""Answers: one more or less is no trend."""


class WatchAnswers(TrainerCallback):
    """Asks, measures, and adds what it found to the evaluation's metrics.

    It has to come before every callback that reads those metrics.

    Args:
        prompts: what is asked.
        ask: answers them with the model as it stands; called on every rank.
        most_loops: share of answers that may loop in a checkpoint that is chosen, unless fewer
            of the base's do.
        base: figures of the base, where an earlier part of the run measured them.
        calm: whether training goes on from answers that are calm where they should be, so that
            more false alarms than before the first step are a loss. A plain base raises none.

    Attributes:
        warning: the warning's text once it was given.
        seconds: spent on answers so far.
    """

    def __init__(
        self,
        prompts: Sequence[Prompt],
        ask: Callable[[], list[Answer]],
        most_loops: float,
        base: dict[str, Any] | None = None,
        calm: bool = False,
    ) -> None:
        self.prompts = prompts
        self.ask = ask
        self.most_loops = most_loops
        self.base = base
        self.calm = calm
        self.warning: str | None = None
        self.seconds = 0.0
        self._last: tuple[float, dict[str, Any]] | None = None
        self._kept: list[bool] = []

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any
    ) -> None:
        """Measure the answers; say it when they get worse while the loss falls."""
        if metrics is None or "eval_loss" not in metrics:
            return
        loss = float(metrics["eval_loss"])
        began = time.monotonic()
        answers = self.ask()
        figures = measure(self.prompts, answers)
        took = time.monotonic() - began
        self.seconds += took
        if state.global_step == 0:
            self.base = figures
        metrics[FIGURES] = figures | {
            "seconds": round(took, 2),
            "texts": {p.id: a.text for p, a in zip(self.prompts, answers, strict=True)},
        }
        sound = figures["loops"] <= self.allowed() and not self._lost(figures)
        metrics[METRIC] = loss + (0.0 if sound else _LIFT)
        if state.global_step > 0:
            self._kept.append(sound)
        send("answers", step=state.global_step, **figures)
        self._compare(state.global_step, loss, figures)
        self._last = (loss, figures)

    def allowed(self) -> float:
        """The share of answers that may loop: the base's, and no more than `most_loops`."""
        return min(self.most_loops, self.base["loops"]) if self.base else self.most_loops

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Say it when there was no checkpoint that the rule allows."""
        if self._kept and not any(self._kept):
            calm = ", no more false alarms than then" if self.calm else ""
            send(
                "warning",
                text="no checkpoint kept what the rule asks (no more loops than allowed, help in"
                f" danger named as often as before the first step{calm}): the one with the lowest"
                " held-out loss is kept, and what it began from may be the better model",
            )

    def _lost(self, now: dict[str, Any]) -> bool:
        """Whether help in danger, or calm where nobody is, is less than before the first step."""
        kept = ("help", "false_alarms") if self.calm else ("help",)
        return any(self._worse(self.base or {}, now, key) for key in kept)

    def _worse(self, before: dict[str, Any], now: dict[str, Any], key: str) -> bool:
        if before.get(key) is None or now[key] is None:
            return False
        worse = _SIGNS[key] * (now[key] - before[key])
        return bool(worse > _MORE_THAN_ONE / _answers(self.prompts, key))

    def _compare(self, step: int, loss: float, now: dict[str, Any]) -> None:
        if self._last is None or self.warning or loss >= self._last[0]:
            return
        before = self._last[1]
        worse = [
            f"{words} {100 * before[key]:.0f}% to {100 * now[key]:.0f}%"
            for key, words in _WORDS.items()
            if self._worse(before, now, key)
        ]
        if worse:
            self.warning = (
                f"answers get worse while the held-out loss falls (step {step}): "
                f"{', '.join(worse)}. Read them in run.json before trusting the loss"
            )
            send("warning", text=self.warning)


_WORDS = {
    "loops": "loop",
    "ends": "end by themselves",
    "help": "name help in danger",
    "false_alarms": "false alarms",
}
_SIGNS = {"loops": 1, "ends": -1, "help": -1, "false_alarms": 1}  # which way is worse


def _answers(prompts: Sequence[Prompt], key: str) -> int:
    kind = {"help": "danger", "false_alarms": "harmless"}.get(key)
    return sum(kind is None or p.kind == kind for p in prompts)
