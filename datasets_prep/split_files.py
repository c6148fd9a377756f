"""The files of the splits, and what is counted while they are written."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from datasets_prep.conversation import json_line
from datasets_prep.mix import copies
from datasets_prep.split import SPLITS
from datasets_prep.whole import WholeSet

_EXAMPLES = 3


@dataclass
class Written:
    """What stands in the files.

    Attributes:
        rows: by split.
        turns: of the assistant, by split.
        topics: rows of each topic, by split; empty for a source without topics.
        examples: a few rows of the first split.
    """

    rows: list[int] = field(default_factory=lambda: [0, 0, 0])
    turns: list[int] = field(default_factory=lambda: [0, 0, 0])
    topics: dict[str, list[int]] = field(default_factory=dict)
    examples: list[dict[str, Any]] = field(default_factory=list)


def write_splits(folder: Path, rows: WholeSet, weights: dict[str, float]) -> Written:
    """Write ``train.jsonl``, ``validation.jsonl`` and ``test.jsonl``.

    Args:
        folder: where to.
        rows: all rows with their splits.
        weights: how often a training row is written, by the name of its source.
    """
    store, labels, seed = rows.store, rows.labels, rows.definition.split.seed
    made = Written()
    names = {number: name for name, number in store.topics.items()}
    weight_of = {number: weights.get(name, 1.0) for name, number in store.parts.items()}
    files = [(folder / f"{name}.jsonl").open("wb") for name in SPLITS]
    shown = set(np.linspace(0, max(0, int((labels == 0).sum()) - 1), _EXAMPLES, dtype=int))
    try:
        for index, line in enumerate(store.lines()):
            label = int(labels[index])
            if label < 0:
                continue
            lines = [line]
            if index in rows.pieces:
                lines = [json_line(r).encode() + b"\n" for r in rows.pieces[index].rows]
            if label == 0 and made.rows[0] in shown and len(made.examples) < _EXAMPLES:
                made.examples.append(json.loads(lines[0]))
            counts = made.topics.setdefault(names[store.topic[index]], [0, 0, 0])
            weight = weight_of[store.part[index]]
            times = copies(weight, seed, str(index)) if label == 0 and weight > 1 else 1
            for text in _repeated(lines, times):
                files[label].write(_flagged(text) if store.untrained else text)
                made.rows[label] += 1
                counts[label] += 1
                made.turns[label] += text.count(b'{"role": "assistant", "content": ')
    finally:
        for file in files:
            file.close()
    if set(made.topics) == {""}:
        made.topics = {}
    return made


def _flagged(line: bytes) -> bytes:
    """A line whose turns all say whether they are trained, as one of the set says no."""
    row = json.loads(line)
    for turn in row.get("messages", ()):
        turn.setdefault("training", turn["role"] == "assistant")
    return json_line(row).encode() + b"\n"


def _repeated(lines: list[bytes], times: int) -> list[bytes]:
    """Lines as often as their weight says, under ids of their own."""
    if times == 1:
        return lines
    made = []
    for copy in range(1, times + 1):
        for line in lines:
            row = json.loads(line)
            row["id"] = row["id"] if copy == 1 else f"{row['id']}.x{copy}"
            made.append(json_line(row).encode() + b"\n")
    return made
