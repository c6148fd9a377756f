"""The folds of a sweep: a recipe's rows dealt anew, each part held out once."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from recipes.runner.check.references import is_local
from recipes.runner.core.errors import UserError
from recipes.runner.core.hashes import file_hash
from recipes.runner.core.local_data import definitions
from recipes.runner.core.overrides import Overrides
from recipes.runner.core.paths import ROOT, display_path
from recipes.runner.core.recipe import Recipe

TRAIN, HELD_OUT, TEST = "train.jsonl", "validation.jsonl", "test.jsonl"


def make_folds(recipe: Recipe, folds: int, beside: Path) -> Path:
    """Deal the rows that a recipe trains on and validates with into folds, by group.

    Args:
        recipe: with the overrides of SET in its keys.
        folds: how many.
        beside: where the folder of the folds is made, relative to the repository.

    Returns:
        The folder, named after its content: ``1/train.jsonl``, ``1/validation.jsonl``, ...

    Raises:
        UserError: the recipe's data are no local files of conversations, or too few.
    """
    training, held_out = _entries(recipe)
    if recipe.dataset in definitions():
        _make_data(recipe)
    files = [ROOT / str(entry["path"]) for entry in (training, held_out) if entry]
    for file in files:
        if not file.is_file():
            raise UserError("is not here, and folds are dealt from it", display_path(file))
    seed = recipe.config.get("seed") or 42
    content = [str(folds), str(seed), *(file_hash(file) for file in files)]
    digest = hashlib.sha256("/".join(content).encode()).hexdigest()[:8]
    folder = beside.with_name(f"{beside.name}-{digest}")
    if not (ROOT / folder / str(folds) / HELD_OUT).is_file():
        _deal(recipe, files, folds, int(seed), ROOT / folder)
    return folder


def fold_overrides(recipe: Recipe, folder: Path, fold: int) -> Overrides:
    """What a run of one fold overrides: what it trains on, and what it is held out."""
    training, held_out = _entries(recipe)
    place = folder / str(fold)
    train = {**training, "path": str(place / TRAIN)}
    test = {**(held_out or training), "path": str(place / HELD_OUT), "split": "train"}
    overrides: Overrides = {"datasets": [train], "test_datasets": [test]}
    if recipe.config.get("val_set_size"):
        overrides["val_set_size"] = 0
    return overrides


def _entries(recipe: Recipe) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """The one entry of training data, and that of validation."""
    listed = [recipe.config.get(key) or [] for key in ("datasets", "test_datasets")]
    if len(listed[0]) != 1 or len(listed[1]) > 1:
        what = "folds are dealt from one set of rows, and this recipe names several"
        raise UserError(what, f"{display_path(recipe.path)}: datasets", "Mix them into one first")
    for entry in (*listed[0], *listed[1]):
        path = str(entry.get("path"))
        if not is_local(path) or not path.endswith(".jsonl"):
            what = f"folds are dealt from a local file of JSON lines, and {path} is none"
            raise UserError(what, display_path(recipe.path), "make data DATASET=... writes one")
    return listed[0][0], listed[1][0] if listed[1] else None


def _make_data(recipe: Recipe) -> None:
    # Data preparation stands above the recipes: it is started, not imported.
    command = [sys.executable, "-m", "datasets_prep", "--recipe", str(recipe.path)]
    if subprocess.run(command, cwd=ROOT, check=False).returncode:
        raise UserError("its data set could not be made", display_path(recipe.path))


def _deal(recipe: Recipe, files: list[Path], folds: int, seed: int, folder: Path) -> None:
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    command = [sys.executable, "-m", "datasets_prep.folds", "--output", str(partial)]
    command += ["--folds", str(folds), "--seed", str(seed), *map(str, files)]
    if subprocess.run(command, cwd=ROOT, check=False).returncode:
        shutil.rmtree(partial, ignore_errors=True)
        raise UserError("its rows could not be dealt into folds", display_path(recipe.path))
    test = files[0].with_name(TEST)
    for place in partial.iterdir():
        if test.is_file():  # what `make eval` of a run reads beside its training data
            shutil.copyfile(test, place / TEST)
    shutil.rmtree(folder, ignore_errors=True)
    partial.replace(folder)
