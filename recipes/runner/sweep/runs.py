"""The runs of a sweep: which there are, what each overrides, and what speaks against it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recipes.runner.core.errors import UserError, UserErrors
from recipes.runner.core.flags import flag
from recipes.runner.core.overrides import Overrides, apply, parse_overrides
from recipes.runner.core.recipe import ROOT, Recipe, display_path
from recipes.runner.core.yaml_file import read_value
from recipes.runner.run.record import ENDED_WELL, read_record
from recipes.runner.sweep.folds import fold_overrides
from recipes.runner.sweep.grid import Grid, Point
from recipes.runner.sweep.repeats import Repeat


@dataclass(frozen=True)
class SweepRun:
    """One run of a sweep.

    Attributes:
        point: its values.
        folder: its run folder, relative to the repository.
        overrides: everything that differs from the recipe.
        setting: its values in words.
        repeat: which of its setting's runs it is.
    """

    point: Point
    folder: Path
    overrides: Overrides
    setting: str
    repeat: Repeat

    @property
    def name(self) -> str:
        """The folder's name, which is the run's."""
        return self.folder.name


def sweep_runs(
    recipe: Recipe, grid: Grid, fixed: Overrides, folds: Path | None = None
) -> list[SweepRun]:
    """The runs of a sweep: `<recipe>-<sweep>-<values>`, beside the recipe's own run folder.

    With repeats every setting has its first run before any has its second.

    Args:
        recipe: what is swept.
        grid: over what.
        fixed: overrides of every run, from SET.
        folds: the folder of its folds, where it has some.
    """
    runs = []
    given = Recipe(recipe.name, recipe.path, apply(recipe.config, fixed))
    for repeat in grid.repeats.listed(int(given.config.get("seed") or 42)):
        for point in grid.points:
            parts = (recipe.name, grid.name, point.name, repeat.name)
            folder = output_beside(recipe) / "-".join(part for part in parts if part)
            values: Overrides = {**fixed, **point.values}
            if repeat.seed is not None:
                values["seed"] = repeat.seed
            if repeat.fold is not None and folds is not None:
                values |= fold_overrides(given, folds, repeat.fold)
            # Read back from their text, so that they are what the training command will record.
            overrides = parse_overrides(as_set({**values, "output_dir": str(folder)}))
            runs.append(SweepRun(point, folder, overrides, in_words(grid, point), repeat))
    return runs


def output_beside(recipe: Recipe) -> Path:
    """Where the run folders of a recipe's sweeps go, relative to the repository."""
    return Path(str(recipe.config.get("output_dir") or f"runs/{recipe.name}")).parent


def refuse_problems(recipe: Recipe, grid: Grid, runs: Sequence[SweepRun]) -> None:
    """Check every run before the first one starts, as `make check` checks a recipe.

    Raises:
        UserErrors: what Axolotl or we refuse, with the values it is about; a setting without any
            effect; or a run folder that holds a run of other settings.
    """
    from recipes.runner.check.check import problems_with

    problems: list[UserError] = []
    found: dict[str, UserError] = {}
    for number, run in enumerate(runs):
        problems += _other_run(run)
        if number >= len(grid.points):
            continue  # a repeat: what is wrong with its setting is said of the first
        config = apply(recipe.config, run.overrides)
        where = f"{display_path(grid.path)}: {run.setting}"
        for problem in problems_with(Recipe(recipe.name, recipe.path, config)):
            # What is wrong in every run is said of the first.
            found.setdefault(str(problem), UserError(str(problem), where))
    problems = [*found.values(), *problems]
    problems += _without_effect(recipe, grid, runs)
    if problems:
        raise UserErrors(list({str(problem): problem for problem in problems}.values()))


def _without_effect(recipe: Recipe, grid: Grid, runs: Sequence[SweepRun]) -> list[UserError]:
    where = display_path(grid.path)
    configs = [apply(recipe.config, run.overrides) for run in runs]
    found = []
    if "num_epochs" in grid.varying and any(config.get("max_steps") for config in configs):
        what = "num_epochs has no effect while max_steps is set"
        found.append(UserError(what, where, "Add max_steps: [null] to the sweep"))
    return found


def _other_run(run: SweepRun) -> list[UserError]:
    """A folder whose run had other settings, from SET, must not be taken for this sweep's."""
    recorded = read_record(ROOT / run.folder).get("overrides")
    if recorded is None or flag("FORCE"):
        return []
    before = dict(word.split("=", 1) for word in shlex.split(recorded) if "=" in word)
    now = {key: str(value) for key, value in run.overrides.items()}
    changed = [
        f"{key} {before.get(key, 'of the recipe')} -> {now.get(key, 'of the recipe')}"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key)
    ]
    if not changed:
        return []
    what = f"holds a run with other settings ({'; '.join(changed)})"
    todo = "Give the same SET, move the folder away, or FORCE=1 to start over"
    return [UserError(what, display_path(ROOT / run.folder), todo)]


def in_words(grid: Grid, point: Point) -> str:
    """A setting as a person reads it."""
    return ", ".join(f"{key}: {_value(point.values.get(key))}" for key in grid.varying)


def as_set(overrides: Overrides) -> str:
    """Overrides as SET takes them."""
    return shlex.join(f"{key}={_value(value)}" for key, value in overrides.items())


def _value(value: Any) -> str:
    """A value as YAML on one line, as SET reads it."""
    plain = isinstance(value, str) and value.isidentifier() and read_value(value) == value
    return value if plain else json.dumps(value)


def is_finished(run: SweepRun) -> bool:
    """Whether it ended well."""
    return read_record(ROOT / run.folder).get("status") in ENDED_WELL
