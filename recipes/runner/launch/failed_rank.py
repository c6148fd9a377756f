"""Which rank ended a run: read from what torch's launcher says at the end."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable
from dataclasses import dataclass

_REPORT = "torch.distributed.elastic.multiprocessing.errors.ChildFailedError"
_FIELD = re.compile(r"^\s*(host|rank|exitcode)\s*:\s*(\S+)")
# The launcher's own lines, which would push a rank's last words off the screen.
_LAUNCHER = re.compile(r"^([WE]\d{4} .*torch/distributed/|Traceback \(most recent call last\))")


@dataclass(frozen=True)
class FailedRank:
    """The rank whose end ended the run.

    Attributes:
        rank: its number, over all machines.
        host: the machine it ran on.
        code: its exit code; minus the signal's number where a signal ended it.
    """

    rank: int
    host: str
    code: int

    @property
    def by_signal(self) -> bool:
        """Whether it was killed, rather than failing by itself."""
        return self.code < 0

    def __str__(self) -> str:
        """Rank, host and how it ended, for a person."""
        return f"rank {self.rank} on {self.host} {how_it_ended(self.code)}"


def how_it_ended(code: int) -> str:
    """The exit code of a process in words; below 0 it is minus a signal's number."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    why = ", by hand or by the system when out of memory" if -code == signal.SIGKILL else ""
    return f"was killed ({name}{why})"


def find_failed_rank(lines: Iterable[str]) -> FailedRank | None:
    """The rank that failed first, from a log's last lines; None where the log names none.

    A rank that was killed comes before those that fail because it is gone, and those before the
    ones that the launcher ends with SIGTERM.
    """
    found: list[FailedRank] = []
    fields: dict[str, str] = {}
    for line in lines:
        match = _FIELD.match(line)
        if match is None:
            continue
        fields[match[1]] = match[2]
        if match[1] == "exitcode" and fields.keys() >= {"host", "rank"}:
            found.append(FailedRank(int(fields["rank"]), fields["host"], int(fields["exitcode"])))
            fields = {}
    order = {True: 0, False: 1}
    return min(
        found,
        key=lambda one: 2 if one.code == -signal.SIGTERM else order[one.by_signal],
        default=None,
    )


def last_words(lines: Iterable[str]) -> list[str]:
    """The lines before the launcher's own report."""
    words: list[str] = []
    for line in lines:
        if _REPORT in line or _LAUNCHER.match(line):
            break
        if line.strip():
            words.append(line)
    return words
