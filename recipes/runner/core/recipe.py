"""Find a recipe by name, and read it without importing anything heavy."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recipes.runner.core.errors import UserError
from recipes.runner.core.nearest import did_you_mean
from recipes.runner.core.paths import RECIPES, ROOT, is_file, is_folder
from recipes.runner.core.paths import display_path as display_path
from recipes.runner.core.yaml_file import read_yaml

NO_KEYS = "Start from another recipe"
"""What to do about a recipe without keys."""


@dataclass(frozen=True)
class Recipe:
    """One Axolotl file as it stands on disk.

    Attributes:
        name: the file's name without its ending; also the name of its default run.
        path: the file.
        config: its keys, unvalidated.
    """

    name: str
    path: Path
    config: dict[str, Any]

    @property
    def dataset(self) -> str | None:
        """Name of the data set that `datasets_prep` makes for it; None for another source."""
        sources = self.config.get("datasets")
        first = sources[0] if isinstance(sources, list) and sources else None
        parts = Path(str(first.get("path", ""))).parts if isinstance(first, dict) else ()
        return parts[1] if len(parts) == 3 and parts[0] == "data" else None


def recipe_paths() -> list[Path]:
    """Every recipe file of the repository, sorted."""
    return sorted(RECIPES.glob("*.yaml"))


def load_recipe(name_or_path: str | Path) -> Recipe:
    """Read a recipe by its name or by its path.

    Raises:
        UserError: no such recipe (with the nearest name), or one that can't be read as YAML.
        UserErrors: it has faults as YAML, such as a key given twice.
    """
    path = find_recipe(str(name_or_path))
    file = read_yaml(path, NO_KEYS)
    file.refuse_faults()
    return Recipe(path.stem, path, file.content)


def find_recipe(name: str) -> Path:
    """The file of a recipe, by its name or path.

    Raises:
        UserError: there is none, with the nearest name.
    """
    if name.endswith((".yaml", ".yml")) or "/" in name:
        for path in (Path(name), ROOT / name, Path(f"{name}.yaml"), RECIPES / f"{name}.yaml"):
            if is_file(path):
                return path
        if is_folder(name) or is_folder(ROOT / name):
            raise UserError("is a folder", name, "Give one file of it, or a recipe's name")
        raise UserError("there is no such file", name, "Give a recipe's name or path")
    paths = {path.stem: path for path in recipe_paths()}
    if name not in paths:
        raise UserError(
            f"there is no recipe named {name!r}" if name else "no recipe was named",
            "RECIPE",
            did_you_mean(name, paths, "Recipes"),
        )
    return paths[name]


def strategy_of(config: dict[str, Any]) -> str:
    """The strategy that a configuration asks for, as the recipe or the launcher wrote it."""
    deepspeed = config.get("deepspeed")
    if isinstance(deepspeed, str) and is_file(ROOT / deepspeed):
        deepspeed = json.loads((ROOT / deepspeed).read_text(encoding="utf-8"))
    if isinstance(deepspeed, dict):
        return f"zero{(deepspeed.get('zero_optimization') or {}).get('stage', 0)}"
    return "fsdp" if config.get("fsdp_config") else "ddp"
