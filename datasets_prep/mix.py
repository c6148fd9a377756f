"""Mix: how much of each source: limits, shares and weights."""

from __future__ import annotations

import hashlib
import json

import numpy as np

from datasets_prep.conversation import Conversation, Message, turns_of
from datasets_prep.definition import Definition
from datasets_prep.whole import WholeSet


def mix_rows(rows: WholeSet) -> None:
    """Drop what a source's limit, share or weight below 1 leaves out, drawn evenly by the seed."""
    ledger = rows.ledger("mix")
    parts = np.frombuffer(rows.store.part, np.uint32) if len(rows.store) else np.zeros(0, np.uint32)
    for part in rows.definition.parts():
        number = rows.store.parts.get(part.part)
        if number is None:
            continue
        of_part = np.flatnonzero(rows.keep & (parts == number)).tolist()
        most, why = _most(part, rows, of_part)
        if most >= len(of_part):
            continue
        seed = rows.definition.split.seed
        order = sorted(of_part, key=lambda index: _place(seed, rows.store.answer[index], index))
        for index in sorted(order[most:]):
            rows.keep[index] = False
            row = json.loads(rows.store.line(index))
            messages = [Message.from_dict(message) for message in turns_of(row)]
            ledger.dropped(Conversation(row["id"], row["source"], messages), why)
    ledger.flush()


def _most(part: Definition, rows: WholeSet, of_part: list[int]) -> tuple[int, str]:
    most, why = len(of_part), ""
    if part.weight < 1:
        most, why = round(part.weight * len(of_part)), f"left out: weight {part.weight:g}"
    if part.limit is not None and part.limit < most:
        most, why = part.limit, f"over the limit of {part.limit}"
    replay = rows.definition.replay
    if replay and part.part == replay.name:
        others = int(rows.keep.sum()) - len(of_part)
        share = int(replay.share / (1 - replay.share) * others)
        if share < most:
            most, why = share, f"over the share of {replay.share:g}"
    return most, why


def _place(seed: int, answer: int, index: int) -> bytes:
    return hashlib.sha256(f"{seed}:{answer}:{index}".encode()).digest()


def copies(weight: float, seed: int, row: str) -> int:
    """How often a training row is written: the whole part of its weight, and by chance one more."""
    whole = int(weight)
    rest = weight - whole
    if weight <= 1 or rest == 0:
        return max(1, whole)
    draw = int.from_bytes(hashlib.sha256(f"{seed}:{row}".encode()).digest()[:8], "big") / 2**64
    return whole + (draw < rest)
