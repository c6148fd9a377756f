"""One run of all steps, in a folder of its own until it is whole."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from tqdm import tqdm

from datasets_prep import manifest
from datasets_prep.card import CardFacts, write_cards
from datasets_prep.conversation import json_line
from datasets_prep.definition import Definition
from datasets_prep.parallel import run_batches
from datasets_prep.prove import Proven, Prover
from datasets_prep.readers import Row, read_rows
from datasets_prep.shapes import Shaper, UnknownRole, unknown_role_error
from datasets_prep.split import SPLITS
from datasets_prep.steps import SET_STEPS
from datasets_prep.store import Mask, Store
from datasets_prep.tally import Tally
from datasets_prep.token_lengths import Tokens
from datasets_prep.whole import Labels, WholeSet
from datasets_prep.workspace import work_folder
from recipes.runner.core.errors import UserError
from recipes.runner.core.recipe import Recipe, display_path

_EXAMPLES = 3
_LOOK_AHEAD = 200


@dataclass(frozen=True)
class BuildResult:
    """Counts of a run, in rows."""

    read: int
    kept: int
    written: list[int]
    unproven: str | None
    warnings: list[str]


@dataclass(frozen=True)
class Tokenising:
    """The recipe that rows are proven with.

    Attributes:
        recipe: the recipe.
        config: its `recipe_tokens.token_config`.
        missing: why its tokenizer cannot be had; None when it can.
    """

    recipe: Recipe
    config: dict[str, Any]
    missing: str | None


def build(
    definition: Definition,
    path: Path | None,
    folder: Path,
    tokenising: Tokenising | None,
    wanted: dict[str, Any],
    workers: int | None,
) -> BuildResult:
    """Run every step and put the result into ``folder``.

    Raises:
        UserError: anything a user can fix; ``folder`` stays as it was.
    """
    with work_folder(folder) as work:
        run = _Run(definition, path, work, tokenising, workers)
        outcome = run()
        outputs = [file.name for file in run.result.iterdir()]
        manifest.write(run.result, wanted, outputs, run.counts(outcome), run.unproven)
        _install(run.result, folder)
        return outcome


def _install(result: Path, folder: Path) -> None:
    """Move the files in; the manifest goes first and comes last, so that a torn set is remade."""
    folder.mkdir(exist_ok=True)
    (folder / manifest.MANIFEST).unlink(missing_ok=True)
    for file in sorted(result.iterdir(), key=lambda p: p.name == manifest.MANIFEST):
        file.replace(folder / file.name)


def _why_unproven(definition: Definition, tokenising: Tokenising | None) -> str | None:
    if not definition.steps.prove:
        return "the definition switches the step off"
    if tokenising is None:
        return "no recipe was given (--recipe)"
    return tokenising.missing


class _Run:
    def __init__(
        self,
        definition: Definition,
        path: Path | None,
        work: Path,
        tokenising: Tokenising | None,
        workers: int | None,
    ) -> None:
        self.definition, self.path, self.workers = definition, path, workers
        self.name = path.name if path else str(definition.source.hub)
        self.tally = Tally()
        self.warnings: list[str] = []
        self.result = work / "result"
        self.result.mkdir()
        self.store = Store(work)
        self.tokens: Tokens | None = None
        self.prover: Prover | None = None
        self.ledger_file: IO[str]
        steps = definition.steps
        limits = steps.filter and (steps.filter.min_tokens or steps.filter.max_tokens)
        self.unproven = _why_unproven(definition, tokenising)
        if tokenising is not None and self.unproven is None:
            # Before the long work: a template that is not there is known at once.
            self.prover = Prover(tokenising.config, tokenising.recipe.path)
            self.tokens = Tokens(
                [],
                tokenising.recipe.name,
                display_path(tokenising.config["tokenizer_config"]),
                self.prover.sequence_len,
            )
        elif limits:
            raise UserError(
                f"filter.min_tokens and filter.max_tokens need a tokenizer; {self.unproven}",
                definition.name,
                "Give --recipe one that can be had, or set the limits in words",
            )

    def __call__(self) -> BuildResult:
        with (self.result / "ledger.jsonl").open("w", encoding="utf-8") as self.ledger_file:
            self._row_steps()
            rows = WholeSet(
                self.definition,
                self.store,
                np.ones(len(self.store), bool),
                self._note,
                self.prover,
                self.tokens,
            )
            for step in SET_STEPS:
                self._need_rows(rows.keep)
                step.run(rows)
        written, turns, topics, examples = self._write(rows.labels, rows.pieces)
        self.store.close()
        self._warn(written)
        facts = CardFacts(
            self.definition,
            self.name,
            self.tally,
            written,
            turns,
            topics,
            examples,
            self.tokens,
            self.unproven,
            self.warnings,
        )
        write_cards(self.result, facts)
        kept = int(rows.keep.sum())
        return BuildResult(self.tally.read, kept, written, self.unproven, self.warnings)

    def counts(self, outcome: BuildResult) -> dict[str, Any]:
        """Counts for the manifest; tokens are of all splits, None when not measured."""
        return {
            "tokens": sum(self.tokens.lengths) if self.tokens else None,
            "read": outcome.read,
            "kept": outcome.kept,
            "dropped": dict(sorted(self.tally.dropped.items())),
            "written": dict(zip(SPLITS, outcome.written, strict=True)),
        }

    def _rows(self) -> Iterator[Row]:
        return read_rows(self.definition.source, self.path)

    def _row_steps(self) -> None:
        shaper = Shaper(self.definition, self.name)
        seen: set[int] = set()
        units = shaper.units(self._checked(shaper))
        bar = tqdm(desc=self.definition.name, unit=" rows", unit_scale=True, disable=None)
        try:
            for batch in run_batches(self.definition, self.name, units, self.workers):
                self.tally.read += batch.units
                self.store.add(batch.block)
                self._note(batch.ledger)
                bar.update(batch.units)
                if self.definition.columns.id:
                    self._unique(batch.block.lines, seen)
        except UnknownRole as unknown:
            raise unknown_role_error(shaper, self._rows(), unknown.role) from None
        finally:
            bar.close()

    def _checked(self, shaper: Shaper) -> Iterator[Row]:
        """The rows, after a look at the columns of the first ones."""
        rows = self._rows()
        head: list[Row] = []
        for row in rows:
            head.append(row)
            if len(head) == _LOOK_AHEAD:
                break
        if not head:
            raise UserError("holds no rows", self.name, "Give a source with rows")
        shaper.check_columns(head)
        yield from head
        yield from rows

    def _unique(self, lines: list[bytes], seen: set[int]) -> None:
        for line in lines:
            row = json.loads(line)["id"]
            if hash(row) in seen:
                raise UserError(
                    f"id '{row}' occurs twice", self.name, "Drop columns.id, or fix the ids"
                )
            seen.add(hash(row))

    def _note(self, lines: list[dict[str, Any]]) -> None:
        for line in lines:
            self.tally.ledger(line)
            self.ledger_file.write(json_line(line) + "\n")

    def _need_rows(self, keep: Mask) -> None:
        if not keep.any():
            drops = [r for r in self.tally.reasons.most_common() if r[0][1] == "dropped"]
            why = f"; most often: {drops[0][0][0]}: {drops[0][0][2]}" if drops else ""
            raise UserError(
                f"no usable row among {self.tally.read}{why}",
                self.name,
                "Check shape, columns and steps in the definition",
            )

    def _write(
        self, labels: Labels, pieces: dict[int, Proven]
    ) -> tuple[list[int], list[int], dict[str, list[int]], list[dict[str, Any]]]:
        written, turns = [0, 0, 0], [0, 0, 0]
        names = {number: name for name, number in self.store.topics.items()}
        topics: dict[str, list[int]] = {}
        examples: list[dict[str, Any]] = []
        files = [(self.result / f"{name}.jsonl").open("wb") for name in SPLITS]
        wanted = set(np.linspace(0, max(0, int((labels == 0).sum()) - 1), _EXAMPLES, dtype=int))
        try:
            for index, line in enumerate(self.store.lines()):
                label = int(labels[index])
                if label < 0:
                    continue
                lines = [line]
                if index in pieces:
                    rows = pieces[index].rows
                    lines = [json_line(r).encode() + b"\n" for r in rows]
                if label == 0 and written[0] in wanted and len(examples) < _EXAMPLES:
                    examples.append(json.loads(lines[0]))
                counts = topics.setdefault(names[self.store.topic[index]], [0, 0, 0])
                for text in lines:
                    files[label].write(text)
                    written[label] += 1
                    counts[label] += 1
                    turns[label] += text.count(b'{"role": "assistant", "content": ')
        finally:
            for file in files:
                file.close()
        return written, turns, ({} if set(topics) == {""} else topics), examples

    def _warn(self, written: list[int]) -> None:
        sizes = self.definition.split
        for name, rows, size in (
            ("validation", written[1], sizes.validation),
            ("test", written[2], sizes.test),
        ):
            if size and not rows:
                self.warnings.append(
                    f"the {name} split is empty: too few groups of unlike questions. If every "
                    "row opens with the same text, name its column as columns.system"
                )
