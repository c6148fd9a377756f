"""Speed and memory: ``python -m datasets_prep.benchmark [--rows N] [--recipe NAME]``.

Two figures. The first is what users run, every step at its default, filter and proof too: rows of
English as long as counsel-chat's, their sentences drawn from our own data set. The second is the
most rows a second: clean, anonymise, both de-duplications and split on words without meaning, which
follow Zipf's law, so that near-duplicate search meets the chance likenesses of real texts. In both,
one row in fifty repeats an earlier answer, one in fifty repeats one nearly, one in ten asks an
earlier question again, one in ten holds personal data.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import threading
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml

import datasets_prep
from datasets_prep.definition import DEFINITIONS
from datasets_prep.sentences import sentences

_VOCABULARY = 20_000
_CHUNK = 10_000
_QUESTION_WORDS, _ANSWER_WORDS = 24, 70
# About 50 and 170 words, as in counsel-chat.
_QUESTION_SENTENCES, _ANSWER_SENTENCES = 4, 13
_PERSONAL = (
    "My name is Maria Lopez.",
    "Write to jane.roe@mail.org or call 415-555-0132.",
    "Read www.some-host.org/page today.",
    "Dr. Okafor said so at 1428 Elm Street.",
)
_KEPT_IN_MIND = 1000
_SYLLABLES = ("ba", "do", "fe", "gi", "lu", "ma", "ne", "po", "ri", "sa", "te", "vu")


def rows(count: int, seed: int = 7, *, english: bool = False) -> Iterator[dict[str, str]]:
    """Yield rows with a ``question`` and an ``answer``, of words of no language or of English."""
    generator = np.random.default_rng(seed)
    draw = _english if english else _zipf
    earlier: list[dict[str, str]] = []
    for start in range(0, count, _CHUNK):
        size = min(_CHUNK, count - start)
        drawn = draw(generator, size)
        dice = generator.random(size)
        for index in range(size):
            row = {"question": drawn[index][0], "answer": drawn[index][1]}
            old = earlier[index % len(earlier)] if earlier else row
            if dice[index] < 0.02:
                row["answer"] = old["answer"]
            elif dice[index] < 0.04:
                row["answer"] = old["answer"] + " Be well."
            elif dice[index] < 0.14:
                row["question"] = old["question"]
            elif dice[index] < 0.24:
                row["answer"] += " " + _PERSONAL[index % len(_PERSONAL)]
            elif dice[index] < 0.34:
                row["answer"] = row["answer"].replace(". ", ".", 1).replace(" ", "\u00a0", 2)
            if len(earlier) < _KEPT_IN_MIND:
                earlier.append(row)
            else:
                earlier[index % _KEPT_IN_MIND] = row
            yield row


@cache
def _vocabulary() -> tuple[Any, Any]:
    """Made-up words, and how often each stands (Zipf)."""
    weights = 1.0 / np.arange(1, _VOCABULARY + 1)
    return np.array([_word(n) for n in range(_VOCABULARY)], object), weights / weights.sum()


def _zipf(generator: np.random.Generator, size: int) -> list[tuple[str, str]]:
    words, weights = _vocabulary()
    drawn = generator.choice(words, (size, _QUESTION_WORDS + _ANSWER_WORDS), p=weights)
    return [(_text(row[:_QUESTION_WORDS]), _text(row[_QUESTION_WORDS:])) for row in drawn]


@cache
def _sentences() -> tuple[list[str], list[str]]:
    """What users and assistants say in our own data set, by sentence."""
    said: dict[str, list[str]] = {"user": [], "assistant": []}
    for line in (DEFINITIONS / "mental_health_support.jsonl").read_text("utf-8").splitlines():
        for turn in json.loads(line)["messages"]:
            text = turn["content"]
            said[turn["role"]] += [text[s:e].strip() for s, e in sentences(text)]
    return said["user"], said["assistant"]


def _english(generator: np.random.Generator, size: int) -> list[tuple[str, str]]:
    asked, answered = _sentences()
    made = []
    for _ in range(size):
        question = generator.integers(0, len(asked), _QUESTION_SENTENCES)
        answer = generator.integers(0, len(answered), _ANSWER_SENTENCES)
        made.append((" ".join(asked[i] for i in question), " ".join(answered[i] for i in answer)))
    return made


def _word(number: int) -> str:
    word = ""
    number += 12
    while number:
        number, digit = divmod(number, 12)
        word += _SYLLABLES[digit]
    return word


def _text(words: np.ndarray) -> str:
    sentences = [" ".join(words[i : i + 12]) for i in range(0, len(words), 12)]
    return " ".join(sentence.capitalize() + "." for sentence in sentences)


class PeakMemory:
    """Samples the memory of this process and its children, shared pages counted once."""

    def __init__(self, seconds: float = 1.0) -> None:
        """Start with nothing measured; a sample is taken every ``seconds``."""
        self.peak = 0
        self._seconds = seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> PeakMemory:
        """Start to sample."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Take a last sample."""
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            self.peak = max(self.peak, sum(map(_proportional_bytes, _family(os.getpid()))))
            if self._stop.wait(self._seconds):
                return


def _family(pid: int) -> list[int]:
    found = [pid]
    for parent in found:
        try:
            tasks = list(Path(f"/proc/{parent}/task").iterdir())
            for task in tasks:
                found += [int(child) for child in (task / "children").read_text().split()]
        except OSError:
            # A worker that ended meanwhile.
            continue
    return found


def _proportional_bytes(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return 1024 * int(line.split()[1])
    except OSError:
        return 0
    return 0


def _cpu_seconds() -> float:
    """Processor time of this process and of its children that have ended."""
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in spent)


def run(count: int, workers: int | None, folder: Path, recipe: str | None, *, full: bool) -> str:
    """Prepare synthetic rows; says how long it took and how much memory.

    Args:
        count: of rows.
        workers: processes; None for one a core.
        folder: where the rows are kept meanwhile.
        recipe: whose tokenizer proves the rows.
        full: every step at its default, on English; else without filter and proof.
    """
    with (folder / "rows.jsonl").open("w", encoding="utf-8") as file:
        for row in rows(count, english=full):
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    definition = {
        "name": "benchmark",
        "source": {"file": "rows.jsonl"},
        "shape": "prompt_response",
        "columns": {"prompt": "question", "response": "answer"},
        "steps": {} if full else {"filter": False, "contamination": False, "prove": False},
    }
    path = folder / "benchmark.yaml"
    path.write_text(yaml.safe_dump(definition), encoding="utf-8")
    proving = recipe if full else None
    began, busy = time.perf_counter(), _cpu_seconds()
    with PeakMemory() as memory:
        out = datasets_prep.prepare(path, out=folder / "out", recipe=proving, workers=workers)
    seconds, busy = time.perf_counter() - began, _cpu_seconds() - busy
    unproven = json.loads((out / "manifest.json").read_text(encoding="utf-8"))["unproven"]
    steps = (
        "no filter, no proof"
        if not full
        else f"not proven ({unproven})"
        if unproven
        else "all steps"
    )
    return (
        f"{steps}: {count:,} rows in {seconds:,.0f} s on {workers or os.cpu_count()} cores, "
        f"{count / seconds:,.0f} rows/s ({count / busy:,.0f} for each second of a core), "
        f"peak memory {memory.peak / 2**30:.2f} GiB"
    )


def main() -> None:
    """Generate, prepare, and print rows a second and the peak of memory, for both figures."""
    parser = argparse.ArgumentParser(prog="python -m datasets_prep.benchmark")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, help="processes (default: one a core)")
    parser.add_argument("--folder", help="where the rows are kept meanwhile (10 GB a million)")
    parser.add_argument("--recipe", default="smollm2-135m-qlora", help="whose tokenizer proves")
    parser.add_argument("--only", choices=("all", "plain"), help="one of the two figures")
    args = parser.parse_args()
    said = []
    for full in (True, False):
        if args.only in (None, "all" if full else "plain"):
            with tempfile.TemporaryDirectory(dir=args.folder) as name:
                said.append(run(args.rows, args.workers, Path(name), args.recipe, full=full))
    print("\n".join(said))


if __name__ == "__main__":
    main()
