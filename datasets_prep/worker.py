"""The row-wise steps on a batch of rows: what runs in parallel."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from datasets_prep.column_use import used
from datasets_prep.conversation import Ledger
from datasets_prep.definition import Definition
from datasets_prep.shapes import Shaper
from datasets_prep.steps import ROW_STEPS
from datasets_prep.store import RowBlock

Unit = tuple[int, Any]


@dataclass
class RowBatch:
    """The outcome of a batch: rows that go on, and the ledger lines of those that do not.

    Attributes:
        units: conversations that went in.
        block: what is left.
        ledger: a line for each row dropped or changed.
        flow: by step, turns, words and words of the assistant that are left after it.
        columns: columns of the rows that nothing reads.
        keys: keys of their turns that nothing reads.
    """

    units: int
    block: RowBlock
    ledger: list[dict[str, Any]] = field(default_factory=list)
    flow: dict[str, list[int]] = field(default_factory=dict)
    columns: set[str] = field(default_factory=set)
    keys: set[str] = field(default_factory=set)


class RowSteps:
    """The row-wise steps, as a definition says."""

    def __init__(self, definition: Definition, source_name: str) -> None:
        """Build the steps that the definition leaves on."""
        self.definition = definition
        self._open = Shaper(definition, source_name).open
        self._read = used(definition)
        self._dedupe = definition.steps.dedupe or None
        made = [(step.name, step.make(definition, source_name)) for step in ROW_STEPS]
        self._steps = [(name, work) for name, work in made if work is not None]

    def __call__(self, units: list[Unit]) -> RowBatch:
        """Run every row-wise step on a batch.

        Raises:
            UnknownRole: a turn has a role that the definition does not map.
        """
        batch = RowBatch(len(units), RowBlock())
        flow = {name: [0, 0, 0] for name, _ in self._steps}
        for number, unit in units:
            for row in unit if isinstance(unit, list) else [unit]:
                batch.columns.update(row.keys())
            conversation = self._open(number, unit)
            kept = True
            size = (0, 0, 0)
            for name, work in self._steps:
                ledger = Ledger(name)
                kept = work(conversation, ledger)
                batch.ledger += ledger.lines
                if not kept:
                    break
                if ledger.lines or name == "shape":
                    size = conversation.size()
                for index, value in enumerate(size):
                    flow[name][index] += value
            batch.keys.update(map(str, conversation.unread))
            if kept:
                batch.block.add(conversation, self._dedupe, size)
        batch.flow = flow
        batch.columns = {str(c) for c in batch.columns if str(c)[:1] != "\0"} - self._read
        return batch


_steps: RowSteps | None = None


def start(definition: Definition, source_name: str) -> None:
    """Build the steps once a process."""
    global _steps
    _steps = RowSteps(definition, source_name)


def run(units: list[Unit]) -> RowBatch:
    """`RowSteps` of this process on a batch."""
    assert _steps is not None, "start() first"
    return _steps(units)
