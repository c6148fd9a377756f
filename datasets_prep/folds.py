"""``python -m datasets_prep.folds FILE...``: rows dealt into folds, what belongs together in one.

For cross-validation. What ties rows together is what ties them for the split (`split.group`): a
group column's value, the row of the source that both are pieces of, the same question or nearly.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from datasets_prep.conversation import Conversation, Message, json_line
from datasets_prep.settings import SplitSettings
from datasets_prep.split import group
from datasets_prep.store import RowBlock, Store, answers, opening
from recipes.runner.core.errors import UserError, user_errors_exit
from recipes.runner.core.paths import display_path


def read_files(files: Sequence[Path]) -> list[dict[str, Any]]:
    """All rows of some split files, in their order.

    Raises:
        UserError: a line is no row of messages.
    """
    rows = []
    for file in files:
        for number, line in enumerate(file.read_text(encoding="utf-8").split("\n"), 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                opening(row)
            except (ValueError, KeyError, TypeError, AttributeError):
                where = f"{display_path(file)}:{number}"
                raise UserError("is no row of messages", where, "make data writes such") from None
            rows.append(row)
    return rows


def deal(rows: Sequence[dict[str, Any]], folds: int, seed: int) -> list[int]:
    """The fold of each row, from 0: groups whole, folds as even as groups allow.

    Args:
        rows: as they are written to a split file; ``group`` ties rows that share one of its values.
        folds: how many.
        seed: sets which groups fall together.

    Raises:
        UserError: fewer groups than folds.
    """
    with tempfile.TemporaryDirectory() as folder:
        store, block = Store(Path(folder)), RowBlock()
        for row in rows:
            ties = [f"group={value}" for value in row.get("group") or ()]
            if row.get("source"):
                ties.append(f"source={row['source']}")
            question = [Message("user", opening(row) or answers(row))]
            block.add(Conversation("", "", question, groups=tuple(ties)), None)
        store.add(block)
        keep = np.ones(len(store), bool)
        numbers = group(store, keep, SplitSettings().question_threshold).tolist() if rows else []
        store.close()
    groups: dict[int, list[int]] = defaultdict(list)
    for index, number in enumerate(numbers):
        groups[number].append(index)
    if len(groups) < folds:
        what = f"{len(rows)} rows are {len(groups)} groups of unlike questions, too few for {folds}"
        raise UserError(f"{what} folds", "folds", "Ask for fewer, or add rows")

    def order(members: list[int]) -> tuple[int, bytes]:
        first = min(json_line(rows[index]) for index in members)
        return -len(members), hashlib.sha256(f"{seed}:{first}".encode()).digest()

    sizes, fold_of = [0] * folds, [0] * len(rows)
    for members in sorted(groups.values(), key=order):
        fold = min(range(folds), key=lambda f: (sizes[f], f))
        sizes[fold] += len(members)
        for index in members:
            fold_of[index] = fold
    return fold_of


def write_folds(rows: Sequence[dict[str, Any]], fold_of: Sequence[int], folder: Path) -> None:
    """``N/train.jsonl`` and ``N/validation.jsonl`` for each fold N from 1."""
    lines = [json_line(row) + "\n" for row in rows]
    for fold in sorted(set(fold_of)):
        place = folder / str(fold + 1)
        place.mkdir(parents=True)
        for name, held_out in (("train", False), ("validation", True)):
            own = (line for line, f in zip(lines, fold_of, strict=True) if (f == fold) == held_out)
            (place / f"{name}.jsonl").write_text("".join(own), encoding="utf-8")


def main(argv: list[str] | None = None) -> int:
    """Deal some files; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m datasets_prep.folds", description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=42)
    args = parser.parse_args(argv)
    with user_errors_exit():
        rows = read_files(args.files)
        write_folds(rows, deal(rows, args.folds, args.seed), args.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
