"""All that can be known wrong about a recipe before anything is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recipes.runner.check.schema import check_mapping, load_plugin_class, root_models
from recipes.runner.core.errors import UserError
from recipes.runner.core.nearest import did_you_mean, nearest
from recipes.runner.core.paths import ROOT, display_path
from recipes.runner.core.recipe import NO_KEYS
from recipes.runner.core.yaml_file import Fault, KeyPath, dotted, read_yaml

# What axolotl itself puts into the dictionary before a plugin sees it: the path, and, started by
# `axolotl train`, every option of that command (its TrainerCliArgs).
_NOT_OF_THE_RECIPE = (
    "axolotl_config_path",
    "debug",
    "debug_text_only",
    "debug_num_examples",
    "prompter",
    "shard",
)


def check_config(config: dict[str, Any], file: Path) -> list[UserError]:
    """Every problem of a recipe, each with file, line and key; empty when there is none.

    Args:
        config: the recipe's keys, overrides of the command line applied.
        file: the recipe's file, for the lines.
    """
    written = read_yaml(file, NO_KEYS)
    problems = list(written.faults)
    given = {
        key: value
        for key, value in config.items()
        if key not in _NOT_OF_THE_RECIPE or (key,) in written.lines
    }
    plugins = given.get("plugins") or []
    names = [name for name in plugins if isinstance(name, str)] if isinstance(plugins, list) else []
    unknown = _check_plugins(names)
    bad = {names[int(path[1])] for path, _, _ in unknown}
    problems += unknown
    problems += check_mapping(given, root_models([name for name in names if name not in bad]), ())
    problems += _unknown_optimizer(given)
    problems += _missing_files(given)
    return [
        UserError(f"{dotted(path)}: {what}", _where(path, file, written.lines), todo)
        for path, what, todo in sorted(
            problems, key=lambda problem: written.lines.get(problem[0], 0)
        )
    ]


def _where(path: KeyPath, file: Path, lines: dict[KeyPath, int]) -> str:
    line = lines.get(path)
    return f"{display_path(file)}:{line}" if line else "command line (SET=)"


def _check_plugins(names: list[str]) -> list[Fault]:
    problems: list[Fault] = []
    for index, name in enumerate(names):
        try:
            load_plugin_class(name)
        except ImportError as error:
            missing = getattr(error, "name", None)
            if missing:
                what, todo = f"plugin {name} needs the package {missing}", "Install it"
            else:
                what, todo = f"there is no plugin {name}", did_you_mean(name, _known_plugins())
            problems.append((("plugins", index), what, todo))
    return problems


def _known_plugins() -> list[str]:
    from recipes.runner.core.recipe import load_recipe, recipe_paths

    known: set[str] = set()
    for path in recipe_paths():
        try:
            names = load_recipe(path).config.get("plugins") or []
        except UserError:
            continue
        known.update(name for name in names if isinstance(name, str))
    return [name for name in known if _is_plugin(name)]


def _is_plugin(name: str) -> bool:
    try:
        load_plugin_class(name)
    except ImportError:
        return False
    return True


def _unknown_optimizer(config: dict[str, Any]) -> list[Fault]:
    """Axolotl's schema takes any text here, and the run fails when the trainer is built."""
    name = config.get("optimizer")
    if not isinstance(name, str):
        return []
    from axolotl.utils.schemas.enums import CustomSupportedOptimizers
    from transformers.training_args import OptimizerNames

    known = [
        str(member.value) for kind in (OptimizerNames, CustomSupportedOptimizers) for member in kind
    ]
    if name in known:
        return []
    hint = did_you_mean(name, known, "Optimizers")
    return [(("optimizer",), f"there is no optimizer {name}", hint)]


def _missing_files(config: dict[str, Any]) -> list[Fault]:
    problems: list[Fault] = []
    for key in ("datasets", "test_datasets"):
        for index, dataset in enumerate(config.get(key) or []):
            path = dataset.get("path") if isinstance(dataset, dict) else None
            if isinstance(path, str) and _is_local(path) and not _can_be_made(path):
                problems.append(((key, index, "path"), f"there is no {path}", _data_hint(path)))
    template = config.get("chat_template_jinja")
    if isinstance(template, str) and template.endswith(".jinja") and not Path(template).is_file():
        problems.append((("chat_template_jinja",), f"there is no {template}", "Correct the path"))
    for key in ("deepspeed", "base_model", "tokenizer_config"):
        path = config.get(key)
        if isinstance(path, str) and _is_local(path) and not _can_be_made(path):
            problems.append(((key,), f"there is no {path}", "Correct the path"))
    return problems


def _is_local(path: str) -> bool:
    first = path.split("/", 1)[0]
    return (
        path.endswith((".json", ".jsonl", ".csv", ".parquet"))
        or path.startswith((".", "/", "~"))
        or first in ("data", "models", "recipes", "runs")
    )


def _can_be_made(path: str) -> bool:
    parts = Path(path).parts
    if Path(path).expanduser().exists():
        return True
    if len(parts) == 3 and parts[0] == "data":
        splits = ("train.jsonl", "validation.jsonl", "test.jsonl")
        return parts[2] in splits and parts[1] in _definitions()
    from recipes.runner.models.smollm2 import FOLDER

    return (ROOT / path) == FOLDER


def _definitions() -> set[str]:
    return {path.stem for path in (ROOT / "datasets_prep" / "definitions").glob("*.yaml")}


def _data_hint(path: str) -> str:
    parts = Path(path).parts
    near = nearest(parts[1], _definitions()) if len(parts) == 3 and parts[0] == "data" else None
    made = f"data/{near}/{parts[2]} can be made: is that meant?" if near else ""
    return made or "Correct the path, or add a definition to datasets_prep/definitions"
