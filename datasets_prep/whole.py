"""The whole set of rows between the row-wise steps and the files: what the set steps work on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from datasets_prep.conversation import Ledger
from datasets_prep.definition import Definition
from datasets_prep.store import Mask, Store

if TYPE_CHECKING:
    from datasets_prep.prove import Proven, Prover
    from datasets_prep.token_lengths import Tokens

Labels = npt.NDArray[np.int64]


@dataclass
class WholeSet:
    """All rows, and what the set steps find out about them.

    Attributes:
        definition: the data set's.
        store: the rows.
        keep: shape (rows,), bool; steps switch rows off in it.
        note: takes ledger lines.
        prover: tokenises and checks rows; None when no tokenizer can be had.
        tokens: lengths of the proven rows; None without a prover.
        pieces: by row, what stands in its place because it was too long.
        labels: shape (rows,), int64: the split of each row, -1 for those that are not kept.
        warnings: what a user should know, in sentences without a full stop.
    """

    definition: Definition
    store: Store
    keep: Mask
    note: Callable[[list[dict[str, Any]]], None]
    prover: Prover | None = None
    tokens: Tokens | None = None
    pieces: dict[int, Proven] = field(default_factory=dict)
    labels: Labels = field(default_factory=lambda: np.zeros(0, np.int64))
    warnings: list[str] = field(default_factory=list)

    def ledger(self, step: str) -> Ledger:
        """A ledger of one step whose lines go where all lines go."""
        return Ledger(step, sink=self.note)

    def state(self, before: Mask, warnings: list[str]) -> dict[str, Any]:
        """What a step did beside its ledger lines, as JSON can hold it.

        Args:
            before: `keep` as it was.
            warnings: those that it added.
        """
        dropped = np.flatnonzero(before & ~self.keep).tolist()
        pieces = {index: [p.rows, p.tokens, p.trained] for index, p in self.pieces.items()}
        tokens = self.tokens and self.tokens.state()
        made = {"dropped": dropped, "warnings": warnings}
        return {**made, "pieces": pieces, "tokens": tokens}

    def restore(self, state: dict[str, Any]) -> None:
        """Do what a step did when `state` was taken."""
        from datasets_prep.prove import Proven

        self.keep[state["dropped"]] = False
        self.warnings += state["warnings"]
        self.pieces = {int(index): Proven(*piece) for index, piece in state["pieces"].items()}
        if self.tokens and state["tokens"]:
            self.tokens.restore(state["tokens"])
