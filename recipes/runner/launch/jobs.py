"""Commands, some at a time, each on its own device; they end when this process is told to."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from recipes.runner.core.processes import end_with_parent

# A training command stops its ranks within 25 s; past this it is killed with all below it.
_PATIENCE = 40.0
_LONGEST_LINE = 2**20
UNTIL_VARIABLE = "FALCON_RECIPES_UNTIL"
"""Of a job with a time limit: when it ends, by the clock that all processes share, in seconds."""


@dataclass(frozen=True)
class Job:
    """One command.

    Attributes:
        name: how it is called on the terminal.
        command: the program and its arguments.
    """

    name: str
    command: Sequence[str]


@dataclass(frozen=True)
class JobsOutcome:
    """How the jobs ended.

    Attributes:
        codes: name to exit code, of the jobs that were started; negative for a signal.
        interrupted: whether Ctrl-C or SIGTERM stopped them before their end.
        late: whether their time ran out before their end.
    """

    codes: dict[str, int]
    interrupted: bool
    late: bool = False


def run_jobs(
    jobs: Sequence[Job],
    slots: Sequence[dict[str, str]],
    announce: Callable[[Job], None],
    ended: Callable[[Job, int], None],
    seconds: float | None = None,
) -> JobsOutcome:
    """Run every job, whatever becomes of the others; as many at a time as there are slots.

    With one slot a job writes to this terminal itself; with more, each line of theirs is shown
    with the job's name before it.

    Args:
        jobs: in the order they are started.
        slots: for each place, variables of the jobs that run in it (its device).
        announce: called before a job starts.
        ended: called with its exit code when it has ended.
        seconds: stop what still runs after so long, as Ctrl-C would; None: no limit.
    """
    return asyncio.run(_Runner(jobs, slots, announce, ended).run(seconds))


def time_is_up() -> bool:
    """Whether this process is a job whose time limit has passed."""
    until = os.environ.get(UNTIL_VARIABLE)
    return until is not None and time.monotonic() >= float(until)


class _Runner:
    def __init__(
        self,
        jobs: Sequence[Job],
        slots: Sequence[dict[str, str]],
        announce: Callable[[Job], None],
        ended: Callable[[Job, int], None],
    ) -> None:
        self._waiting = list(reversed(jobs))
        self._slots = slots
        self._announce, self._ended = announce, ended
        self._stop = asyncio.Event()
        self._late = False
        self._limit: dict[str, str] = {}
        self._codes: dict[str, int] = {}

    async def run(self, seconds: float | None) -> JobsOutcome:
        loop = asyncio.get_running_loop()
        timer = None
        if seconds is not None:
            # Before the timer, which then never ends a job that thinks it has time left.
            self._limit = {UNTIL_VARIABLE: str(time.monotonic() + seconds)}
            timer = loop.call_later(seconds, self._end_late)
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop.set)
        await asyncio.gather(*(self._work(slot) for slot in self._slots))
        if timer is not None:
            timer.cancel()
        return JobsOutcome(self._codes, self._stop.is_set() and not self._late, self._late)

    def _end_late(self) -> None:
        self._late = not self._stop.is_set()
        self._stop.set()

    async def _work(self, slot: dict[str, str]) -> None:
        while self._waiting and not self._stop.is_set():
            job = self._waiting.pop()
            self._announce(job)
            code = self._codes[job.name] = await self._run(job, slot)
            self._ended(job, code)

    async def _run(self, job: Job, slot: dict[str, str]) -> int:
        output = None if len(self._slots) == 1 else PIPE
        # A session of its own: Ctrl-C reaches it once, from here, and not from the terminal too.
        process = await asyncio.create_subprocess_exec(
            *job.command,
            env={**os.environ, **slot, **self._limit},
            stdin=DEVNULL,
            stdout=output,
            stderr=output and STDOUT,
            limit=_LONGEST_LINE,
            start_new_session=True,
            preexec_fn=end_with_parent,
        )
        reading = asyncio.ensure_future(_show_lines(process, job.name))
        code = await self._end_of(process)
        await reading
        return code

    async def _end_of(self, process: Process) -> int:
        """Wait for the end; when told to stop, ask for it as Ctrl-C would, then insist."""
        ending = asyncio.ensure_future(process.wait())
        stopping = asyncio.ensure_future(self._stop.wait())
        await asyncio.wait({ending, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not ending.done():
            _signal(process, signal.SIGINT)
            await asyncio.wait({ending}, timeout=_PATIENCE)
            if not ending.done():
                _signal(process, signal.SIGKILL)
        return await ending


def _signal(process: Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        if number == signal.SIGKILL:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)


async def _show_lines(process: Process, name: str) -> None:
    if process.stdout is None:
        return
    while line := await process.stdout.readline():
        print(f"{name} | {line.decode(errors='replace').rstrip()}", flush=True)
