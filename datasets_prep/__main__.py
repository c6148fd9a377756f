"""Command line: ``python -m datasets_prep DEFINITION``; ``--help`` says the rest."""

from __future__ import annotations

import argparse
import sys

from datasets_prep.light import start_light
from datasets_prep.pipeline import prepare
from recipes.runner.core.arguments import positive
from recipes.runner.core.errors import UserError, user_errors_exit
from recipes.runner.core.recipe import display_path, load_recipe


def main() -> None:
    """Prepare one data set and say where it is."""
    parser = argparse.ArgumentParser(
        prog="python -m datasets_prep",
        description="Make data/<dataset>/ from a definition: clean, anonymise, filter, "
        "de-duplicate, split, prove.",
    )
    parser.add_argument(
        "definition",
        nargs="?",
        help="name in datasets_prep/definitions, or a YAML file (default: what --recipe trains on)",
    )
    parser.add_argument("--source", help="a local file in place of the definition's source")
    parser.add_argument("--out", help="folder to write, in place of data/<dataset>")
    parser.add_argument(
        "--recipe",
        help="recipe whose tokenizer and template prove the rows, in place of the definition's",
    )
    parser.add_argument("--workers", type=positive, help="processes (default: one a core)")
    parser.add_argument(
        "--limit", type=positive, help="preview: the first rows of each source alone"
    )
    parser.add_argument("--force", action="store_true", help="run although nothing changed")
    args = parser.parse_args()
    if not args.definition and not args.recipe:
        parser.error("name a definition, or --recipe for the data set that a recipe trains on")
    try:
        with user_errors_exit():
            folder = prepare(
                args.definition or _dataset_of(args.recipe),
                source=args.source,
                out=args.out,
                recipe=args.recipe,
                workers=args.workers,
                force=args.force,
                quiet=False,
                limit=args.limit,
            )
            if not (args.definition or args.out or args.limit):
                name = load_recipe(args.recipe).name
                print(
                    f"Card: {display_path(folder / 'card.html')}   Next: make train RECIPE={name}"
                )
    except KeyboardInterrupt:
        print("stopped: the data are as they were", file=sys.stderr)
        raise SystemExit(130) from None


def _dataset_of(name: str) -> str:
    recipe = load_recipe(name)
    if recipe.dataset is None:
        raise UserError(
            "its data is not in data/<dataset>/, so there is nothing to make",
            display_path(recipe.path),
            "Name data/<dataset>/train.jsonl under datasets",
        )
    return recipe.dataset


if __name__ == "__main__":
    start_light()  # here, not in main: whoever calls that trains in the same process, perhaps
    main()
