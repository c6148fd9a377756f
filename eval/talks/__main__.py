"""Whole talks of base and tuned with simulated people.

Exit code 0: no fall was found, 3: tuned is worse, 4: can't tell, 1: an error.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval.command import Parser, add_served_arms, interrupts_said, served_arms
from eval.quiet import quiet_libraries
from recipes.runner.core.arguments import positive
from recipes.runner.core.errors import UserError, user_errors_exit
from recipes.runner.core.nearest import did_you_mean
from recipes.runner.core.paths import display_path

if TYPE_CHECKING:
    from eval.talks.persona import Persona


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = Parser(prog="python -m eval.talks", description=__doc__)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--run", help="a run's folder, or its name in runs/")
    which.add_argument("--recipe", help="the recipe whose run is talked to")
    parser.add_argument(
        "--personas", nargs="+", metavar="ID", help="some of the people; default: all"
    )
    parser.add_argument(
        "--persona-file", type=Path, metavar="PATH", help="a YAML file of people, or a folder"
    )
    parser.add_argument("--limit", type=positive, metavar="N", help="N people, evenly spread")
    parser.add_argument("--max-new-tokens", type=positive, default=96, metavar="N")
    parser.add_argument("--batch-size", type=positive, default=40, metavar="N")
    parser.add_argument("--seed", type=int, default=42, help="of the people and of sampling")
    parser.add_argument("--dtype", choices=("auto", "bf16", "fp16", "fp32"), default="auto")
    user = parser.add_argument_group("people played by a model (key in EVAL_USER_API_KEY)")
    user.add_argument("--user", metavar="URL", help="OpenAI-compatible API; default: the script")
    user.add_argument("--user-model", metavar="NAME")
    add_served_arms(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Hold the talks of one run; returns the exit code."""
    with user_errors_exit(), interrupts_said():
        args = build_parser().parse_args(argv)
        if bool(args.user) != bool(args.user_model):
            raise UserError("go together", "--user, --user-model", "Give both or neither")
        quiet_libraries()
        from rich.console import Console

        from recipes.runner.run.finished import find_run

        console = Console()
        run = find_run(args.run, args.recipe)
        personas = _personas(args)
        endpoints = served_arms(args)

        from eval.talks.run import TalkOptions, talk_with_run

        options = TalkOptions(
            args.max_new_tokens,
            args.seed,
            args.batch_size,
            args.dtype,
            (args.user, args.user_model) if args.user else None,
            endpoints,
        )
        summary = talk_with_run(run, personas, options, console)
        _print(summary, console)
        print(f"look at: {display_path(run.eval_dir / 'talks' / 'talks.html')}")
        code: int = summary["decision"]["exit_code"]
        print(f"exit code {code}")
    return code


def _personas(args: argparse.Namespace) -> list[Persona]:
    from eval.suite import spread
    from eval.talks.persona import load_personas

    found = load_personas(args.persona_file)
    if args.personas:
        by_id = {persona.id: persona for persona in found}
        for name in args.personas:
            if name not in by_id:
                hint = did_you_mean(name, by_id, "People")
                raise UserError(f"there is no persona '{name}'", "--personas", hint)
        found = [by_id[name] for name in dict.fromkeys(args.personas)]
    return list(spread(tuple(found), args.limit)) if args.limit else found


def _print(summary: dict[str, Any], console: Any) -> None:
    """The decision, then the measures as a table, then what is counted."""
    from rich.box import SIMPLE
    from rich.markup import escape
    from rich.table import Table

    from eval.talks.headline import number_of
    from eval.talks.page import counts_said

    def say(words: str) -> None:
        console.print(words, highlight=False, soft_wrap=True)

    decision = summary["decision"]
    colour = {"no fall": "green", "don't ship": "red"}.get(decision["kind"], "yellow")
    say(f"[bold {colour}]{escape(decision['sentence'])}[/]")
    for reason in decision["reasons"]:
        say(f"  {escape(reason)}")
    talks = number_of(summary["talks"], "talk")
    title = f"{escape(summary['run'])}: {talks} with each, tuned against base"
    table = Table(title=title, title_justify="left", box=SIMPLE)
    for heading in ("measure", "people", "base", "tuned", "difference (95%)", "verdict"):
        table.add_column(heading, justify="left" if heading in ("measure", "verdict") else "right")
    for row in summary["measures"]:
        found = row["compared"]
        low, high = found["interval"]["low"], found["interval"]["high"]
        verdict = "no difference" if row["verdict"].startswith("no ") else row["verdict"]
        table.add_row(
            row["title"],
            str(found["n"]),
            f"{found['base']:.0%}",
            f"{found['tuned']:.0%}",
            f"{found['difference']:+.2f} ({low:+.2f} to {high:+.2f})",
            f"{verdict} (informs)" if row["informs"] else verdict,
        )
    console.print(table)
    for line in counts_said(summary):
        say(escape(line))


if __name__ == "__main__":
    sys.exit(main())
