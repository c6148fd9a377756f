"""Rows between the steps: text on disk, a few numbers a row in memory."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from datasets_prep import signatures
from datasets_prep.conversation import Conversation, json_line, turns_of
from datasets_prep.settings import DedupeSettings

Mask = npt.NDArray[np.bool_]
Hashes = npt.NDArray[np.uint64]
# A conversation that opens with a greeting is told apart by what the user says next.
OPENING_WORDS = 8


@dataclass
class RowBlock:
    """What a worker hands back for a batch of rows."""

    lines: list[bytes] = field(default_factory=list)
    answer: list[int] = field(default_factory=list)
    answer_words: list[int] = field(default_factory=list)
    question: list[int] = field(default_factory=list)
    topics: list[str] = field(default_factory=list)
    groups: list[tuple[int, int]] = field(default_factory=list)
    answer_bands: list[bytes] = field(default_factory=list)
    question_bands: list[bytes] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)
    turns: list[int] = field(default_factory=list)
    words: list[int] = field(default_factory=list)
    spoken: list[int] = field(default_factory=list)
    untrained: bool = False

    def add(
        self,
        conversation: Conversation,
        dedupe: DedupeSettings | None,
        size: tuple[int, int, int] | None = None,
    ) -> None:
        """Append a row with the fingerprints that de-duplication and split compare."""
        answer = signatures.normalise(conversation.answers())
        row = conversation.row()
        question = opening(row)
        position = len(self.lines)
        self.groups += [(position, signatures.exact(g)) for g in conversation.groups]
        self.lines.append(json_line(row).encode() + b"\n")
        self.answer.append(signatures.exact(answer))
        self.answer_words.append(answer.count(" ") + 1 if answer else 0)
        self.parts.append(conversation.part)
        turns, words, answer_words = size or conversation.size()
        self.turns.append(turns)
        self.words.append(words)
        self.spoken.append(answer_words)
        self.untrained |= not all(message.train for message in conversation.messages)
        self.question.append(signatures.exact(question))
        self.topics.append(conversation.topic.strip())
        if dedupe and dedupe.near:
            self.answer_bands.append(
                signatures.bands(
                    signatures.shingles(answer, signatures.ANSWER_SHINGLE),
                    signatures.ANSWER_BANDS,
                    signatures.ANSWER_ROWS,
                )
            )
        self.question_bands.append(
            signatures.bands(
                signatures.content_words(question),
                signatures.QUESTION_BANDS,
                signatures.QUESTION_ROWS,
            )
        )


def opening(row: dict[str, Any]) -> str:
    """The normalised question of a row: user turns from the first on, until eight words."""
    text = ""
    for message in turns_of(row):
        if message["role"] == "user":
            text = f"{text} {signatures.normalise(message['content'])}".strip()
            if text.count(" ") + 1 >= OPENING_WORDS:
                break
    return text


def answers(row: dict[str, Any]) -> str:
    """The normalised assistant turns of a row, and the rejected one of a preference."""
    texts = [m["content"] for m in turns_of(row) if m["role"] == "assistant"]
    texts += [row["rejected"]["content"]] if "rejected" in row else []
    return signatures.normalise("\n".join(texts))


class Store:
    """All rows that came through the row-wise steps, in the order of the source.

    Memory is about 520 bytes a row (the MinHash bands, 60 values of 8 bytes); texts stay on disk.
    """

    def __init__(self, folder: Path) -> None:
        """Open the files in a folder that is the caller's to remove."""
        self._path = folder / "rows"
        self._file = self._path.open("w+b")
        self._size = 0
        self.offsets = array("Q")
        self.answer = array("Q")
        self.answer_words = array("I")
        self.question = array("Q")
        self.topic = array("I")
        self.topics: dict[str, int] = {}
        self.part = array("I")
        self.parts: dict[str, int] = {}
        self.turns, self.words, self.spoken = array("I"), array("I"), array("I")
        self.untrained = False
        self.group_rows = array("Q")
        self.group_hashes = array("Q")
        self._answer_bands = (folder / "answer_bands").open("w+b")
        self._question_bands = (folder / "question_bands").open("w+b")
        self._read = lru_cache(maxsize=4096)(self._read_row)

    def __len__(self) -> int:
        """Rows so far."""
        return len(self.offsets)

    def add(self, block: RowBlock) -> None:
        """Append a worker's rows."""
        first = len(self)
        for line in block.lines:
            self.offsets.append(self._size)
            self._size += len(line)
        self._file.write(b"".join(block.lines))
        self.answer.extend(block.answer)
        self.answer_words.extend(block.answer_words)
        self.question.extend(block.question)
        for name in block.topics:
            self.topic.append(self.topics.setdefault(name, len(self.topics)))
        for name in block.parts:
            self.part.append(self.parts.setdefault(name, len(self.parts)))
        self.turns.extend(block.turns)
        self.words.extend(block.words)
        self.spoken.extend(block.spoken)
        self.untrained |= block.untrained
        for position, value in block.groups:
            self.group_rows.append(first + position)
            self.group_hashes.append(value)
        self._answer_bands.write(b"".join(block.answer_bands))
        self._question_bands.write(b"".join(block.question_bands))

    def row(self, index: int) -> dict[str, Any]:
        """The row at an index, read from disk; treat it as read-only."""
        return self._read(index)

    def line(self, index: int) -> bytes:
        """The JSON line of a row, read from disk."""
        self._file.flush()
        self._file.seek(self.offsets[index])
        line = self._file.readline()
        self._file.seek(0, 2)
        return line

    def lines(self) -> Iterator[bytes]:
        """All rows as JSON lines, in order."""
        self._file.flush()
        with self._path.open("rb") as file:
            yield from file

    def flow(self, mask: Mask) -> list[int]:
        """Turns, words and words of the assistant of the rows of a mask, shape (rows,)."""
        if not len(self):
            return [0, 0, 0]
        columns = (self.turns, self.words, self.spoken)
        return [int(np.frombuffer(c, np.uint32)[mask].sum()) for c in columns]

    def answer_bands(self) -> Hashes:
        """MinHash bands of the answers, shape (rows, bands), uint64."""
        return self._bands(self._answer_bands, signatures.ANSWER_BANDS)

    def question_bands(self) -> Hashes:
        """MinHash bands of the questions, shape (rows, bands), uint64."""
        return self._bands(self._question_bands, signatures.QUESTION_BANDS)

    def close(self) -> None:
        """Close the files; the folder is its maker's to remove."""
        for file in (self._file, self._answer_bands, self._question_bands):
            file.close()

    def _bands(self, file: Any, count: int) -> Hashes:
        file.flush()
        if len(self) == 0:
            return np.zeros((0, count), np.uint64)
        return np.fromfile(file.name, "<u8").reshape(-1, count)

    def _read_row(self, index: int) -> dict[str, Any]:
        row: dict[str, Any] = json.loads(self.line(index))
        return row


def hashes(values: array[int]) -> Hashes:
    """A numpy view of an array of 64-bit values."""
    return np.frombuffer(values, np.uint64) if len(values) else np.zeros(0, np.uint64)
