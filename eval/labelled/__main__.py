"""python -m eval.labelled: what every check of meaning is worth, by hand and by style."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from dataclasses import asdict

from rich.console import Console
from rich.table import Table

from eval.checks.meaning import prefetch
from eval.checks.worth import DECIDES_FROM, MEASURED, Worth
from eval.labelled.measure import checks_measured, errors, milliseconds, of_model, worth_on
from eval.labelled.rows import HANDS, MODEL_HAND, NEW_HANDS, UNSEEN_HANDS, labelled_rows
from eval.quiet import quiet_libraries
from recipes.runner.core.errors import UserError, user_errors_exit
from recipes.runner.core.files import write_text
from recipes.runner.core.nearest import did_you_mean


def main() -> None:
    """Measure, print, and with --write keep what reports show."""
    parser = argparse.ArgumentParser(prog="python -m eval.labelled", description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"write {MEASURED.name}")
    parser.add_argument("--errors", metavar="CHECK", help="list the answers that it gets wrong")
    parser.add_argument(
        "--hands",
        default=UNSEEN_HANDS,
        help=f"of these writers; {UNSEEN_HANDS}, the default, are those to whom nothing is fitted",
    )
    asked = parser.parse_args()
    if asked.errors and asked.errors not in checks_measured():
        raise UserError(
            f"there is no check {asked.errors}",
            "--errors",
            did_you_mean(asked.errors, checks_measured()),
        )
    every = HANDS + UNSEEN_HANDS + NEW_HANDS + MODEL_HAND
    if strangers := set(asked.hands) - set(every):
        raise UserError(f"there is no writer {min(strangers)}", "--hands", f"Any of {every}")
    if asked.write and asked.hands != UNSEEN_HANDS:
        parser.error("--write keeps the figures of the writers to whom nothing is fitted")
    quiet_libraries()
    rows = labelled_rows(asked.hands)
    prefetch((row.question, row.answer) for row in rows)
    console = Console()
    if asked.errors:
        for one in errors(rows, asked.errors):
            console.print(f"{one['id']} {'missed' if one['is'] else 'false'}: {one['answer']}")
        return
    worth = worth_on(rows)
    fitted = " (fitted to)" if set(asked.hands) & set(HANDS) else ""
    console.print(_table(worth, f"{len(rows)} answers of writers {asked.hands}{fitted}"))
    for hand in asked.hands if len(asked.hands) > 1 else "":
        found = worth_on([row for row in rows if row.id[0] == hand])
        console.print(_table(found, f"writer {hand} alone"))
    for style in sorted({row.style for row in rows}):
        if found := worth_on([row for row in rows if row.style == style]):
            console.print(f"{style}: {_means(found.values())}")
    said_by_model = labelled_rows(MODEL_HAND)
    for whose, some in (("these", rows[::10]), ("a small model's", said_by_model[::10])):
        console.print(
            f"reading one of {whose} answers takes {milliseconds(some):.0f} ms of one core alone, "
            f"{milliseconds(some, together=True):.0f} among others, as in `make eval`"
        )
    worth = of_model(worth, said_by_model)
    console.print(f"{len(said_by_model)} answers of a base and a tuned SmolLM2 to the suites:")
    for name, found_worth in worth.items():
        if found_worth.of_model:
            console.print(f"{name}: of what it saw in them, right: {found_worth.of_model}")
    if asked.write:
        kept = {"rows": len(rows), "checks": {n: asdict(w) for n, w in worth.items()}}
        write_text(MEASURED, json.dumps(kept, indent=2) + "\n")


def _table(worth: dict[str, Worth], title: str) -> Table:
    table = Table(title=title)
    for heading in ("check", "recall", "precision", "decides a gate"):
        table.add_column(heading)
    for name, one in worth.items():
        decides = "yes" if one.decides else f"no: under {DECIDES_FROM}"
        table.add_row(name, str(one.recall), str(one.precision), decides)
    return table


def _means(values: Iterable[Worth]) -> str:
    held = list(values)
    recall = sum(one.recall.value for one in held) / len(held)
    precision = sum(one.precision.value for one in held) / len(held)
    return f"mean recall {recall:.2f}, mean precision {precision:.2f} over {len(held)} checks"


if __name__ == "__main__":
    with user_errors_exit():
        main()
