"""Small sources and definitions for the tests of datasets_prep."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from datasets_prep.conversation import Conversation, Ledger, Message
from datasets_prep.definition import Definition
from datasets_prep.steps import ROW_STEPS

SPLITS = ("train", "validation", "test")
ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"
TOPICS = ("sleep", "grief", "work", "family", "panic")
_PLACES = ("kitchen", "office", "garden", "station", "library", "harbour", "attic", "bakery")
_THINGS = ("letter", "bicycle", "violin", "kettle", "ladder", "blanket", "camera", "compass")


def questions(count: int) -> list[dict[str, str]]:
    """Rows of a question, an answer and a topic; no two questions or answers are alike."""
    rows = []
    for n in range(count):
        place, thing = _PLACES[n % 8], _THINGS[n // 8 % 8]
        tail = " ".join(f"{word}{n}" for word in ("alpha", "bravo", "delta", "echo", "golf"))
        rows.append(
            {
                "q": f"Why do I feel low in the {place} near the {thing}, {tail}?",
                "a": f"It sounds as if the {thing} in the {place} weighs on you, {tail} hotel{n}.",
                "topic": TOPICS[n % len(TOPICS)],
            }
        )
    return rows


def jsonl(path: Path, rows: Iterable[Any]) -> Path:
    """Write rows as JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def definition(folder: Path, **keys: Any) -> Path:
    """Write a definition named ``small`` for question and answer columns, with changes."""
    body: dict[str, Any] = {
        "name": "small",
        "source": {"file": "rows.jsonl"},
        "shape": "prompt_response",
        "columns": {"prompt": "q", "response": "a"},
        **keys,
    }
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(body), encoding="utf-8")
    return path


def read(path: Path) -> list[dict[str, Any]]:
    """All rows of a JSON lines file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def rows_of(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """The rows of each split."""
    return {split: read(folder / f"{split}.jsonl") for split in SPLITS}


def all_rows(folder: Path) -> list[dict[str, Any]]:
    """The rows of all splits together."""
    return [row for rows in rows_of(folder).values() for row in rows]


def talk(*turns: str, id: str = "row-1", first: str = "user", **keys: Any) -> Conversation:
    """A conversation of alternating turns."""
    other = "assistant" if first == "user" else "user"
    messages = [Message(first if i % 2 == 0 else other, t) for i, t in enumerate(turns)]
    return Conversation(id, "rows.jsonl#1", messages, **keys)


def answer_after(definition: Definition, row: Conversation) -> str:
    """The first answer after a definition's cleaning, masking and filter; empty: it was dropped."""
    for step in ROW_STEPS:
        work = step.make(definition, "x.csv")
        if step.name not in ("clean", "anonymise", "filter") or work is None:
            continue
        if not work(row, Ledger(step.name)):
            return ""
    return row.messages[1].content


def prepared(question: str, answer: str, language: str = "en") -> str:
    """An answer after the row-wise steps, of which one keeps a language; empty: it was dropped."""
    definition = Definition.model_validate(
        {
            "name": "x",
            "source": {"file": "x.csv"},
            "shape": "prompt_response",
            "steps": {"filter": {"language": {"keep": language}}},
        }
    )
    return answer_after(definition, talk(question, answer))


def reasons(ledger: Ledger) -> list[str]:
    """Reasons of a ledger's lines, in order."""
    return [line["reason"] for line in ledger.lines]


def small_tokenizer(folder: Path, special: list[str]) -> Path:
    """A byte-level BPE on the tests' own texts; the last special token ends a text."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import FalconConfig, PreTrainedTokenizerFast

    bpe = ByteLevelBPETokenizer()
    texts = [text for row in questions(50) for text in row.values()]
    bpe.train_from_iterator(texts, vocab_size=600, special_tokens=special, show_progress=False)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe._tokenizer,
        eos_token=special[-1],
        additional_special_tokens=special[:-1],
    )
    tokenizer.save_pretrained(folder)
    FalconConfig(vocab_size=len(tokenizer)).save_pretrained(folder)
    return folder
