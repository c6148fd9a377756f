"""Find a recipe by name, and read it without importing anything heavy."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from recipes.runner.core.errors import UserError

ROOT = Path(__file__).resolve().parents[3]
RECIPES = ROOT / "recipes"


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
        path = sources[0].get("path", "") if isinstance(sources, list) and sources else ""
        parts = Path(str(path)).parts
        return parts[1] if len(parts) == 3 and parts[0] == "data" else None


def recipe_paths() -> list[Path]:
    """Every recipe file of the repository, sorted."""
    return sorted(RECIPES.glob("*.yaml"))


def nearest(name: str, choices: Iterable[str]) -> str | None:
    """The choice most like ``name``, or None when none is near."""
    by_folded = {choice.lower(): choice for choice in choices}
    folded = name.lower()
    found = difflib.get_close_matches(folded, list(by_folded), n=3, cutoff=0.6)
    if not found:
        return None
    # Of equally near ones the one with the same letters: eso is eos, two letters changed round.
    likeness = {near: difflib.SequenceMatcher(None, near, folded).ratio() for near in found}
    best = max(found, key=lambda near: (likeness[near], sorted(near) == sorted(folded)))
    return by_folded[best]


def did_you_mean(name: str, choices: Iterable[str], kind: str = "Known") -> str:
    """'Did you mean X?', or the list of choices when nothing is near."""
    options = list(choices)
    near = nearest(name, options)
    return f"Did you mean {near}?" if near else f"{kind}: {', '.join(sorted(options)) or 'none'}"


def load_recipe(name_or_path: str | Path) -> Recipe:
    """Read a recipe by its name or by its path.

    Raises:
        UserError: no such recipe (with the nearest name), or not a YAML mapping.
    """
    path = _find(str(name_or_path))
    return Recipe(path.stem, path, read_mapping(path, "Start from another recipe"))


def read_mapping(path: Path, todo: str) -> dict[str, Any]:
    """The keys of a YAML file.

    Args:
        path: the file.
        todo: what to do about a file without keys.

    Raises:
        UserError: it can't be read as YAML (with the line), or holds no keys.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{display_path(path)}:{mark.line + 1}" if mark else display_path(path)
        problem = getattr(error, "problem", None) or "not YAML"
        raise UserError(f"can't be read as YAML: {problem}", where, "Fix this line") from None
    except UnicodeDecodeError:
        raise UserError("is not UTF-8 text", display_path(path), "Save it as UTF-8") from None
    if not isinstance(content, dict):
        raise UserError("holds no keys", display_path(path), todo)
    return content


def strategy_of(config: dict[str, Any]) -> str:
    """The strategy that a configuration asks for, as the recipe or the launcher wrote it."""
    deepspeed = config.get("deepspeed")
    if isinstance(deepspeed, str) and (ROOT / deepspeed).is_file():
        deepspeed = json.loads((ROOT / deepspeed).read_text(encoding="utf-8"))
    if isinstance(deepspeed, dict):
        return f"zero{(deepspeed.get('zero_optimization') or {}).get('stage', 0)}"
    return "fsdp" if config.get("fsdp_config") else "ddp"


def display_path(path: str | Path) -> str:
    """The path relative to the repository when it lies in it."""
    resolved = Path(path).resolve()
    return str(resolved.relative_to(ROOT)) if resolved.is_relative_to(ROOT) else str(path)


def _find(name: str) -> Path:
    if name.endswith((".yaml", ".yml")) or "/" in name:
        for path in (Path(name), ROOT / name, Path(f"{name}.yaml"), RECIPES / f"{name}.yaml"):
            if path.is_file():
                return path
        raise UserError("there is no such file", name, "Give a recipe's name or path")
    paths = {path.stem: path for path in recipe_paths()}
    if name not in paths:
        raise UserError(
            f"there is no recipe named {name!r}" if name else "no recipe was named",
            "RECIPE",
            did_you_mean(name, paths, "Recipes"),
        )
    return paths[name]
