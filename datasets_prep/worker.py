"""The row-wise steps on a batch of rows: what runs in parallel."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from datasets_prep.conversation import Ledger
from datasets_prep.definition import Definition
from datasets_prep.shapes import Shaper
from datasets_prep.store import RowBlock
from datasets_prep.turns import alternate

Unit = tuple[int, Any]


@dataclass
class RowBatch:
    """The outcome of a batch: rows that go on, and the ledger lines of those that do not."""

    units: int
    block: RowBlock
    ledger: list[dict[str, Any]] = field(default_factory=list)


class RowSteps:
    """Shape, clean, anonymise, filter and alternate, as a definition says."""

    def __init__(self, definition: Definition, source_name: str) -> None:
        """Build the steps that the definition leaves on."""
        self.definition = definition
        self.shaper = Shaper(definition, source_name)
        steps = definition.steps
        self._clean = steps.clean or None
        self._dedupe = steps.dedupe or None
        self._anonymise = None
        self._filter = None
        if steps.anonymise:
            from datasets_prep.anonymise import Anonymiser

            self._anonymise = Anonymiser(steps.anonymise)
        if steps.filter:
            from datasets_prep.filters import Filter

            lines = steps.anonymise.keep_phones if steps.anonymise else []
            self._filter = Filter(steps.filter, lines)

    def __call__(self, units: list[Unit]) -> RowBatch:
        """Run every row-wise step on a batch.

        Raises:
            UnknownRole: a turn has a role that the definition does not map.
        """
        from datasets_prep.clean import clean

        batch = RowBatch(len(units), RowBlock())
        for number, unit in units:
            ledgers = [Ledger(n) for n in ("shape", "clean", "anonymise", "filter", "turns")]
            conversation = self.shaper.convert(number, unit, ledgers[0])
            kept = conversation is not None
            if conversation is not None:
                if self._clean:
                    clean(conversation, self._clean, ledgers[1])
                if self._anonymise:
                    self._anonymise(conversation, ledgers[2])
                # Before the filter: a run of short turns is one reply, and empty ones are no reply.
                kept = alternate(conversation, self.definition.turns, ledgers[4])
                if kept and self._filter:
                    kept = self._filter(conversation, ledgers[3])
                if kept:
                    batch.block.add(conversation, self._dedupe)
            for ledger in ledgers:
                batch.ledger += ledger.lines
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
