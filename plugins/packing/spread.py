"""Steps that hold rows of every kind: those of one part of the data come at even distances.

A step of few rows pulls a small model towards the kinds that it happens to hold. Longest rows
first packs rows of one length together, and so rows of one kind, since kinds differ in length: a
step of SmolLM2's recipe was all danger, or all plain facts (what that costs: recipes/SMOLLM2.md).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recipes.runner.core.errors import UserError
from recipes.runner.core.labels import IGNORE

_OPEN_SEQUENCES = 24  # that a row may still go into: few keep the order, and pad no more
_FULL = 16  # tokens; hardly a row is so short that it would fit into what is left


def parts_of_rows(files: Sequence[Path], dataset: Any, tokenizer: Any) -> list[str]:
    """The part of the data that each row of a tokenised data set came from.

    Rows are found by what their trained tokens say, in whatever order they are.

    Args:
        files: JSONL that `datasets_prep` wrote: ``messages`` and ``part``.
        dataset: with ``labels``.
        tokenizer: that made it.

    Returns:
        A name for each row; empty where the answers are found in no file, or with no part.

    Raises:
        UserError: a file can't be read.
    """
    known: dict[str, str] = {}
    for file in files:
        try:
            rows = [json.loads(line) for line in file.read_text("utf-8").split("\n") if line]
        except (OSError, ValueError) as error:
            raise UserError(f"can't be read for spread_kinds: {error}", str(file)) from None
        for row in rows:
            said = (m["content"] for m in row.get("messages", ()) if m["role"] == "assistant")
            known[_bare(said)] = str(row.get("part") or "")
    trained = [[label for label in labels if label != IGNORE] for labels in dataset["labels"]]
    texts = tokenizer.batch_decode(trained, skip_special_tokens=True)
    return [known.get(_bare([text]), "") for text in texts]


def _bare(texts: Iterable[str]) -> str:
    """Texts without white space, which templates add and take."""
    return "".join("".join(texts).split())


def spread_order(kinds: Sequence[str], random: np.random.Generator) -> list[int]:
    """An order of all rows in which those of each kind come at even distances.

    Args:
        kinds: of each row.
        random: draws the order within each kind, and where it begins.

    Returns:
        Each index once.
    """
    rows_of: dict[str, list[int]] = {}
    for row, kind in enumerate(kinds):
        rows_of.setdefault(kind, []).append(row)
    places = np.empty(len(kinds))
    for rows in rows_of.values():
        places[random.permutation(rows)] = (np.arange(len(rows)) + random.random()) / len(rows)
    return [int(row) for row in np.argsort(places, kind="stable")]


def pack_in_order(
    order: Sequence[int], lengths: np.ndarray, capacity: int, most_rows: int
) -> list[list[int]]:
    """Sequences filled in about the order given: each row into the fullest open one that has room.

    Args:
        order: rows, each once.
        lengths: [rows] tokens of each, none above ``capacity``.
        capacity: tokens of a sequence.
        most_rows: rows that share a sequence at most.
    """
    opened: list[tuple[int, list[int]]] = []
    packed: list[list[int]] = []
    for row in order:
        length = int(lengths[row])
        fits = [
            place
            for place, (used, rows) in enumerate(opened)
            if used + length <= capacity and len(rows) < most_rows
        ]
        fullest = max(fits, key=lambda place: opened[place][0], default=None)
        used, rows = (0, []) if fullest is None else opened.pop(fullest)
        opened.append((used + length, [*rows, row]))
        if used + length > capacity - _FULL:
            packed.append(opened.pop()[1])
        elif len(opened) > _OPEN_SEQUENCES:
            packed.append(opened.pop(max(range(len(opened)), key=lambda at: opened[at][0]))[1])
    return packed + [rows for _, rows in opened]


def change_places(
    sequences: Sequence[Sequence[int]],
    kinds: Sequence[str],
    lengths: np.ndarray,
    random: np.random.Generator,
) -> list[list[int]]:
    """As many sequences of the same lengths, in another order of their rows for another epoch.

    Rows of one kind and length change places, and the sequences begin elsewhere in their circle,
    so that each kind stays spread.

    Args:
        sequences: rows of each, every row once.
        kinds: of each row.
        lengths: [rows] tokens of each.
        random: draws both.
    """
    alike: dict[tuple[str, int], list[int]] = {}
    for row, kind in enumerate(kinds):
        alike.setdefault((kind, int(lengths[row])), []).append(row)
    now = np.empty(len(kinds), dtype=np.int64)
    for rows in alike.values():
        now[rows] = random.permutation(rows)
    begin = int(random.integers(len(sequences)))
    turned = [*sequences[begin:], *sequences[:begin]]
    return [[int(now[row]) for row in rows] for rows in turned]
