"""From a definition to ``data/<dataset>/``: all steps in order, nothing half-written."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from datasets_prep import manifest
from datasets_prep.definition import Definition, load_definition
from datasets_prep.readers import local_file
from recipes.errors import UserError

if TYPE_CHECKING:
    from datasets_prep.build import Outcome

REPOSITORY = Path(__file__).resolve().parent.parent
OUTPUTS = ("train.jsonl", "validation.jsonl", "test.jsonl", "ledger.jsonl", "card.md", "card.html")


def prepare(
    definition: str | Path,
    *,
    source: str | Path | None = None,
    out: str | Path | None = None,
    recipe: str | Path | None = None,
    workers: int | None = None,
    force: bool = False,
    quiet: bool = True,
) -> Path:
    """Make a data set, unless the manifest says that nothing changed.

    Args:
        definition: a name in ``datasets_prep/definitions``, or the path of a YAML file.
        source: a local file in place of the definition's source.
        out: the folder to write, in place of ``data/<dataset>``.
        recipe: name or path of an Axolotl recipe: its tokenizer and chat template prove the rows.
        workers: processes; None for one a core.
        force: run although nothing changed.
        quiet: print nothing when nothing changed.

    Returns:
        The folder with the three splits, the ledger, the cards and the manifest.

    Raises:
        UserError: the definition, the source or a row is wrong; the folder stays as it was.
    """
    chosen, definition_file = load_definition(definition)
    folder = Path(out) if out is not None else REPOSITORY / "data" / chosen.name
    if folder.exists() and not folder.is_dir():
        raise UserError("is not a folder", str(folder), "Give --out a folder")
    path = local_file(chosen.source, definition_file, source)
    recipe_file = _find_recipe(recipe) if recipe is not None else None
    recipe_body = _read_recipe(recipe_file) if recipe_file else None
    wanted = manifest.inputs(chosen, path, recipe_body)
    if not force and manifest.unchanged(folder, wanted):
        if not quiet:
            print(f"{chosen.name}: nothing changed, kept {folder}")
        return folder

    from datasets_prep.build import build

    outcome = build(chosen, path, folder, recipe_file, recipe_body, wanted, workers)
    _say(chosen, folder, outcome, recipe_file)
    return folder


def _find_recipe(recipe: str | Path) -> Path:
    path = Path(recipe)
    if path.suffix not in (".yaml", ".yml"):
        path = REPOSITORY / "recipes" / f"{recipe}.yaml"
    if not path.is_file():
        raise UserError(f"no recipe '{recipe}'", todo="Give a name in recipes/ or a YAML file")
    return path


def _read_recipe(path: Path) -> dict[str, Any]:
    try:
        body = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"is not YAML: {' '.join(str(error).split())}", str(path)) from None
    if not isinstance(body, dict) or not body.get("base_model"):
        raise UserError("names no base_model", str(path), "Give --recipe an Axolotl recipe")
    return body


def _say(definition: Definition, folder: Path, outcome: Outcome, recipe: Path | None) -> None:
    for warning in outcome.warnings:
        print(f"note: {warning}", file=sys.stderr)
    train, validation, test = outcome.written
    print(
        f"{definition.name}: {outcome.read:,} rows read, {outcome.kept:,} kept, "
        f"{outcome.read - outcome.kept:,} dropped; "
        f"train {train:,}, validation {validation:,}, test {test:,}"
    )
    print(f"Data:   {folder}\nCard:   {folder / 'card.html'}\nLedger: {folder / 'ledger.jsonl'}")
    if recipe is not None:
        print(f"Next:   make train RECIPE={recipe.stem}")
