"""From a definition to ``data/<dataset>/``: all steps in order, nothing half-written."""

from __future__ import annotations

import sys
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from datasets_prep import manifest
from datasets_prep.definition import Definition, load_definition
from datasets_prep.opening import local_files
from datasets_prep.recipe_tokens import token_config, why_no_tokenizer
from datasets_prep.suites import suite_files
from datasets_prep.workspace import only_run
from recipes.runner.core.errors import UserError
from recipes.runner.core.fallbacks import note_fallback
from recipes.runner.core.made_data import made_from
from recipes.runner.core.recipe import (
    RECIPES,
    ROOT,
    Recipe,
    display_path,
    load_recipe,
    recipe_paths,
)

if TYPE_CHECKING:
    from datasets_prep.build import BuildResult

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
    limit: int | None = None,
) -> Path:
    """Make a data set, unless the manifest says that nothing changed.

    Steps before the first whose settings changed are not done again; a run that another one of the
    same folder meets waits for it.

    Without a tokenizer (the Hub is out of reach, a local model is not there yet) the rows are made
    and left unproven: said once, noted in card and manifest, and fixed by the next run that finds
    the tokenizer.

    Args:
        definition: a name in ``datasets_prep/definitions``, or the path of a YAML file.
        source: a local file in place of the definition's source.
        out: the folder to write, in place of ``data/<dataset>``.
        recipe: name or path of an Axolotl recipe, in place of the definition's own: its tokenizer
            and chat template measure and prove the rows.
        workers: processes; None for one a core.
        force: run although nothing changed, and take nothing from the run before.
        quiet: print nothing when nothing changed.
        limit: read the first so many rows of each source alone, into ``data/<dataset>-preview``.

    Returns:
        The folder with the three splits, the ledger, the cards and the manifest.

    Raises:
        UserError: the definition, the source or a row is wrong; the folder stays as it was.
    """
    chosen, definition_file = load_definition(definition)
    name_of_folder = f"{chosen.name}-preview" if limit else chosen.name
    folder = Path(out) if out is not None else ROOT / "data" / name_of_folder
    if folder.exists() and not folder.is_dir():
        raise UserError("is not a folder", str(folder), "Give --out a folder")
    if source is not None and chosen.sources:
        raise UserError(
            "--source stands for one source, and this data set has several", chosen.name
        )
    parts = []
    for part in chosen.parts():
        assert part.source is not None
        override = source if not part.part else None
        parts.append((part, *local_files(part.source, definition_file, override)))
    name = recipe if recipe is not None else chosen.recipe
    asked = name is not None and chosen.steps.prove
    try:
        proving = load_recipe(str(name)) if asked else None
    except UserError as error:
        if recipe is not None:
            raise
        where = f"{display_path(definition_file)}: recipe"
        raise UserError(error.what, where, error.todo) from None
    tokens = token_config(proving, chosen.name) if proving else None
    near = chosen.steps.contamination
    suites = suite_files(near) if near else []
    wanted = manifest.inputs(chosen, [files for _, _, files in parts], tokens, suites, limit)
    try:
        with only_run(folder):
            made = None if force else manifest.unchanged(folder, wanted)
            missing = None
            if tokens is not None and (made is None or made["unproven"]):
                missing = why_no_tokenizer(tokens)
                if missing:
                    what = "rows that are not proven trainable"
                    note_fallback("datasets_prep.prove", what, missing)
            if made is not None and (missing or not made["unproven"] or tokens is None):
                if not quiet:
                    print(f"{chosen.name}: nothing changed, kept {display_path(folder)}")
                return folder

            from datasets_prep.build import PartPlan, Tokenising, build

            tokenising = Tokenising(proving, tokens, missing) if proving and tokens else None
            plans = [PartPlan(*part) for part in parts]
            files = chain.from_iterable(files for _, _, files in parts)
            inputs = made_from(definition_file, files)
            outcome = build(
                chosen, plans, folder, tokenising, wanted, inputs, workers, limit, force
            )
    except OSError as error:
        raise UserError(
            (error.strerror or str(error)).lower(),
            str(error.filename or folder),
            "Check the disk and the permissions, or give --out another folder",
        ) from None
    if outcome.unproven and not missing:
        print(f"note: not proven trainable: {outcome.unproven}", file=sys.stderr)
    _say(chosen, folder, outcome, proving)
    return folder


def _say(
    definition: Definition, folder: Path, outcome: BuildResult, proving: Recipe | None
) -> None:
    for warning in outcome.warnings:
        print(f"note: {warning}", file=sys.stderr)
    if outcome.reused:
        steps = ", ".join(dict.fromkeys(outcome.reused))
        print(f"Steps taken from the run before, as nothing that decides them changed: {steps}")
    train, validation, test = outcome.written
    print(
        f"{definition.name}: {outcome.read:,} rows read, {outcome.kept:,} kept, "
        f"{outcome.read - outcome.kept:,} dropped; "
        f"train {train:,}, validation {validation:,}, test {test:,}"
    )
    if outcome.dropped:
        print("Dropped: " + ", ".join(f"{step} {n:,}" for step, n in outcome.dropped.items()))
    shown = Path(display_path(folder))
    print(f"Data:   {shown}\nCard:   {shown / 'card.html'}\nLedger: {shown / 'ledger.jsonl'}")
    print(f"Next:   {_next(folder, proving)}")


def _next(folder: Path, proving: Recipe | None) -> str:
    """How to train on the data: with a recipe that names them, the proving one first."""
    own = [proving] if proving else []
    for recipe in chain(own, map(load_recipe, recipe_paths())):
        listed = recipe.config.get("datasets")
        for entry in listed if isinstance(listed, list) else []:
            path = Path(str(entry.get("path", ""))) if isinstance(entry, dict) else Path()
            if (ROOT / path).resolve() == (folder / "train.jsonl").resolve():
                known = recipe.path.parent == RECIPES
                return f"make train RECIPE={recipe.name if known else recipe.path}"
    shown = Path(display_path(folder)) / "train.jsonl"
    return f"name {shown} under datasets in a recipe, then make train RECIPE=<that recipe>"
