"""One run of all steps, in a folder of its own until it is whole."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np
from tqdm import tqdm

from datasets_prep import manifest
from datasets_prep.card import CardFacts, write_cards
from datasets_prep.conversation import json_line
from datasets_prep.definition import Definition
from datasets_prep.mix import copies
from datasets_prep.parallel import run_batches
from datasets_prep.prove import Prover
from datasets_prep.readers import Row, read_rows
from datasets_prep.roles import UnknownRole
from datasets_prep.shapes import Shaper, unknown_role_error
from datasets_prep.source import Source
from datasets_prep.split import SPLITS
from datasets_prep.steps import SET_STEPS
from datasets_prep.store import Store
from datasets_prep.tally import Tally
from datasets_prep.token_lengths import Tokens
from datasets_prep.whole import WholeSet
from datasets_prep.workspace import work_folder
from recipes.runner.core.errors import UserError
from recipes.runner.core.recipe import Recipe, display_path

_EXAMPLES = 3
_LOOK_AHEAD = 200
# What a setting has to do with a reason for which everything was dropped.
_CURES = {
    "assistant turn of": "Set steps.filter.min_answer_words lower",
    "where one text is wanted": "For lists of questions and answers set shape: intents",
    "no text": "Name another column, or set columns.numbers_as_text: true for numbers",
    "tool_calls": "Name a recipe whose template takes tools, with --recipe",
    "not in '": "Set steps.filter.language.keep, or language: false",
}


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


@dataclass(frozen=True)
class PartPlan:
    """One source of a data set: its own definition, and the files it is read from."""

    definition: Definition
    source: Source
    files: list[Path]

    @property
    def name(self) -> str:
        """What stands before the number of a row."""
        if len(self.files) == 1:
            return self.files[0].name
        return self.files[0].parent.name if self.files else str(self.source.hub)


def build(
    definition: Definition,
    parts: list[PartPlan],
    folder: Path,
    tokenising: Tokenising | None,
    wanted: dict[str, Any],
    workers: int | None,
    limit: int | None = None,
) -> BuildResult:
    """Run every step and put the result into ``folder``.

    Raises:
        UserError: anything a user can fix; ``folder`` stays as it was.
    """
    with work_folder(folder) as work:
        run = _Run(definition, parts, work, tokenising, workers, limit)
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
        parts: list[PartPlan],
        work: Path,
        tokenising: Tokenising | None,
        workers: int | None,
        limit: int | None,
    ) -> None:
        self.definition, self.parts, self.workers = definition, parts, workers
        self.limit = limit
        self.name = ", ".join(dict.fromkeys(part.name for part in parts))
        self.tally = Tally()
        self.warnings: list[str] = []
        self.result = work / "result"
        self.result.mkdir()
        self.store = Store(work)
        self.tokens: Tokens | None = None
        self.prover: Prover | None = None
        self.ledger_file: IO[str]
        self.tokenising = tokenising
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
        why_no_tools = "no recipe's chat template was at hand that takes tools"
        for part in parts:
            part.definition.settle_tools(
                self.prover.why_no_tools() if self.prover else why_no_tools
            )

    def __call__(self) -> BuildResult:
        with (self.result / "ledger.jsonl").open("w", encoding="utf-8") as self.ledger_file:
            for part in self.parts:
                self._row_steps(part)
            rows = WholeSet(
                self.definition,
                self.store,
                np.ones(len(self.store), bool),
                self._note,
                self.prover,
                self.tokens,
                warnings=self.warnings,
            )
            for step in SET_STEPS:
                self._need_rows(rows)
                step.run(rows)
                if step.drops:
                    self.tally.flow[step.name] = self.store.flow(rows.keep)
        self._check_flags()
        written, turns, topics, examples = self._write(rows)
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
            self._shares(rows),
        )
        self.store.close()
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

    def _rows(self, part: PartPlan) -> Iterator[Row]:
        rows = read_rows(part.source, part.files)
        return islice(rows, self.limit) if self.limit else rows

    def _row_steps(self, part: PartPlan) -> None:
        shaper = Shaper(part.definition, part.name)
        seen: set[int] = set()
        units = shaper.units(self._checked(shaper, part))
        bar = tqdm(desc=part.definition.name, unit=" rows", unit_scale=True, disable=None)
        try:
            for batch in run_batches(part.definition, part.name, units, self.workers):
                self.tally.batch(batch, part.definition.part)
                self.store.add(batch.block)
                self._note(batch.ledger)
                bar.update(batch.units)
                if part.definition.columns.id:
                    self._unique(batch.block.lines, seen, part)
        except UnknownRole as unknown:
            raise unknown_role_error(shaper, self._rows(part), unknown.role) from None
        finally:
            bar.close()

    def _checked(self, shaper: Shaper, part: PartPlan) -> Iterator[Row]:
        """The rows, after a look at the columns of the first ones."""
        rows = self._rows(part)
        head = list(islice(rows, _LOOK_AHEAD))
        if not head:
            raise UserError("holds no rows", part.name, "Give a source with rows")
        shaper.check_columns(head)
        yield from head
        yield from rows

    def _unique(self, lines: list[bytes], seen: set[int], part: PartPlan) -> None:
        for line in lines:
            row = json.loads(line)["id"]
            if hash(row) in seen:
                raise UserError(
                    f"id '{row}' occurs twice", part.name, "Drop columns.id, or fix the ids"
                )
            seen.add(hash(row))

    def _note(self, lines: list[dict[str, Any]]) -> None:
        for line in lines:
            self.tally.ledger(line)
            self.ledger_file.write(json_line(line) + "\n")

    def _need_rows(self, rows: WholeSet) -> None:
        if rows.keep.any():
            return
        drops = [r for r in self.tally.reasons.most_common() if r[0][1] == "dropped"]
        why, todo = "", "Check shape, columns and steps in the definition"
        if drops:
            step, action, reason = drops[0][0]
            why = f"; most often: {step}: {reason}"
            whole = self.tally.whole.get((step, action, reason), reason)
            if whole != reason:
                why += f" ({whole})"
            todo = next((cure for sign, cure in _CURES.items() if sign in whole), todo)
        raise UserError(f"no usable row among {self.tally.read}{why}", self.name, todo)

    def _check_flags(self) -> None:
        """Turns that are not to be trained need a recipe that reads their mark."""
        if not self.store.untrained:
            return
        entry = self.tokenising.config["datasets"][0] if self.tokenising else {}
        if entry.get("message_field_training") == "training":
            return
        todo = "Add message_field_training: training to the recipe's datasets"
        if self.tokenising is not None:
            raise UserError(
                "some turns are not to be trained (weight 0 or train: false), and the recipe "
                f"{self.tokenising.recipe.name} would train them",
                self.name,
                todo,
            )
        self.warnings.append(
            "some turns are not to be trained, and are marked training: false. "
            f"{todo} that trains on these data"
        )

    def _write(
        self, rows: WholeSet
    ) -> tuple[list[int], list[int], dict[str, list[int]], list[dict[str, Any]]]:
        labels = rows.labels
        written, turns = [0, 0, 0], [0, 0, 0]
        names = {number: name for name, number in self.store.topics.items()}
        weights = {p.definition.part: p.definition.weight for p in self.parts}
        weight_of = {n: weights.get(name, 1.0) for name, n in self.store.parts.items()}
        topics: dict[str, list[int]] = {}
        examples: list[dict[str, Any]] = []
        files = [(self.result / f"{name}.jsonl").open("wb") for name in SPLITS]
        wanted = set(np.linspace(0, max(0, int((labels == 0).sum()) - 1), _EXAMPLES, dtype=int))
        seed = self.definition.split.seed
        try:
            for index, line in enumerate(self.store.lines()):
                label = int(labels[index])
                if label < 0:
                    continue
                lines = [line]
                if index in rows.pieces:
                    lines = [json_line(r).encode() + b"\n" for r in rows.pieces[index].rows]
                if label == 0 and written[0] in wanted and len(examples) < _EXAMPLES:
                    examples.append(json.loads(lines[0]))
                counts = topics.setdefault(names[self.store.topic[index]], [0, 0, 0])
                weight = weight_of[self.store.part[index]]
                times = copies(weight, seed, str(index)) if label == 0 and weight > 1 else 1
                for text in _repeated(lines, times):
                    files[label].write(self._flagged(text))
                    written[label] += 1
                    counts[label] += 1
                    turns[label] += text.count(b'{"role": "assistant", "content": ')
        finally:
            for file in files:
                file.close()
        return written, turns, ({} if set(topics) == {""} else topics), examples

    def _flagged(self, line: bytes) -> bytes:
        """A line whose turns all say whether they are trained, where one of the set says no."""
        if not self.store.untrained:
            return line
        row = json.loads(line)
        for turn in row.get("messages", ()):
            turn.setdefault("training", turn["role"] == "assistant")
        return json_line(row).encode() + b"\n"

    def _shares(self, rows: WholeSet) -> list[dict[str, Any]]:
        """Rows, turns and trained tokens by source; none for a single one."""
        if len(self.parts) < 2:
            return []
        parts = np.frombuffer(self.store.part, np.uint32)
        shares = []
        for name, number in self.store.parts.items():
            mask = rows.keep & (parts == number)
            turns, words, _ = self.store.flow(mask)
            tokens = self.tokens.of_parts.get(number, [0, 0])[1] if self.tokens else None
            train = int((mask & (rows.labels == 0)).sum())
            shares.append({"name": name or self.definition.name, "read": self.tally.parts[name],
                           "rows": int(mask.sum()), "train": train, "turns": turns,
                           "words": words, "tokens": tokens})  # fmt: skip
        return shares

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
        if self.tally.unused:
            self.warnings.append(f"columns left unused: {', '.join(sorted(self.tally.unused))}")
        if self.tally.unused_keys:
            listed = ", ".join(sorted(self.tally.unused_keys))
            self.warnings.append(f"keys of turns left unused: {listed}")


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
