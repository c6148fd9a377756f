"""Speed and memory: ``python -m datasets_prep.benchmark [--rows N [M ...]] [--recipe NAME]``.

The command of users in a process of its own, imports and all. Of several sizes, what a further row
costs comes out too, free of what a start costs.

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
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from datasets_prep.definition import DEFINITIONS
from datasets_prep.sentences import sentences
from recipes.runner.core.errors import UserError, user_errors_exit
from recipes.runner.core.recipe import ROOT

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
    """Samples the memory of a process and its children, shared pages counted once.

    Attributes:
        peak: the largest sample, in bytes.
    """

    def __init__(self, pid: int, seconds: float = 1.0) -> None:
        """Start with nothing measured; a sample is taken every ``seconds``."""
        self.peak = 0
        self._pid = pid
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
            self.peak = max(self.peak, sum(map(_proportional_bytes, _family(self._pid))))
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
    """Processor time of the children of this process that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


@dataclass(frozen=True)
class Measured:
    """What one run took.

    Attributes:
        steps: which steps ran.
        rows: that went in.
        seconds: by the clock.
        busy: seconds of processor time, of all processes together.
        peak: bytes of memory, of all processes together.
        workers: processes.
    """

    steps: str
    rows: int
    seconds: float
    busy: float
    peak: int
    workers: int

    def __str__(self) -> str:
        """One line."""
        return (
            f"{self.steps}: {self.rows:,} rows in {self.seconds:,.0f} s on {self.workers} cores, "
            f"{self.rows / self.seconds:,.0f} rows/s "
            f"({self.rows / self.busy:,.0f} for each second of a core), "
            f"peak memory {self.peak / 2**30:.2f} GiB"
        )


def slope(less: Measured, more: Measured) -> str:
    """What each further row took between two sizes, and where that leads at a million rows."""
    rows = more.rows - less.rows
    busy, memory = (more.busy - less.busy) / rows, (more.peak - less.peak) / rows
    million = more.peak + max(0.0, memory) * max(0, 1_000_000 - more.rows)
    speed = f"{1 / busy:,.0f} for each second of a core" if busy > 0 else "no time between them"
    return (
        f"  from {less.rows:,} to {more.rows:,} rows: {speed}, "
        f"{memory / 1024:.2f} KiB of memory a row; in a straight line {million / 2**30:.2f} GiB at "
        "1,000,000"
    )


def run(
    count: int, workers: int | None, folder: Path, recipe: str | None, *, full: bool
) -> Measured:
    """Prepare synthetic rows by the command that users give.

    Args:
        count: of rows.
        workers: processes; None for one a core.
        folder: where the rows are kept meanwhile.
        recipe: whose tokenizer proves the rows.
        full: every step at its default, on English; else without filter and proof.

    Raises:
        UserError: the command failed.
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
    path, out = folder / "benchmark.yaml", folder / "out"
    path.write_text(yaml.safe_dump(definition), encoding="utf-8")
    command = [sys.executable, "-m", "datasets_prep", str(path), "--out", str(out)]
    command += ["--recipe", recipe] if full and recipe else []
    command += ["--workers", str(workers)] if workers else []
    began, busy = time.perf_counter(), _cpu_seconds()
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    with PeakMemory(process.pid) as memory:
        code = process.wait()
    seconds, busy = time.perf_counter() - began, _cpu_seconds() - busy
    if code:
        raise UserError(f"the command ended with exit code {code}", "benchmark")
    unproven = json.loads((out / "manifest.json").read_text(encoding="utf-8"))["unproven"]
    done = f"not proven ({unproven})" if unproven else "all steps"
    steps = done if full else "no filter, no proof"
    return Measured(steps, count, seconds, busy, memory.peak, workers or os.cpu_count() or 1)


def main(argv: Sequence[str] | None = None) -> None:
    """Generate, prepare, and print rows a second and the peak of memory, for both figures."""
    parser = argparse.ArgumentParser(prog="python -m datasets_prep.benchmark")
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000], help="one size or more")
    parser.add_argument("--workers", type=int, help="processes (default: one a core)")
    parser.add_argument("--folder", help="where the rows are kept meanwhile (10 GB a million)")
    parser.add_argument("--recipe", default="smollm2-135m-qlora", help="whose tokenizer proves")
    parser.add_argument("--only", choices=("all", "plain"), help="one of the two figures")
    args = parser.parse_args(argv)
    with user_errors_exit():
        for full in (True, False):
            if args.only not in (None, "all" if full else "plain"):
                continue
            found = []
            for count in sorted(set(args.rows)):
                with tempfile.TemporaryDirectory(dir=args.folder) as name:
                    made = run(count, args.workers, Path(name), args.recipe, full=full)
                print(made, flush=True)
                found.append(made)
            for less, more in pairwise(found):
                print(slope(less, more))


if __name__ == "__main__":
    main()
