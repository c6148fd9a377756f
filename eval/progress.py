"""How far something is that takes minutes: a bar, or without a terminal a line now and then."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from recipes.runner.core.terminal import LINE_EVERY, duration

_LOOKS_BACK = 180.0  # seconds that the time left is estimated from


class _Lines(Progress):
    """A bar that is drawn on a terminal alone; elsewhere a line each `LINE_EVERY` seconds.

    What is over within the first of them says nothing.
    """

    def __init__(self, *columns: Any, console: Console) -> None:
        # Answers come by the batch: one may take as long as rich looks back by default.
        super().__init__(
            *columns,
            console=console,
            disable=not console.is_terminal,
            speed_estimate_period=_LOOKS_BACK,
        )
        self._last_line = time.monotonic()

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        """As rich's; says it where nothing is drawn."""
        super().advance(task_id, advance)
        now = time.monotonic()
        if not self.disable or now - self._last_line < LINE_EVERY:
            return
        self._last_line = now
        task = self._tasks[task_id]
        left = task.time_remaining
        self.console.print(
            f"{task.description}: {task.completed:,.0f} of {task.total or 0:,.0f}"
            + (f", {duration(left)} left" if left else ""),
            highlight=False, markup=False, soft_wrap=True,
        )  # fmt: skip


def progress_bar(console: Console) -> Progress:
    """A bar with the time that is left; lines of the same where the output is no terminal."""
    return _Lines(
        TextColumn("{task.description:<22}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
    )
