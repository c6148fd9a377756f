"""The process that holds the model: JSON lines in, JSON lines out.

In:  ``{"kind": "ask", "id", "arm", "messages", "seed"}`` and ``{"kind": "stop", "id"}``.
Out: ``ready`` or ``error`` once; then for each id ``started``, ``text`` as often as there is some,
and at last ``done``, ``refused`` (too long) or ``failed``. All answers that are asked for take
turns, token by token, on the one model.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import sys
import threading
import time
from typing import Any, TextIO

from eval.quiet import quiet_libraries
from recipes.runner.core.errors import UserError

Line = dict[str, Any]


def main(argv: list[str] | None = None) -> int:
    """Load, answer until the standard input ends; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m eval.chat.worker", description=__doc__)
    parser.add_argument("run", help="the run's folder")
    run = parser.parse_args(argv).run
    # The pipe is for lines of ours alone; what a library prints goes where errors go.
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    quiet_libraries()
    try:
        worker = Worker(run, out)
    except UserError as error:
        _send(out, {"kind": "error", "text": str(error)})
        return 1
    lines: queue.SimpleQueue[Line] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(lines,), daemon=True).start()
    worker.serve(lines)
    return 0


class Worker:
    """Both arms on one model, and the answers under way.

    Args:
        run: the run's folder.
        out: where lines go.

    Raises:
        UserError: whatever is wrong with the run, its base or its adapter.
    """

    def __init__(self, run: str, out: TextIO) -> None:
        from eval.chat.settings import settings_of
        from eval.generation.arms import local_arms
        from eval.generation.base_model import load_base
        from recipes.runner.run.finished import find_run

        began = time.monotonic()
        found = find_run(run, None)
        found.check_adapter()
        base = load_base(found.config)
        self.arms = {arm.name: arm for arm in local_arms(found, base)}
        self.context = base.context
        self.settings = settings_of(found.config)
        self._out = out
        self._answers: dict[str, tuple[str, Any]] = {}
        self._adapter_on: bool | None = None
        seconds = round(time.monotonic() - began, 1)
        _send(out, {"kind": "ready", "held": base.held, "context": base.context, "load": seconds})

    def serve(self, lines: queue.SimpleQueue[Line]) -> None:
        """Read and answer, for ever."""
        while True:
            while not self._answers or not lines.empty():
                self._take(lines.get())
            for key in list(self._answers):
                self._step(key)

    def _take(self, line: Line) -> None:
        key = str(line["id"])
        if line["kind"] == "stop":
            if key in self._answers:
                self._report(key, self._answers[key][1].stop())
            return
        try:
            self._start(key, line)
        except Exception as error:
            self._fail(key, error)

    def _start(self, key: str, line: Line) -> None:
        from eval.chat.answering import Answering, TooLong, fit
        from eval.generation.generate import derived_seed

        arm = self.arms[line["arm"]]
        limit = self.settings.max_new_tokens
        try:
            ids, dropped = fit(arm.tokenizer, line["messages"], self.context, limit)
        except TooLong as error:
            self._send(key, "refused", text=str(error))
            return
        seed = derived_seed(self.settings.seed, line["seed"])
        answering = Answering(
            arm.model, arm.tokenizer, ids, self.context, self.settings, arm.ends, seed
        )
        self._answers[key] = (arm.name, answering)
        self._send(key, "started", dropped=dropped, prompt_tokens=len(ids))

    def _step(self, key: str) -> None:
        arm, answering = self._answers[key]
        try:
            self._switch(arm == "tuned")
            self._report(key, answering.step())
        except Exception as error:
            self._fail(key, error)

    def _switch(self, on: bool) -> None:
        if on is self._adapter_on:
            return
        model = self.arms["tuned"].model
        (model.enable_adapter_layers if on else model.disable_adapter_layers)()
        self._adapter_on = on

    def _report(self, key: str, text: str) -> None:
        answering = self._answers[key][1]
        if text:
            self._send(key, "text", text=text)
        if answering.reason:
            del self._answers[key]
            self._send(key, "done", reason=answering.reason, **answering.figures())

    def _fail(self, key: str, error: Exception) -> None:
        from eval.generation.generate import out_of_memory

        self._answers.pop(key, None)
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        text = (
            "Memory ran out. Begin a new conversation, or write less."
            if out_of_memory(error)
            else f"The model failed: {first[:300]}"
        )
        self._send(key, "failed", text=text)

    def _send(self, key: str, kind: str, **fields: Any) -> None:
        _send(self._out, {"kind": kind, "id": key, **fields})


def _send(out: TextIO, line: Line) -> None:
    out.write(json.dumps(line) + "\n")
    out.flush()


def _read(lines: queue.SimpleQueue[Line]) -> None:
    for text in sys.stdin:
        lines.put(json.loads(text))
    # Whoever asked is gone; answers under way are for nobody.
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
