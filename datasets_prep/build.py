"""One run of all steps, in a folder of its own until it is whole."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
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
from datasets_prep.dropped import most_dropped, nothing_left
from datasets_prep.light import settle
from datasets_prep.parallel import batches, run_batches
from datasets_prep.prove import Prover
from datasets_prep.readers import Row, read_rows
from datasets_prep.roles import UnknownRole
from datasets_prep.shapes import Shaper, unknown_role_error
from datasets_prep.snapshots import Snapshots, packed, row_keys, set_keys, unpacked, write_piece
from datasets_prep.source import Source
from datasets_prep.split import SPLITS
from datasets_prep.split_files import write_splits
from datasets_prep.steps import NAMES, SET_STEPS, SetStep
from datasets_prep.store import Store
from datasets_prep.tally import Tally
from datasets_prep.token_lengths import Tokens
from datasets_prep.where import parse_condition
from datasets_prep.whole import WholeSet
from datasets_prep.worker import Batch
from datasets_prep.workspace import work_folder
from recipes.runner.core.errors import UserError
from recipes.runner.core.recipe import Recipe, display_path

_LOOK_AHEAD = 200
# A preview of 50 rows looks for them among the first 10,000.
_NEAR = 200


@dataclass(frozen=True)
class BuildResult:
    """What a run did: counts in rows, and the steps whose outcome was there from an earlier run.

    Attributes:
        dropped: rows that each step dropped.
    """

    read: int
    kept: int
    written: list[int]
    unproven: str | None
    warnings: list[str]
    reused: list[str]
    dropped: dict[str, int]


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
    made_from: dict[str, str],
    workers: int | None,
    limit: int | None = None,
    force: bool = False,
) -> BuildResult:
    """Run every step that an earlier run has not done, and put the result into ``folder``.

    Raises:
        UserError: anything a user can fix; ``folder`` stays as it was.
    """
    with work_folder(folder) as work:
        # A preview is quick, and its rows are no beginning of the whole.
        kept = None if limit else Snapshots(folder, work, use=not force)
        run = _Run(definition, parts, work, tokenising, workers, limit, kept, wanted)
        outcome = run()
        outputs = [file.name for file in run.result.iterdir()]
        counts = run.counts(outcome)
        manifest.write(run.result, wanted, outputs, counts, run.unproven, made_from)
        _install(run.result, folder)
        if kept:
            kept.install()
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
        snapshots: Snapshots | None,
        wanted: dict[str, Any],
    ) -> None:
        self.definition, self.parts, self.workers = definition, parts, workers
        self.limit, self.snapshots, self.wanted = limit, snapshots, wanted
        self.reused: list[str] = []
        # Where the ledger lines of the step on the whole set that runs are kept.
        self._noted: IO[bytes] | None = None
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
        why_no_tools = (
            self.prover.tokens.why_no_tools()
            if self.prover
            else "no recipe's chat template was at hand that takes tools"
        )
        for part in parts:
            part.definition.settle_tools(why_no_tools)
        settle()

    def __call__(self) -> BuildResult:
        stage_keys = [
            row_keys(part.definition, [self.wanted["code"], hashes])
            for part, hashes in zip(self.parts, self.wanted["source"], strict=True)
        ]
        with (self.result / "ledger.jsonl").open("w", encoding="utf-8") as self.ledger_file:
            for part, keys in zip(self.parts, stage_keys, strict=True):
                self._row_steps(part, keys)
            rows = WholeSet(
                self.definition,
                self.store,
                np.ones(len(self.store), bool),
                self._note,
                self.prover,
                self.tokens,
                warnings=self.warnings,
            )
            recipe = None if self.prover is None else self.wanted["recipe"]
            definitions = [part.definition for part in self.parts]
            last = [list(keys.values())[-1] for keys in stage_keys]
            keys = set_keys(self.definition, definitions, last, self.wanted["suites"], recipe)
            for step in SET_STEPS:
                self._need_rows(rows)
                self._set_step(step, rows, keys.get(step.name))
        self._check_flags()
        weights = {part.definition.part: part.definition.weight for part in self.parts}
        split = write_splits(self.result, rows, weights)
        self._warn(split.rows)
        facts = CardFacts(
            self.definition,
            self.name,
            self.tally,
            split.rows,
            split.turns,
            split.topics,
            split.examples,
            self.tokens,
            self.unproven,
            self.warnings,
            self._shares(rows),
        )
        self.store.close()
        write_cards(self.result, facts)
        kept = int(rows.keep.sum())
        dropped = {name: self.tally.dropped[name] for name in NAMES if self.tally.dropped[name]}
        return BuildResult(
            self.tally.read, kept, split.rows, self.unproven, self.warnings, self.reused, dropped
        )

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
        if self.limit is None:
            return rows
        # A look at rows that meet the conditions, if they are not too far from the start.
        tested = [parse_condition(text) for text in part.definition.where]
        near = islice(rows, self.limit * _NEAR if tested else self.limit)
        return islice((row for row in near if all(c.holds(row) for c in tested)), self.limit)

    def _set_step(self, step: SetStep, rows: WholeSet, key: str | None) -> None:
        """Run a step, or take what an earlier run kept of it."""
        if key is None or self.snapshots is None:
            step.run(rows)
        elif self.snapshots.has(f"{step.name}.zst", key):
            # Ledger lines, and last what the step did.
            for kept in map(unpacked, self.snapshots.read(f"{step.name}.zst")):
                if isinstance(kept, list):
                    self._note(kept)
                else:
                    rows.restore(kept)
            self.reused.append(step.name)
        else:
            before, warned = rows.keep.copy(), len(rows.warnings)
            with self.snapshots.writer(f"{step.name}.zst", key) as file:
                self._noted = file
                step.run(rows)
                self._noted = None
                write_piece(file, packed(rows.state(before, rows.warnings[warned:])))
        if step.drops:
            self.tally.flow[step.name] = self.store.flow(rows.keep)

    def _row_steps(self, part: PartPlan, keys: dict[str, str]) -> None:
        shaper = Shaper(part.definition, part.name)
        seen: set[int] = set()
        kept, done, own = self.snapshots, "", f"{part.definition.part or 'rows'}."
        if kept:
            held = [stage for stage in keys if kept.has(f"{own}{stage}.zst", keys[stage])]
            done = held[-1] if held else ""
            self.reused += held
        stream: Iterator[Batch] = (
            kept.read(f"{own}{done}.zst")
            if kept and done
            else batches(shaper.units(self._checked(shaper, part)))
        )
        bar = tqdm(desc=part.definition.name, unit=" rows", unit_scale=True, disable=None)
        with ExitStack() as files:
            try:
                writers: dict[str, IO[bytes]] = {}
                definition, keep = part.definition, kept is not None
                for batch in run_batches(
                    definition, part.name, stream, self.workers, done=done, keep=keep
                ):
                    self.tally.batch(batch, definition.part)
                    self.store.add(batch.block)
                    self._note(batch.ledger)
                    bar.update(batch.units)
                    for stage, piece in batch.kept.items():
                        if stage not in writers and kept:
                            file = kept.writer(f"{own}{stage}.zst", keys[stage])
                            writers[stage] = files.enter_context(file)
                        write_piece(writers[stage], piece)
                    if definition.columns.id:
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
        watch = shaper.check_columns(head)
        for label, count in shaper.unmarked(head).items():
            self.warnings.append(
                f"in {count} of the first {len(head)} rows a line opens with '{label}', which is "
                "no marker: it stays in the turn before. If somebody speaks there, name it under "
                f"{'roles' if part.definition.shape == 'transcript' else 'markers'}"
            )
        for column in shaper.written_lists(head):
            self.warnings.append(
                f"column '{column}' holds lists or objects written as text, and is taken as it is "
                f"written. For one of their texts name its place, such as {column}.0"
            )
        yield from head
        for row in rows:
            watch.see(row)
            yield row

    def _unique(self, lines: list[bytes], seen: set[int], part: PartPlan) -> None:
        for line in lines:
            row = json.loads(line)["id"]
            if hash(row) in seen:
                raise UserError(
                    f"id '{row}' occurs twice", part.name, "Drop columns.id, or fix the ids"
                )
            seen.add(hash(row))

    def _note(self, lines: list[dict[str, Any]]) -> None:
        if self._noted is not None:
            write_piece(self._noted, packed(lines))
        for line in lines:
            self.tally.ledger(line)
            self.ledger_file.write(json_line(line) + "\n")

    def _need_rows(self, rows: WholeSet) -> None:
        if rows.keep.any():
            return
        raise nothing_left(self.tally, self.name)

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
        self.warnings += most_dropped(self.tally)
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
