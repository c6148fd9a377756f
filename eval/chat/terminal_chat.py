"""The chat in a terminal; also without one, line by line from a pipe."""

from __future__ import annotations

import contextlib
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel

from datasets_prep.crisis import HELP_NOTICE
from eval.chat.conversation import ARMS_OF, ChatReply, ChatThread, Who
from eval.chat.exchange import exchange
from eval.chat.figures import figures_in_words
from eval.chat.model_process import ENDS, Event, ModelProcess
from eval.chat.session import NOT_A_CLINICIAN, Session
from recipes.runner.core.recipe import did_you_mean

_COMMANDS = {
    "/tuned": "the tuned model answers",
    "/base": "the base answers",
    "/both": "both answer the same message",
    "/export": "save the conversation: /export [FILE]",
    "/new": "begin a new conversation",
    "/help": "this list",
    "/quit": "leave (also Ctrl-D)",
}
# Everything that could move the cursor, change colours or hide text; a model's answer is untrusted.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class TerminalChat:
    """Reads messages and commands, prints answers as they come.

    Args:
        session: the run that is talked to.
        model: its process, started.
    """

    def __init__(self, session: Session, model: ModelProcess) -> None:
        self.session, self.model = session, model
        self.console = Console(highlight=False, soft_wrap=True)
        self.who: Who = "tuned"
        self.conversation = ChatThread()

    def run(self) -> int:
        """Until /quit or the end of the input; returns the exit code."""
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401 - input() then edits lines, longer than 4,096 characters too
        self.console.print(f"[bold]{escape(self.session.title)}[/bold]")
        self.console.print(NOT_A_CLINICIAN)
        self._help()
        while True:
            try:
                line = input(f"\nyou ({self.who}): ").strip()
            except EOFError:
                print()
                return 0
            except KeyboardInterrupt:
                self.console.print("\n[dim]/quit leaves[/dim]")
                continue
            if line == "/quit":
                return 0
            if line.startswith("/"):
                self._command(*line.split(maxsplit=1))
            elif line:
                self._answer(line)

    def _answer(self, message: str) -> None:
        """Ask, and print; Ctrl-C stops the answers, not the program."""
        events = exchange(self.model, self.conversation, message, self.who, self.session.settings)
        warned = self.conversation.in_crisis
        # One answer at a time on the screen; what the other says meanwhile waits its turn.
        order = list(ARMS_OF[self.who])
        held: dict[str, list[Event]] = {arm: [] for arm in order}
        with self._ctrl_c_stops():
            for event in events:
                if self.conversation.in_crisis and not warned:
                    warned = True
                    self._crisis()
                if event["kind"] == "asked":
                    self._name(order[0])
                    continue
                held[event["arm"]].append(event)
                while order and held[order[0]]:
                    if self._show(held[order[0]].pop(0)) == "ended":
                        order.pop(0)
                        if order:
                            self._name(order[0])

    def _name(self, arm: str) -> None:
        self.console.print(f"\n[bold cyan]{arm}:[/bold cyan] ", end="")

    def _show(self, event: Event) -> str:
        if event["kind"] == "text":
            print(printable(event["text"]), end="", flush=True)
        elif event["kind"] in ENDS:
            self._end(self.conversation.turns[-1].replies[event["arm"]])
            return "ended"
        return "going on"

    @contextlib.contextmanager
    def _ctrl_c_stops(self) -> Iterator[None]:
        def stop(*_: object) -> None:
            # In a thread: this one may hold the lock that stopping takes.
            Thread(target=self.model.stop, args=(self.conversation.id,)).start()

        before = signal.signal(signal.SIGINT, stop)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _end(self, reply: ChatReply) -> None:
        print()
        if reply.note:
            self.console.print(f"[yellow]{escape(reply.note)}[/yellow]")
        if reply.figures:
            self.console.print(f"[dim]{figures_in_words(reply.figures)}[/dim]")

    def _crisis(self) -> None:
        self.console.print()
        # A console of its own: one that wraps softly would cut the lines of a panel.
        Console(highlight=False).print(
            Panel(escape(HELP_NOTICE), title="Please read", border_style="red")
        )

    def _command(self, name: str, argument: str = "") -> None:
        if name in ("/tuned", "/base", "/both"):
            self.who = name[1:]  # type: ignore[assignment]
            self.console.print(f"[dim]{_COMMANDS[name]}[/dim]")
        elif name == "/export":
            self._export(argument)
        elif name == "/new":
            self.conversation = ChatThread()
            self.console.print("[dim]a new conversation[/dim]")
        elif name == "/help":
            self._help()
        else:
            hint = did_you_mean(name, _COMMANDS, "Commands")
            self.console.print(f"[red]there is no {escape(name)}.[/red] {escape(hint)}")

    def _export(self, file: str) -> None:
        if not self.conversation.turns:
            self.console.print("[red]there is nothing to save yet[/red]")
            return
        path = Path(file or f"chat-{self.conversation.id[:8]}.json").expanduser()
        try:
            with path.open("x", encoding="utf-8") as target:
                target.write(self.session.export(self.conversation))
        except FileExistsError:
            self.console.print(f"[red]{escape(str(path))} is there already.[/red] Name another")
        except OSError as error:
            self.console.print(f"[red]{escape(str(path))}: {error.strerror}[/red]")
        else:
            self.console.print(f"saved as {escape(str(path))}")

    def _help(self) -> None:
        width = max(map(len, _COMMANDS)) + 2
        for name, what in _COMMANDS.items():
            self.console.print(f"[dim]{name:<{width}}{escape(what)}[/dim]")
        self.console.print("[dim]Ctrl-C stops an answer[/dim]")


def printable(text: str) -> str:
    """Text without the characters that steer a terminal; line ends and tabs stay."""
    return _CONTROL.sub("", text)


def chat_in_terminal(session: Session, model: ModelProcess) -> int:
    """Talk until the user leaves; returns the exit code."""
    if not sys.stdin.isatty():
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    return TerminalChat(session, model).run()
