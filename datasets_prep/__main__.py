"""Command line: ``python -m datasets_prep DEFINITION``; ``--help`` says the rest."""

from __future__ import annotations

import argparse
import sys

from datasets_prep.pipeline import prepare
from recipes.arguments import positive
from recipes.errors import user_errors_exit


def main() -> None:
    """Prepare one data set and say where it is."""
    parser = argparse.ArgumentParser(
        prog="python -m datasets_prep",
        description="Make data/<dataset>/ from a definition: clean, anonymise, filter, "
        "de-duplicate, split, prove.",
    )
    parser.add_argument("definition", help="name in datasets_prep/definitions, or a YAML file")
    parser.add_argument("--source", help="a local file in place of the definition's source")
    parser.add_argument("--out", help="folder to write, in place of data/<dataset>")
    parser.add_argument(
        "--recipe",
        help="recipe whose tokenizer and template prove the rows, in place of the definition's",
    )
    parser.add_argument("--workers", type=positive, help="processes (default: one a core)")
    parser.add_argument("--force", action="store_true", help="run although nothing changed")
    args = parser.parse_args()
    try:
        with user_errors_exit():
            prepare(
                args.definition,
                source=args.source,
                out=args.out,
                recipe=args.recipe,
                workers=args.workers,
                force=args.force,
                quiet=False,
            )
    except KeyboardInterrupt:
        print("stopped: the data are as they were", file=sys.stderr)
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
