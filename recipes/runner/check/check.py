"""`make check`: everything about the recipes that can be known offline and without a GPU."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
from pathlib import Path
from typing import Any

from recipes.runner.core.errors import UserError, UserErrors
from recipes.runner.core.paths import display_path
from recipes.runner.core.recipe import NO_KEYS, Recipe
from recipes.runner.core.yaml_file import read_yaml

# A card that can do everything, so that a recipe is judged and not this machine.
_ANY_GPU = {"bf16": True, "fp8": True, "tf32": True, "n_gpu": 1, "compute_capability": "sm_90"}


def check_recipes(paths: list[Path]) -> int:
    """Check recipes one by one and print a line for each problem.

    Returns:
        0 when there was no problem, else 1.
    """
    bad = 0
    for path in paths:
        problems = problems_of(path)
        if problems:
            bad += 1
            for problem in problems:
                print(f"error: {problem}", file=sys.stderr)
        else:
            print(f"ok     {display_path(path)}")
    sys.stdout.flush()
    if bad:
        print(f"{bad} of {len(paths)} recipes have problems", file=sys.stderr)
    return 1 if bad else 0


def problems_of(path: Path) -> list[UserError]:
    """Every problem of one recipe: keys, types, files, then what Axolotl's own validation says."""
    try:
        file = read_yaml(path, NO_KEYS)
    except UserErrors as error:
        return error.errors
    except UserError as error:
        return [error]
    return problems_with(Recipe(path.stem, path, file.content))


def problems_with(recipe: Recipe) -> list[UserError]:
    """Every problem of a recipe that is read already, perhaps with overrides in its keys."""
    with quiet():
        from recipes.runner.check.keys import check_config

        problems = check_config(recipe.config, recipe.path)
        problems += _without_plugins(recipe)
        return problems or _validation_problems(recipe)


def _without_plugins(recipe: Recipe) -> list[UserError]:
    """A recipe that doesn't name the guarding plugins isn't guarded; nothing else would tell."""
    names = recipe.config.get("plugins")
    names = names if isinstance(names, list) else []
    missing = [name for name in GUARDS if name not in names]
    if not missing:
        return []
    return [
        UserError(
            f"does not name {', '.join(missing)}",
            f"{display_path(recipe.path)}: plugins",
            "Add it, or the run goes unguarded",
        )
    ]


GUARDS = (
    "plugins.strict.StrictPlugin",
    "plugins.preflight.PreflightPlugin",
    "plugins.packing.PackingPlugin",
    "plugins.quantization_guard.QuantizationGuardPlugin",
    "plugins.run_record.RunRecordPlugin",
)


def _validation_problems(recipe: Recipe) -> list[UserError]:
    try:
        validated(recipe.config)
    except Exception as error:  # Axolotl's validators raise what they like
        return [UserError(text, display_path(recipe.path)) for text in _sentences(error)]
    return []


def validated(config: dict[str, Any]) -> Any:
    """The configuration as Axolotl validates it, plugins' keys included, for a card that can all.

    Raises:
        pydantic.ValidationError: Axolotl refuses it.
    """
    from axolotl.integrations.base import PluginManager
    from axolotl.utils.config import validate_config
    from axolotl.utils.dict import DictDefault

    manager = PluginManager.get_instance()
    manager.plugins.clear()
    for name in config.get("plugins") or []:
        manager.register(name)
    try:
        return validate_config(
            DictDefault(config), capabilities=_ANY_GPU, env_capabilities={"torch_version": "2.13.0"}
        )
    finally:
        manager.plugins.clear()


def _sentences(error: Exception) -> list[str]:
    errors = getattr(error, "errors", None)
    if not callable(errors):
        return [f"Axolotl refuses it: {str(error).splitlines()[0]}"]
    return [
        f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}".removeprefix(": ")
        for item in errors()
    ]


@contextlib.contextmanager
def quiet():  # type: ignore[no-untyped-def]
    """Keep the libraries' import chatter off the terminal."""
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(logging.NOTSET)
