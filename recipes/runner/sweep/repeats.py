"""How often each setting of a sweep is run: over seeds, over folds of the data, or over both."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from recipes.runner.core.yaml_file import Fault

SEEDS, FOLDS = "seeds", "folds"
_MOST = 50
_DATA_KEYS = ("datasets", "test_datasets", "val_set_size")


@dataclass(frozen=True)
class Repeat:
    """One of the runs of a setting.

    Attributes:
        seed: its seed; None where the recipe's own stands.
        fold: which part of the rows is held out, from 1; None where the recipe's own split stands.
    """

    seed: int | None = None
    fold: int | None = None

    @property
    def name(self) -> str:
        """A part of a folder's name; empty for the only run of a setting."""
        parts = [
            f"s{self.seed}" if self.seed is not None else "",
            f"f{self.fold}" * bool(self.fold),
        ]
        return "-".join(part for part in parts if part)


@dataclass(frozen=True)
class Repeats:
    """What ``seeds:`` and ``folds:`` of a sweep file ask for.

    Attributes:
        seeds: how many seeds; 1 for the recipe's own.
        folds: into how many parts the rows are dealt; 1 for the recipe's own split.
    """

    seeds: int = 1
    folds: int = 1

    @property
    def count(self) -> int:
        """Runs of each setting."""
        return self.seeds * self.folds

    def listed(self, seed: int) -> list[Repeat]:
        """All of them, each pair of seed and fold once, both changing from one to the next.

        So that the first few, which may be all that a time budget allows, differ in both.

        Args:
            seed: the recipe's; the others follow it.
        """
        together = math.lcm(self.seeds, self.folds)
        found = []
        for index in range(self.count):
            turn = (index + index // together) % self.seeds
            found.append(
                Repeat(
                    seed + turn if self.seeds > 1 else None,
                    index % self.folds + 1 if self.folds > 1 else None,
                )
            )
        return found


def take_repeats(content: dict[str, Any]) -> tuple[Repeats, list[Fault]]:
    """Take ``seeds`` and ``folds`` out of a sweep file's keys.

    Returns:
        What they say, and their faults.
    """
    faults = list(_faults(content))
    given = {key: content.pop(key) for key in (SEEDS, FOLDS) if key in content}
    if faults:
        return Repeats(), faults
    return Repeats(**given), []


def _faults(content: dict[str, Any]) -> Iterator[Fault]:
    for key, least in ((SEEDS, 1), (FOLDS, 2)):
        value = content.get(key)
        if key in content and (
            isinstance(value, bool) or not isinstance(value, int) or not least <= value <= _MOST
        ):
            what = f"is {value!r}, which is no whole number from {least} to {_MOST}"
            yield (key,), what, f"Write {key}: {3 if key == SEEDS else 5}"
    entries = content.get("_")
    swept = {str(key) for entry in entries if isinstance(entry, dict) for key in entry} if (
        isinstance(entries, list)
    ) else set()  # fmt: skip
    swept |= set(content)
    if SEEDS in content and "seed" in swept:
        yield (SEEDS,), "stands beside seed", "Take one of them out"
    for key in _DATA_KEYS:
        if FOLDS in content and key in swept:
            yield (
                (FOLDS,),
                f"says what is trained on and held out, and so does {key}",
                "Take one out",
            )
