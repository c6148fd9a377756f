"""Contamination: training rows near a prompt of the evaluation are dropped, and named.

A row is near a prompt when one of its user turns is the prompt in other letters, or shares half of
its runs of three words (Jaccard), or when eight words in a row of a prompt stand in any turn (the
n-gram overlap of Brown et al., "Language Models are Few-Shot Learners", 2020, appendix C). A row
that learns the very answer which a suite gives as its reference goes too. There are some hundred
prompts, so that every pair that shares a run is compared: what MinHash approximates for large sets
is exact here.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import numpy as np

from datasets_prep.conversation import Conversation, Message, turns_of
from datasets_prep.pairs import word_matrix
from datasets_prep.settings import ContaminationSettings
from datasets_prep.signatures import jaccard, normalise, shingles
from datasets_prep.suites import Prompt, listed_in, prompts_of, references_of, suite_files
from datasets_prep.whole import WholeSet
from datasets_prep.words import has_unspaced

_SHINGLE = 3
_CHUNK = 4096
# Fewer words than this open and carry on talks of every kind.
_TELLING = 4


@dataclass(frozen=True)
class Nearness:
    """How near a row is to a prompt: the row, and the Jaccard similarity of their word runs."""

    row: str
    similarity: float
    text: str


class Prompts:
    """The prompts of the evaluation, to hold texts against."""

    def __init__(
        self,
        prompts: list[Prompt],
        ngram: int,
        threshold: float,
        references: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Index the runs of words; ``references`` as `references_of` gives them."""
        self._ngram, self._threshold = ngram, threshold
        self._references = {normalise(text): name for text, name in references.items()}
        self._exact: dict[str, list[Prompt]] = defaultdict(list)
        self._runs: dict[str, Prompt] = {}
        self._first_words: set[tuple[str, ...]] = set()
        self._sets: list[tuple[Prompt, set[str]]] = []
        self._holding: dict[str, list[int]] = defaultdict(list)
        for prompt in prompts:
            normal = normalise(prompt.text)
            self._exact[normal].append(prompt)
            for run in _runs(normal, ngram):
                self._runs.setdefault(run, prompt)
                self._first_words.add(tuple(run.split(" ", 2)[:2]))
            runs = shingles(normal, _SHINGLE)
            for run in runs:
                self._holding[run].append(len(self._sets))
            self._sets.append((prompt, runs))

    @classmethod
    def of_suites(cls, settings: ContaminationSettings) -> Self:
        """Those of suites, with the answers that these give.

        Raises:
            UserError: there is no such suite.
        """
        listed = listed_in(suite_files(settings))
        references = references_of(listed)
        return cls(prompts_of(listed), settings.ngram, settings.threshold, references)

    def near(self, row: dict[str, Any]) -> str | None:
        """Why a row is near a prompt; None when it is near none."""
        turns = turns_of(row)
        asked = [normalise(turn["content"]) for turn in turns if turn["role"] == "user"]
        place = -1
        for turn in turns:
            if turn["role"] not in ("user", "assistant"):
                continue
            if turn["role"] == "assistant":
                normal = normalise(turn["content"])
                if normal in self._references:
                    return f"the answer of the suite to '{self._references[normal]}'"
            else:
                place += 1
                normal = asked[place]
                if same := self._same(asked, place):
                    return f"a prompt of the suite: '{same.name}'"
                for index, similarity in self._similar(normal):
                    if similarity >= self._threshold:
                        name = self._sets[index][0].name
                        return f"near a prompt of the suite '{name}' (Jaccard {similarity:.2f})"
            run = self._run_of_a_prompt(normal.split())
            if run:
                name = self._runs[run].name
                return f"{self._ngram} words in a row of a prompt: '{name}'"
        return None

    def _same(self, asked: list[str], place: int) -> Prompt | None:
        """The prompt whose text a user turn is.

        What anybody says ("hey", "why?") is the prompt only where it is all that was asked, or
        stands behind the same turn.
        """
        for prompt in self._exact.get(asked[place], ()):
            if len(asked[place].split()) >= _TELLING or len(asked) == 1:
                return prompt
            if prompt.before and place and asked[place - 1] == normalise(prompt.before):
                return prompt
        return None

    def _run_of_a_prompt(self, words: list[str]) -> str:
        """The first run of words that a prompt has too; only where its first two words agree."""
        for index, pair in enumerate(pairwise(words)):
            if pair in self._first_words:
                run = " ".join(words[index : index + self._ngram])
                if run in self._runs:
                    return run
        return ""

    def _similar(self, normal: str) -> list[tuple[int, float]]:
        if len(normal.split()) < _TELLING and not has_unspaced(normal):
            # One run at most, which is the whole text.
            return []
        runs = shingles(normal, _SHINGLE)
        candidates = {index for run in runs for index in self._holding.get(run, ())}
        return [(index, jaccard(runs, self._sets[index][1])) for index in sorted(candidates)]


def _runs(normal: str, size: int) -> list[str]:
    words = normal.split()
    return [" ".join(words[i : i + size]) for i in range(len(words) - size + 1)]


def drop_contaminated(rows: WholeSet) -> None:
    """The step: as the definition sets it."""
    settings = rows.definition.steps.contamination
    if not settings:
        return
    known = Prompts.of_suites(settings)
    ledger = rows.ledger("contamination")
    for index in np.flatnonzero(rows.keep).tolist():
        row = json.loads(rows.store.line(index))
        reason = known.near(row)
        if reason:
            rows.keep[index] = False
            messages = [Message.from_dict(message) for message in turns_of(row)]
            ledger.dropped(Conversation(row["id"], row["source"], messages), reason)
    ledger.flush()


def nearest_rows(prompts: list[str], file: Path) -> list[Nearness | None]:
    """The training row nearest to each prompt, for a report.

    Args:
        prompts: user turns.
        file: rows as they are written, one JSON object a line.

    Returns:
        One for each prompt: None where no row shares a word with it. The similarity is the Jaccard
        of word sets, which tells unlike rows apart too.
    """
    sets = [sorted(set(normalise(prompt).split())) for prompt in prompts]
    column = {word: n for n, word in enumerate(sorted({w for words in sets for w in words}))}
    wanted = word_matrix([[column[w] for w in words] for words in sets], len(column)).T
    sizes = np.array([len(words) for words in sets])
    best: list[Nearness | None] = [None] * len(prompts)
    with file.open(encoding="utf-8") as lines:
        turns = (
            (row["id"], turn["content"], set(normalise(turn["content"]).split()))
            for row in map(json.loads, lines)
            for turn in turns_of(row)
            if turn["role"] == "user"
        )
        while chunk := list(islice(turns, _CHUNK)):
            known = [[column[w] for w in words if w in column] for _, _, words in chunk]
            shared = (word_matrix(known, len(column)) @ wanted).toarray()
            held = np.array([len(words) for _, _, words in chunk])
            similarity = shared / np.maximum(1, held[:, None] + sizes[None, :] - shared)
            for index, place in enumerate(similarity.argmax(axis=0).tolist()):
                value, found = float(similarity[place, index]), best[index]
                if value > (found.similarity if found else 0.0):
                    best[index] = Nearness(chunk[place][0], value, chunk[place][1])
    return best
