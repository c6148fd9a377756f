"""Base against tuned. Exit code 0: ship, 3: don't ship, 4: can't tell, 1: an error."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval.against import find_reference, results_folder
from eval.command import Parser, add_served_arms, interrupts_said, served_arms
from eval.quiet import quiet_libraries
from recipes.runner.core.arguments import positive
from recipes.runner.core.errors import UserError, user_errors_exit
from recipes.runner.core.recipe import display_path

if TYPE_CHECKING:
    from rich.console import Console

    from recipes.runner.run.finished import Run


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = Parser(prog="python -m eval", description=__doc__)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--run", help="a run's folder, or its name in runs/")
    which.add_argument("--recipe", help="the recipe whose run is evaluated")
    parser.add_argument(
        "--against",
        default="",
        metavar="RUN",
        help="another run in base's place, such as the SFT run that DPO went on from",
    )
    parser.add_argument("--suites", nargs="+", metavar="SUITE", help="names or files; default: all")
    parser.add_argument(
        "--samples",
        type=positive,
        default=1,
        metavar="K",
        help="answers per prompt; 1 (default) is greedy",
    )
    parser.add_argument(
        "--limit", type=positive, metavar="N", help="N prompts of each suite, evenly spread"
    )
    parser.add_argument(
        "--batch-size",
        type=positive,
        default=40,
        metavar="N",
        help="conversations generated together",
    )
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--dtype", choices=("auto", "bf16", "fp16", "fp32"), default="auto")
    parser.add_argument(
        "--embedding-model",
        type=Path,
        metavar="DIR",
        help="folder of a local encoder, adds embedding similarity",
    )
    judge = parser.add_argument_group("judge (optional; key in EVAL_JUDGE_API_KEY)")
    judge.add_argument(
        "--judge", metavar="URL", help="OpenAI-compatible API, e.g. http://127.0.0.1:8000/v1"
    )
    judge.add_argument("--judge-model", metavar="NAME")
    judge.add_argument("--judge-timeout", type=float, default=120.0, metavar="SECONDS")
    add_served_arms(parser)
    parser.add_argument(
        "--votes",
        type=Path,
        metavar="FILE",
        help="add blind votes exported from report.html; nothing is generated",
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run one evaluation; returns the exit code."""
    with user_errors_exit(), interrupts_said():
        args = build_parser().parse_args(argv)
        if args.judge and not args.judge_model:
            raise UserError("names no model", "--judge", "Give --judge-model NAME")
        quiet_libraries()
        from recipes.runner.run.finished import find_run

        run = find_run(args.run, args.recipe)  # before what takes seconds to import
        against = find_reference(run, args.against) if args.against else None
        from rich.console import Console

        from eval.release.card import renew_card
        from eval.report.console import print_end, print_summary
        from eval.report.files import add_votes

        console = Console()
        folder = results_folder(run, against)
        if args.votes:
            summary = add_votes(folder, args.votes, run.record)
        else:
            summary = _evaluate(args, run, against, folder, console)
        renew_card(run.path)
        print_summary(summary, console)
        print(f"results: {display_path(folder / 'summary.json')}, results.jsonl")
        print(f"look at: {display_path(folder / 'report.html')}")
        print_end(summary, console)
        return int(summary["decision"]["exit_code"])


def _evaluate(
    args: argparse.Namespace, run: Run, against: Run | None, folder: Path, console: Console
) -> dict[str, Any]:
    from eval.scoring.metrics import metric_of
    from eval.suite import load_suites

    suites = load_suites(args.suites, args.limit)
    for suite in suites:
        metric = suite.primary.metric
        needs = metric_of(metric).needs
        if needs == "judge" and not args.judge:
            raise UserError(
                f"is decided by {metric}", f"suite {suite.name}", "Give --judge and --judge-model"
            )
        if needs == "embedding" and not args.embedding_model:
            raise UserError(
                f"is decided by {metric}", f"suite {suite.name}", "Give --embedding-model DIR"
            )
    served = served_arms(args)
    if served and against:
        raise UserError("takes base's place, and so does --base-endpoint", "--against", "Give one")
    if not served:
        # What can be known wrong is said before torch is imported.
        run.check_adapter()
        run.held_out_file()

    from eval.evaluate import Options, evaluate_endpoints, evaluate_run, judge_outcome
    from eval.generation.endpoint import ChatEndpoint
    from eval.report.files import write_results
    from eval.scoring.judge import KEY_VARIABLE

    judge = (
        ChatEndpoint(args.judge, args.judge_model, KEY_VARIABLE, args.judge_timeout)
        if args.judge
        else None
    )
    options = Options(
        args.samples, args.batch_size, args.seed, args.dtype, args.limit, args.embedding_model
    )
    if served:
        outcome = evaluate_endpoints(run, suites, options, served, console)
    else:
        outcome = evaluate_run(run, suites, options, console, against)
    summary = write_results(folder, suites, outcome, run.record)
    if judge:
        judge_outcome(outcome, judge, run.eval_dir / "cache", console)
        summary = write_results(folder, suites, outcome, run.record)
    return summary


if __name__ == "__main__":
    sys.exit(main())
