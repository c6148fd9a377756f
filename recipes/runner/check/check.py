"""`make check`: everything about the recipes that can be known offline and without a GPU."""

from __future__ import annotations

import sys
from pathlib import Path

from recipes.runner.core.errors import UserError, UserErrors
from recipes.runner.core.paths import display_path
from recipes.runner.core.quiet import quiet
from recipes.runner.core.recipe import NO_KEYS, Recipe
from recipes.runner.core.yaml_file import YamlFile, read_yaml


def check_recipes(paths: list[Path]) -> int:
    """Check recipes one by one and print a line for each thing found.

    Returns:
        0 when there was no error, else 1.
    """
    bad = 0
    for path in paths:
        errors, rest = _lines(path)
        for line in (*errors, *rest):
            print(line, file=sys.stderr)
        if errors:
            bad += 1
        else:
            print(f"ok     {display_path(path)}", flush=True)
    if bad:
        print(f"{bad} of {len(paths)} recipes have problems", file=sys.stderr)
    return 1 if bad else 0


def _lines(path: Path) -> tuple[list[str], list[str]]:
    """Errors of a recipe, and its warnings and notes, as they are printed."""
    try:
        file = read_yaml(path, NO_KEYS)
    except UserErrors as unreadable:
        return [f"error: {error}" for error in unreadable.errors], []
    except UserError as unreadable:
        return [f"error: {unreadable}"], []
    recipe = Recipe(path.stem, path, file.content)
    with quiet():
        from recipes.runner.check.keys import inspect_recipe

        report = inspect_recipe(recipe.config, file)
    rest = [f"warning: {warning}" for warning in report.warnings]
    rest += [f"note: {note}" for note in report.notes]
    return [f"error: {error}" for error in report.errors], rest


def problems_of(path: Path) -> list[UserError]:
    """Every error of one recipe: keys, types, files, then what Axolotl's own validation says."""
    try:
        file = read_yaml(path, NO_KEYS)
    except UserErrors as unreadable:
        return unreadable.errors
    except UserError as unreadable:
        return [unreadable]
    return _problems(Recipe(path.stem, path, file.content), file)


def problems_with(recipe: Recipe) -> list[UserError]:
    """Every error of a recipe that is read already, perhaps with overrides in its keys."""
    return _problems(recipe, read_yaml(recipe.path, NO_KEYS))


def _problems(recipe: Recipe, file: YamlFile) -> list[UserError]:
    with quiet():
        from recipes.runner.check.keys import inspect_recipe

        return inspect_recipe(recipe.config, file).errors
