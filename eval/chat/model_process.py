"""The process that holds the model, seen from the page or the terminal."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypedDict

from eval.answers import ArmName, Messages
from recipes.runner.core.errors import UserError
from recipes.runner.core.recipe import ROOT

Event = dict[str, Any]
# The last event of an answer is of one of these kinds.
ENDS = ("done", "refused", "failed")
_Events = queue.SimpleQueue[Event]


class Request(TypedDict):
    """One answer that is wanted; the id is the caller's choice."""

    id: str
    arm: ArmName
    messages: Messages
    seed: str


class ModelProcess:
    """Starts the model's process, hands questions over, and starts it anew when it has died.

    Several threads may ask at the same time.

    Args:
        run: the run's folder.
    """

    def __init__(self, run: Path) -> None:
        self._run = run
        self._process: subprocess.Popen[str] | None = None
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - as long-lived as this
        self._lock = threading.Lock()
        self.waiting: dict[str, tuple[subprocess.Popen[str] | None, _Events]] = {}
        self.ready: Event = {}

    @property
    def pid(self) -> int | None:
        """Id of the process that holds the model; None before the start."""
        return self._process.pid if self._process else None

    def start(self) -> Event:
        """Load the model, unless it is loaded; returns the ``ready`` event.

        Raises:
            UserError: it can't be loaded.
        """
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._load()
            return self.ready

    def close(self) -> None:
        """End the process."""
        if self._process:
            self._process.kill()
            self._process.wait()

    def stop(self, prefix: str) -> None:
        """Stop every answer whose id begins so; what there is of it is kept."""
        for key in [key for key in self.waiting if key.startswith(prefix)]:
            self._send({"kind": "stop", "id": key})

    def ask(self, requests: list[Request]) -> Iterator[Event]:
        """Events of all these answers, as they come, until the last has ended.

        The last event of an answer is one of `ENDS`; see `eval.chat.worker`.
        One that is no longer listened to is stopped.
        """
        try:
            self.start()
        except UserError as error:
            for request in requests:
                yield {"kind": "failed", "id": request["id"], "text": str(error)}
            return
        events: _Events = queue.SimpleQueue()
        left = {request["id"] for request in requests}
        process = self._process
        self.waiting.update(dict.fromkeys(left, (process, events)))
        try:
            for request in requests:
                self._send({"kind": "ask", **request})
            if process is not None and process.poll() is not None:
                self._announce_death(process)
            while left:
                event = events.get()
                if event["id"] in left:
                    yield event
                if event["kind"] in ENDS:
                    left.discard(event["id"])
        finally:
            for key in left:
                self._send({"kind": "stop", "id": key})
            for request in requests:
                self.waiting.pop(request["id"], None)

    def _load(self) -> None:
        self._log.seek(0)
        self._log.truncate()
        process = subprocess.Popen(
            [sys.executable, "-m", "eval.chat.worker", str(self._run.resolve())],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            encoding="utf-8",
            # Threads that wait by spinning starve each other on a busy CPU: tokens took ten times
            # as long beside another job.
            env={"OMP_WAIT_POLICY": "PASSIVE", **os.environ},
            # Ctrl-C in the terminal stops an answer, and must not reach the model.
            start_new_session=True,
        )
        assert process.stdout is not None
        line = process.stdout.readline()
        event: Event = json.loads(line) if line else {}
        if event.get("kind") != "ready":
            process.kill()
            process.wait()
            raise UserError(event.get("text") or f"The model can't be loaded: {self._last_words()}")
        self._process, self.ready = process, event
        threading.Thread(target=self._listen, args=(process,), daemon=True).start()

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            event = json.loads(line)
            waiting = self.waiting.get(event["id"])
            if waiting is not None:
                waiting[1].put(event)
        process.wait()
        self._announce_death(process)

    def _announce_death(self, process: subprocess.Popen[str]) -> None:
        text = (
            f"The model's process has died ({_cause(process.returncode)}). The conversation is "
            "kept. Send again: the model is then loaded anew."
        )
        for key, (asked, waiting) in list(self.waiting.items()):
            if asked is process:
                waiting.put({"kind": "failed", "id": key, "text": text})

    def _send(self, line: dict[str, Any]) -> None:
        process = self._process
        assert process is not None and process.stdin is not None
        try:
            with self._lock:
                process.stdin.write(json.dumps(line) + "\n")
                process.stdin.flush()
        except (OSError, ValueError):
            pass  # It has died, and its listener says so.

    def _last_words(self) -> str:
        self._log.seek(0)
        lines = [line.strip() for line in self._log.read().splitlines() if line.strip()]
        return lines[-1][:300] if lines else "it ended without a word"


def _cause(code: int) -> str:
    """An exit code in words."""
    if code >= 0:
        return f"exit code {code}"
    name = signal.Signals(-code).name
    return f"{name}, often a sign that memory ran out" if name == "SIGKILL" else name
