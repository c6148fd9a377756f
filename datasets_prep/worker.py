"""The row-wise steps on a batch of rows: what runs in parallel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from datasets_prep.column_use import used
from datasets_prep.conversation import Conversation, Ledger
from datasets_prep.definition import Definition
from datasets_prep.readers import AT, FILE
from datasets_prep.shapes import Shaper
from datasets_prep.snapshots import packed, unpacked
from datasets_prep.steps import ROW_STAGES, RowWork
from datasets_prep.store import RowBlock

Unit = tuple[int, Any]
# Rows, or what a stage of an earlier run left of them.
Batch = list[Unit] | bytes
# A conversation after a step, and its ledger lines so far; None for one that was dropped.
_Talk = tuple[Conversation | None, list[dict[str, Any]]]


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
        kept: by stage, the batch as it was left, for `RowSteps.resumed`.
    """

    units: int
    block: RowBlock
    ledger: list[dict[str, Any]] = field(default_factory=list)
    flow: dict[str, list[int]] = field(default_factory=dict)
    columns: set[str] = field(default_factory=set)
    keys: set[str] = field(default_factory=set)
    kept: dict[str, bytes] = field(default_factory=dict)


class RowSteps:
    """The row-wise steps, as a definition says.

    Args:
        definition: the source's own.
        source_name: for messages.
        done: the stage whose outcome the batches are; empty when they are rows.
        keep: whether to hand back what each stage leaves.
    """

    def __init__(
        self, definition: Definition, source_name: str, done: str = "", keep: bool = False
    ) -> None:
        """Build the steps that the definition leaves on."""
        self.definition = definition
        self._open = Shaper(definition, source_name).open
        self._read = used(definition)
        self._dedupe = definition.steps.dedupe or None
        self._keep = keep
        names = list(ROW_STAGES)
        # None for a step that is off: what goes through it is counted all the same.
        self._stages: dict[str, list[tuple[str, RowWork | None]]] = {}
        for stage in names[names.index(done) + 1 if done else 0 :]:
            made = [(step.name, step.make(definition, source_name)) for step in ROW_STAGES[stage]]
            self._stages[stage] = made

    def __call__(self, units: list[Unit]) -> RowBatch:
        """Run every row-wise step on a batch.

        Raises:
            UnknownRole: a turn has a role that the definition does not map.
        """
        batch = RowBatch(len(units), RowBlock())
        for _, unit in units:
            for row in unit if isinstance(unit, list) else [unit]:
                batch.columns.update(row.keys() - {FILE} if AT in row else row.keys())
        batch.columns = {str(c) for c in batch.columns if str(c)[:1] != "\0"} - self._read
        return self._run(batch, ((self._open(*unit), []) for unit in units))

    def resumed(self, piece: bytes) -> RowBatch:
        """Run the steps that are left on what `RowBatch.kept` holds of a batch."""
        made = unpacked(piece)
        batch = RowBatch(made["units"], RowBlock(), flow=made["flow"])
        batch.columns, batch.keys = set(made["columns"]), set(made["keys"])
        states = ((Conversation.from_state(s) if s else None, lines) for s, lines in made["rows"])
        return self._run(batch, states)

    def _run(self, batch: RowBatch, talks: Iterator[_Talk]) -> RowBatch:
        states: dict[str, list[Any]] = {stage: [] for stage in self._stages}
        for steps in self._stages.values():
            batch.flow.update((name, [0, 0, 0]) for name, _ in steps)
        for conversation, lines in talks:
            talk: Conversation | None = conversation
            size = (0, 0, 0)
            for stage, steps in self._stages.items():
                for name, work in steps:
                    if talk is None:
                        break
                    ledger = Ledger(name)
                    kept = work is None or work(talk, ledger)
                    lines += ledger.lines
                    if not kept:
                        talk = None
                        break
                    if ledger.lines or not size[0]:
                        size = talk.size()
                    for index, value in enumerate(size):
                        batch.flow[name][index] += value
                if self._keep:
                    states[stage].append([talk and talk.state(), list(lines)])
            batch.ledger += lines
            if conversation is not None:
                batch.keys.update(map(str, conversation.unread))
            if talk is not None:
                batch.block.add(talk, self._dedupe, size if size[0] else None)
        for stage, rows in states.items() if self._keep else ():
            batch.kept[stage] = self._packed(batch, stage, rows)
        return batch

    def _packed(self, batch: RowBatch, stage: str, rows: list[Any]) -> bytes:
        names = list(ROW_STAGES)
        before = [
            step.name for name in names[: names.index(stage) + 1] for step in ROW_STAGES[name]
        ]
        flow = {name: counts for name, counts in batch.flow.items() if name in before}
        columns, keys = sorted(batch.columns), sorted(batch.keys)
        return packed(
            {"units": batch.units, "flow": flow, "columns": columns, "keys": keys, "rows": rows}
        )


_steps: RowSteps | None = None


def start(definition: Definition, source_name: str, done: str = "", keep: bool = False) -> None:
    """Build the steps once a process."""
    global _steps
    _steps = RowSteps(definition, source_name, done, keep)


def run(batch: Batch) -> RowBatch:
    """`RowSteps` of this process on a batch of rows, or on one that was kept."""
    assert _steps is not None, "start() first"
    return _steps.resumed(batch) if isinstance(batch, bytes) else _steps(batch)
