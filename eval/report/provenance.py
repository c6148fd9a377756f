"""Where the data of a comparison come from: held-out rows by source, and the training rows nearest.

Nothing here decides a verdict. A tuned model that is better on one source alone, or on answers that
a model wrote, or on prompts that stand near its training rows, should be read with that in mind.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datasets_prep.contamination import Nearness, nearest_rows
from eval.evaluate import Evaluation
from eval.suite import Suite
from recipes.runner.core.recipe import ROOT

_WRITERS = {True: "a model", False: "people", None: "not said"}
_SHOWN = 10


def by_source(outcome: Evaluation) -> list[dict[str, Any]]:
    """Held-out nats per token by the rows' source and by who wrote their answers.

    Returns:
        One entry for each of them; none for data that say neither.
    """
    test = outcome.settings.get("held_out")
    if outcome.held_out is None or not test or not Path(str(test)).is_file():
        return []
    origin = {str(row.get("id")): row for row in _rows(Path(str(test)))}
    sums: dict[tuple[str, str], list[float]] = {}
    for row, base, tuned in zip(outcome.rows, *outcome.held_out, strict=True):
        known = origin.get(row.id, {})
        key = (str(known.get("part") or ""), _WRITERS[known.get("by_model")])
        counted = sums.setdefault(key, [0, 0.0, 0.0, 0])
        for index, value in enumerate((1, base[0], tuned[0], base[1])):
            counted[index] += value
    if set(sums) <= {("", _WRITERS[None])}:
        return []
    return [
        {
            "source": source or "all",
            "written_by": writer,
            "conversations": int(rows),
            "base": base / tokens,
            "tuned": tuned / tokens,
            "difference": (tuned - base) / tokens,
        }
        for (source, writer), (rows, base, tuned, tokens) in sorted(sums.items())
    ]


def nearest_training_rows(
    suites: list[Suite], outcome: Evaluation, record: dict[str, Any]
) -> dict[tuple[str, str], dict[str, Any]]:
    """The training row nearest to each prompt, by suite and prompt; none without the data."""
    file = _training_file(outcome, record)
    if file is None:
        return {}
    asked = [(s.name, p.id, turn) for s in suites for p in s.prompts for turn in p.turns]
    found: dict[tuple[str, str], Nearness] = {}
    for (suite, prompt, _), near in zip(
        asked, nearest_rows([turn for _, _, turn in asked], file), strict=True
    ):
        best = found.get((suite, prompt))
        if near and (best is None or near.similarity > best.similarity):
            found[suite, prompt] = near
    return {
        key: {"row": near.row, "similarity": round(near.similarity, 3), "text": near.text}
        for key, near in found.items()
    }


def nearest_first(found: dict[tuple[str, str], dict[str, Any]]) -> list[dict[str, Any]]:
    """The prompts that stand nearest to training rows, for the summary."""
    order = sorted(found.items(), key=lambda one: (-one[1]["similarity"], one[0]))
    return [{"suite": s, "id": p, **near} for (s, p), near in order[:_SHOWN]]


def _training_file(outcome: Evaluation, record: dict[str, Any]) -> Path | None:
    listed = [entry for entry in record.get("data") or [] if entry.get("use") == "datasets"]
    paths = [Path(str(entry.get("path"))) for entry in listed]
    test = outcome.settings.get("held_out")
    paths += [Path(str(test)).with_name("train.jsonl")] if test else []
    return next((file for path in paths for file in (path, ROOT / path) if file.is_file()), None)


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            if line.strip():
                yield json.loads(line)
