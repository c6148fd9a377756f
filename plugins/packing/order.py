"""Which rows each optimizer step sees: a pure function of seed and epoch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from axolotl.utils.samplers.multipack import allocate_sequentially, pack_parallel
from torch.utils.data import BatchSampler

from plugins.packing.spread import change_places, pack_in_order, spread_order


@dataclass(frozen=True)
class Packing:
    """How rows share a sequence.

    Attributes:
        capacity: tokens of a sequence; None for one row a sequence (no packing).
        most_rows: rows that share a sequence at most.
        group: rows that are packed with one another.
        in_order: fill one sequence after the other, at the cost of more padding.
        flat: a micro-batch is one long sequence, for attention that is told where rows end.
    """

    capacity: int | None
    most_rows: int = 200
    group: int = 100_000
    in_order: bool = False
    flat: bool = False


@dataclass(frozen=True)
class Share:
    """How the sequences of one optimizer step are shared out.

    Attributes:
        micro_batch: sequences a forward pass.
        accumulation: forward passes a rank and step.
        ranks: processes that train together.
    """

    micro_batch: int
    accumulation: int = 1
    ranks: int = 1

    @property
    def micro_batches(self) -> int:
        """Micro-batches of a step, over all ranks."""
        return self.accumulation * self.ranks

    @property
    def sequences(self) -> int:
        """Sequences of a step, over all ranks."""
        return self.micro_batches * self.micro_batch


class EveryRow(BatchSampler):
    """Yields micro-batches of row indices, each row once an epoch.

    Rows are shuffled by ``seed`` and epoch and nothing else, packed, and spread evenly over whole
    optimizer steps. A step's rows don't depend on how the step is shared out, so several ranks
    train what one rank trains with as many times the accumulation. accelerate gives micro-batch
    ``i`` to rank ``i % ranks``. A step may come out short of micro-batches; it is filled with
    repeated ones, which `is_filler` names and whose loss doesn't count.

    The longest rows are packed first (first-fit decreasing), which pads little, and gives every
    epoch as many sequences: rows of one length change places, and sequences their order.

    Args:
        lengths: [rows] tokens of each row.
        packing: how rows share a sequence.
        share: how a step is shared out.
        seed: of the shuffle; None keeps the order of the data.
        kinds: of each row; then those of one kind come at even distances in place of the longest
            first, with 3% of padding in place of 1%. Sequences stay in that order; in a later epoch
            rows of one kind and length change places.
    """

    # accelerate passes batches through as they are where they have no fixed size.
    batch_size = None  # type: ignore[assignment]
    drop_last = False

    def __init__(
        self,
        lengths: Sequence[int] | np.ndarray,
        packing: Packing,
        share: Share,
        seed: int | None,
        kinds: Sequence[str] | None = None,
    ) -> None:
        self.lengths = np.asarray(lengths, dtype=np.int32)
        self.packing = packing
        self.share = share
        self.seed = seed
        self.kinds = kinds
        self.epoch = 0
        self._at: tuple[int, list[list[int]]] | None = None
        self.steps = max(1, math.ceil(len(self._sequences(0)) / share.sequences))
        """Optimizer steps an epoch."""

    def set_epoch(self, epoch: int) -> None:
        """Take the order of ``epoch``, from 0."""
        self.epoch = epoch

    def is_filler(self, index: int) -> bool:
        """Whether micro-batch ``index`` of this epoch, over all ranks, only fills its step."""
        step, place = divmod(index, self.share.micro_batches)
        return not self._of_step(step)[place]

    def __len__(self) -> int:
        """Micro-batches of an epoch, over all ranks."""
        return self.steps * self.share.micro_batches

    def __iter__(self) -> Iterator[list[Any]]:
        """Micro-batches of the epoch: lists of sequences, or of rows where nothing is packed."""
        for step in range(self.steps):
            parts = self._of_step(step)
            first = next(part for part in parts if part)
            for part in parts:
                yield self._shaped(part or first[:1])

    def _of_step(self, step: int) -> list[list[list[int]]]:
        """The sequences of each micro-batch of ``step``; empty for a filler."""
        sequences = self._sequences(self.epoch)
        in_step = sequences[_cut(len(sequences), self.steps, step)]
        parts = self.share.micro_batches
        return [in_step[_cut(len(in_step), parts, part)] for part in range(parts)]

    def _shaped(self, sequences: list[list[int]]) -> list[Any]:
        rows = [row for sequence in sequences for row in sequence]
        if self.packing.capacity is None:
            return rows
        return [rows] if self.packing.flat else sequences

    def _sequences(self, epoch: int) -> list[list[int]]:
        """The rows of each sequence, in the order of ``epoch``."""
        if self._at is None or self._at[0] != epoch:
            self._at = (epoch, self._pack(epoch))
        return self._at[1]

    def _pack(self, epoch: int) -> list[list[int]]:
        rows = np.arange(len(self.lengths))
        if self.seed is None:
            return self._packed(rows)
        random = np.random.default_rng([self.seed, epoch])
        if self.kinds is not None:
            # Packed anew an epoch might have fewer sequences than the first has steps.
            first = self._spread(self.kinds, np.random.default_rng([self.seed, 0]))
            return first if epoch == 0 else change_places(first, self.kinds, self.lengths, random)
        if not self.packing.in_order:
            random.shuffle(rows)
            if self.packing.capacity is not None:
                rows = rows[np.argsort(-self.lengths[rows], kind="stable")]
        sequences = self._packed(rows)
        random.shuffle(sequences)
        return sequences

    def _spread(self, kinds: Sequence[str], random: np.random.Generator) -> list[list[int]]:
        packing, order = self.packing, spread_order(kinds, random)
        if packing.capacity is None:
            return [[row] for row in order]
        return pack_in_order(order, self.lengths, packing.capacity, packing.most_rows)

    def _packed(self, rows: np.ndarray) -> list[list[int]]:
        packing = self.packing
        if packing.capacity is None:
            return [[int(row)] for row in rows]
        if packing.in_order:
            places = allocate_sequentially(self.lengths[rows], 0, packing.capacity, 1)[0]
            return [[int(rows[place]) for place in sequence] for sequence in places]
        sequences = []
        groups = math.ceil(len(rows) / packing.group)
        for first in range(groups):
            # Every so-manieth row, so that each group has long ones and short ones.
            group = rows[first::groups]
            places = pack_parallel(
                self.lengths[group],
                packing.capacity,
                group_size=len(group),
                bin_size=packing.most_rows,
                num_processes=1,
            )
            sequences += [[int(group[place]) for place in sequence] for sequence in places]
        return sequences


def compile_packing() -> None:
    """Compile Axolotl's packing in this process: processes forked from it have it compiled."""
    pack_parallel(np.ones(1, dtype=np.int32), 2, group_size=1, bin_size=1, num_processes=1)


def _cut(total: int, parts: int, part: int) -> slice:
    """The ``part``-th of ``parts`` slices of ``total`` things: as even as can be, the rest last."""
    start, stop = (-(-total * place // parts) for place in (part, part + 1))
    return slice(start, stop)
