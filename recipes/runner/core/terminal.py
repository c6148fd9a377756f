"""What a person sees of a run: a line for what is being done, a progress bar, a short end.

The process that trains sends events; the process that launched it draws them, and keeps library
noise out. Without a launcher (plain `axolotl train`) the same events are drawn where they arise.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

MARK = "\x1e"
"""First character of an event line on stdout; no library prints it."""
PIPE_VARIABLE = "FALCON_RECIPES_EVENTS"
"""Set by the launcher for the processes it starts: events go to stdout as lines."""

Event = dict[str, Any]

# Where there is no bar to redraw, a line is printed at most this often, in seconds.
LINE_EVERY = 20.0


class Terminal:
    """Draws events; safe to use without a terminal, where it prints plain lines."""

    def __init__(self) -> None:
        self.console = Console(stderr=False, highlight=False, soft_wrap=True)
        self._progress: Progress | None = None
        self._task: Any = None
        self._last_line = 0.0
        self.errors: list[str] = []
        self.steps_seen = 0

    def show(self, event: Event) -> None:
        """Draw one event; an unknown kind is left out."""
        draw = getattr(self, f"_show_{event.get('kind')}", None)
        if draw:
            draw(event)

    def close(self) -> None:
        """Take the progress bar away."""
        if self._progress:
            self._progress.stop()
            self._progress = None

    def _show_status(self, event: Event) -> None:
        self.console.print(escape(event["text"]))

    def _show_warning(self, event: Event) -> None:
        self.console.print(f"[yellow]warning:[/yellow] {escape(event['text'])}")

    def _show_note(self, event: Event) -> None:
        self.console.print(f"[dim]note: {escape(event['text'])}[/dim]")

    def _show_error(self, event: Event) -> None:
        self.close()
        for line in event["text"].splitlines():
            if line not in self.errors:
                self.errors.append(line)
                Console(stderr=True, highlight=False, soft_wrap=True).print(
                    f"[red]error:[/red] {escape(line)}"
                )

    def _show_progress(self, event: Event) -> None:
        self.steps_seen = event["step"]
        text = _progress_text(event)
        if self.console.is_terminal:
            if self._progress is None:
                self._progress = Progress(
                    TextColumn("training"),
                    BarColumn(),
                    MofNCompleteColumn(),
                    TextColumn("{task.fields[text]}"),
                    console=self.console,
                )
                self._task = self._progress.add_task("", total=event["of"], text="")
                self._progress.start()
            self._progress.update(self._task, completed=event["step"], total=event["of"], text=text)
        elif event["step"] >= event["of"] or time.monotonic() - self._last_line > LINE_EVERY:
            self._last_line = time.monotonic()
            self.console.print(f"step {event['step']}/{event['of']}  {text}")

    def _show_evaluation(self, event: Event) -> None:
        train = event.get("train_loss")
        side = f"train loss {train:.3f}   " if train is not None else ""
        best = "   (best so far)" if event.get("is_best") else ""
        self.console.print(
            f"step {event['step']}: {side}held-out loss {event['held_out_loss']:.3f}{best}"
        )

    def _show_answers(self, event: Event) -> None:
        self.console.print(f"step {event['step']}: answers {answers_text(event)}")

    def _show_summary(self, event: Event) -> None:
        self.close()
        for line in event["lines"]:
            self.console.print(escape(line))


def send(kind: str, **fields: Any) -> None:
    """Show an event to the user, wherever the terminal is; from rank 0, and errors from any."""
    if os.environ.get("RANK", "0") != "0" and kind != "error":
        return
    event = {"kind": kind, **fields}
    if os.environ.get(PIPE_VARIABLE):
        # Past sys.stdout, which Axolotl copies into its own log.
        os.write(1, f"{MARK}{json.dumps(event)}\n".encode())
    else:
        _own_terminal().show(event)


def parse(line: str) -> Event | None:
    """The event in a line of a child's output, or None when it is a library's."""
    if MARK not in line:
        return None
    try:
        event = json.loads(line.split(MARK, 1)[1])
    except ValueError:
        return None
    return event if isinstance(event, dict) else None


_terminal: Terminal | None = None


def _own_terminal() -> Terminal:
    global _terminal
    if _terminal is None:
        sys.stdout.flush()
        _terminal = Terminal()
    return _terminal


def _progress_text(event: Event) -> str:
    parts = []
    if event.get("loss") is not None:
        parts.append(f"loss {event['loss']:.3f}")
    if event.get("tokens_per_second"):
        parts.append(f"{event['tokens_per_second']:,.0f} tokens/s")
    if event.get("seconds_left") is not None:
        parts.append(f"{duration(event['seconds_left'])} left")
    return "  ".join(parts)


def answers_text(figures: dict[str, Any]) -> str:
    """What a handful of answers showed, in one line; a figure that is not there is left out.

    Args:
        figures: ``loops``, ``ends``, ``help`` and ``false_alarms`` as shares, ``tokens``.
    """
    words = (
        ("loops", "{:.0%} loop"),
        ("ends", "{:.0%} end by themselves"),
        ("tokens", "{:.0f} tokens"),
        ("help", "help named in danger {:.0%}"),
        ("false_alarms", "false alarms {:.0%}"),
    )
    return ", ".join(
        text.format(figures[key]) for key, text in words if figures.get(key) is not None
    )


def duration(seconds: float) -> str:
    """Seconds as a person says them: ``48 s``, ``3 min 20 s``, ``2 h 5 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
