"""What a recipe reads and this repository can make: its data set, and the small model."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from axolotl.integrations.base import BasePlugin
from filelock import FileLock

from recipes.runner.core.hashes import file_hash
from recipes.runner.core.recipe import ROOT, Recipe, load_recipe
from recipes.runner.core.terminal import send


class InputsPlugin(BasePlugin):
    """Make what is missing or out of date, before anything is loaded; quick when nothing is."""

    def register(self, cfg: dict) -> None:
        """Make the model and the data, on one rank while the others wait.

        Raises:
            UserError: the data definition, its source or the model's package is wrong.
        """
        recipe = Path(str(cfg["axolotl_config_path"]))
        as_dict = cfg.to_dict() if hasattr(cfg, "to_dict") else dict(cfg)
        make_inputs(Recipe(recipe.stem, recipe, as_dict))
        prepare_these_rows(cfg)


def make_inputs(recipe: Recipe) -> None:
    """Make the small model and the data set that ``recipe`` names, where they are ours to make."""
    lock = ROOT / "data" / ".making.lock"
    lock.parent.mkdir(exist_ok=True)
    with FileLock(lock):
        _make_model(recipe)
        _make_data(recipe)


def prepare_these_rows(cfg: dict) -> None:
    """Have Axolotl keep prepared rows in a folder named after what the data files hold.

    Axolotl names its own folder after the files' paths and settings: rows that changed under the
    same path would be trained on as they were.
    """
    prepared = cfg.get("dataset_prepared_path")
    entries = [*(cfg.get("datasets") or []), *(cfg.get("test_datasets") or [])]
    files = [ROOT / str(entry.get("path")) for entry in entries]
    here = [file for file in files if file.is_file()]
    if prepared and here:
        contents = hashlib.sha256("".join(map(file_hash, here)).encode()).hexdigest()
        cfg["dataset_prepared_path"] = str(Path(str(prepared)) / contents[:16])


def _make_model(recipe: Recipe) -> None:
    from recipes.runner.models.smollm2 import FOLDER, is_ready, make_small_model

    if ROOT / str(recipe.config.get("base_model")) == FOLDER and not is_ready():
        send("status", text="Making models/smollm2-135m-instruct, once ...")
        make_small_model()


def _make_data(recipe: Recipe) -> None:
    dataset = recipe.dataset
    definition = ROOT / "datasets_prep" / "definitions" / f"{dataset}.yaml"
    if dataset is None or not definition.is_file():
        return
    if os.environ.get("RANK", "0") == "0":
        send("status", text=f"Data: data/{dataset} (made anew when its inputs changed) ...")
    from datasets_prep import prepare

    prepare(dataset, recipe=recipe.path)


def make_inputs_of(name: str) -> None:
    """`make_inputs` for a recipe by name or path."""
    make_inputs(load_recipe(name))
