"""A sweep file in Axolotl's grid format: read strictly, expanded by Axolotl's own generator.

Beside Axolotl's keys it may say `seeds: 3` and `folds: 5`: how often each combination is run.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recipes.runner.core.errors import UserError, UserErrors
from recipes.runner.core.nearest import did_you_mean
from recipes.runner.core.overrides import Overrides
from recipes.runner.core.paths import RECIPES, display_path
from recipes.runner.core.quiet import quiet
from recipes.runner.core.recipe import Recipe
from recipes.runner.core.yaml_file import Fault, KeyPath, YamlFile, read_yaml
from recipes.runner.sweep.repeats import SEEDS, Repeats, take_repeats

TOGETHER = "_"
"""Axolotl's key for settings that change together."""
# Named by the sweep itself, or what guards and shares the runs.
_NOT_SWEPT = ("output_dir", "plugins", "dataset_prepared_path")
_LONGEST_NAME = 80


@dataclass(frozen=True)
class Point:
    """One combination of values.

    Attributes:
        values: the swept keys, with this run's values.
        name: the values as a part of a folder's name.
    """

    values: Overrides
    name: str


@dataclass(frozen=True)
class Grid:
    """A sweep file, expanded.

    Attributes:
        name: the file's name without its ending.
        path: the file.
        varying: keys that take more than one value, in the file's order.
        groups: the same keys, those that change together in one group.
        listed: for each of these keys its values, as text, in the file's order.
        points: every combination, in the order that Axolotl runs them.
        repeats: how often each is run, over seeds and folds.
    """

    name: str
    path: Path
    varying: tuple[str, ...]
    groups: tuple[tuple[str, ...], ...]
    listed: dict[str, tuple[str, ...]]
    points: tuple[Point, ...]
    repeats: Repeats

    def place(self, values: Overrides) -> tuple[int, ...]:
        """Where these values stand in the file: what tables and legends are sorted by."""
        return tuple(self.listed[key].index(as_text(values.get(key))) for key in self.varying)


def sweep_paths() -> list[Path]:
    """Every sweep file of the repository, sorted."""
    return sorted((RECIPES / "sweeps").glob("*.yaml"))


def read_grid(name_or_path: str, recipe: Recipe, fixed: Overrides) -> Grid:
    """Read, check and expand a sweep.

    Args:
        name_or_path: a file, or the name of one in recipes/sweeps.
        recipe: what the sweep varies; its plugins' keys are known too.
        fixed: overrides of every run, from SET.

    Raises:
        UserErrors: every fault of the file, each with its line.
        UserError: no such file, or one that can't be read.
    """
    path = _find(name_or_path)
    file = _read(path)
    repeats, wrong = take_repeats(file.content)
    if repeats.seeds > 1 and "seed" in fixed:
        wrong.append(((SEEDS,), "is given by SET too, as seed", "Take one away"))
    with quiet():
        faults = [*file.faults, *wrong, *_faults(file.content, recipe, fixed)]
    if faults:
        raise UserErrors(file.errors(faults))
    content = {key: _numbers(value) for key, value in file.content.items()}
    combinations = _combinations(content)
    groups, listed = _groups(content)
    varying = tuple(key for group in groups for key in group)
    points = tuple(Point(values, _name(values, varying)) for values in combinations)
    if len({point.name for point in points}) < len(points):
        raise UserError("two runs have the same values", display_path(path), "Take one out")
    return Grid(path.stem, path, varying, groups, listed, points, repeats)


def _find(name: str) -> Path:
    if not name:
        known = ", ".join(display_path(path) for path in sweep_paths())
        raise UserError("no sweep was named", "SWEEP", f"There are {known}")
    for path in (Path(name), RECIPES.parent / name, RECIPES / "sweeps" / f"{name}.yaml"):
        if path.is_file():
            return path
    hint = did_you_mean(Path(name).stem, [path.stem for path in sweep_paths()], "Sweeps")
    raise UserError(f"there is no sweep {name}", "SWEEP", hint)


def _read(path: Path) -> YamlFile:
    todo = "Write key: [value, value], one key or more"
    file = read_yaml(path, todo)
    if not file.content and not file.faults:
        raise UserError("holds no keys", display_path(path), todo)
    file.content = {str(key): value for key, value in file.content.items()}
    return file


def _faults(content: dict[str, Any], recipe: Recipe, fixed: Overrides) -> Iterator[Fault]:
    from recipes.runner.check.schema import root_models

    models = root_models([str(name) for name in recipe.config.get("plugins") or []])
    yield from _value_faults(content, models)
    yield from _key_faults(content, fixed)


def _value_faults(content: dict[str, Any], models: list[Any]) -> Iterator[Fault]:
    """Values that are no list, unknown keys, and values of the wrong type."""
    from recipes.runner.check.schema import check_mapping

    for key, values in content.items():
        if not isinstance(values, list) or not values:
            yield (key,), f"is {values!r}, which is no list of values", "Write [a, b, c]"
            continue
        for index, value in enumerate(values):
            if key != TOGETHER:
                for place, what, todo, level in check_mapping({key: value}, models, ()):
                    at = () if what == "unknown key" and len(place) == 1 else (index,)
                    if level == "error":
                        yield (key, *at, *place[1:]), what, todo
            elif not isinstance(value, dict) or not value:
                yield (key, index), "is no mapping", "Write {key: value, key: value}"
            else:
                for place, what, todo, level in check_mapping(value, models, ()):
                    if level == "error":
                        yield (key, index, *place), what, todo


def _key_faults(content: dict[str, Any], fixed: Overrides) -> Iterator[Fault]:
    """Keys that are given in two places, or that a sweep can't vary."""
    entries = content.get(TOGETHER)
    places: dict[str, KeyPath] = {}
    for index, entry in enumerate(entries if isinstance(entries, list) else []):
        for key in entry if isinstance(entry, dict) else ():
            places.setdefault(str(key), (TOGETHER, index, str(key)))
    for key in places.keys() & content.keys():
        yield (key,), 'stands under "_" too, whose value would win', "Take one out"
    places.update({key: (key,) for key in content if key != TOGETHER})
    for key, place in places.items():
        if key in _NOT_SWEPT:
            yield (
                place,
                "can't be swept",
                "Take it out: every run has its own folder, and the recipe's plugins",
            )
        if key in fixed:
            yield place, "is given by SET too", "Take one away"


def _numbers(value: Any) -> Any:
    """Texts such as 1e-4, which YAML 1.1 doesn't take for a number, as numbers."""
    if isinstance(value, list):
        return [_numbers(item) for item in value]
    if isinstance(value, dict):
        return {key: _numbers(item) for key, item in value.items()}
    if isinstance(value, str) and re.fullmatch(r"[-+]?[\d.]+[eE][-+]?\d+", value):
        return float(value)
    return value


def _combinations(content: dict[str, Any]) -> list[Overrides]:
    from axolotl.cli.utils.sweeps import generate_sweep_configs

    with contextlib.redirect_stdout(io.StringIO()):  # it prints each combination
        return generate_sweep_configs({}, content)


def _groups(
    content: dict[str, Any],
) -> tuple[tuple[tuple[str, ...], ...], dict[str, tuple[str, ...]]]:
    """Keys with more than one value, those under `_` in one group, and their values as text."""
    groups, listed = [], {}
    for key, values in content.items():
        columns = {key: values}
        if key == TOGETHER:
            keys = dict.fromkeys(k for entry in values for k in entry)
            columns = {k: [entry.get(k) for entry in values] for k in keys}
        texts = {k: tuple(dict.fromkeys(map(as_text, column))) for k, column in columns.items()}
        group = tuple(k for k, different in texts.items() if len(different) > 1)
        listed.update({k: texts[k] for k in group})
        if group:
            groups.append(group)
    return tuple(groups), listed


def as_text(value: Any) -> str:
    """A value of the grid as text that can be compared and hashed."""
    return json.dumps(value, sort_keys=True, default=str)


def _name(values: Overrides, varying: tuple[str, ...]) -> str:
    """The varying values, joined so that they can be a folder's name."""
    name = "-".join(_slug(values.get(key)) for key in varying) or "only"
    if len(name) > _LONGEST_NAME:
        digest = hashlib.sha256(name.encode()).hexdigest()[:8]
        name = f"{name[: _LONGEST_NAME - 9].rstrip('-_')}-{digest}"
    return name


def _slug(value: Any) -> str:
    if isinstance(value, list):
        return "+".join(_slug(item) for item in value)
    if isinstance(value, dict):
        return "+".join(f"{key}_{_slug(item)}" for key, item in value.items())
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", text).strip("._-") or "_"
