"""``python -m eval``: base against tuned, with error bars; exit 0 gates hold, 3 a gate fails, 1 error."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from eval.quiet import quiet_libraries
from recipes.errors import UserError, user_errors_exit
from recipes.recipe import display_path

GATE_FAILED = 3


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m eval", description=__doc__)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--run", help="a run's folder, or its name in runs/")
    which.add_argument("--recipe", help="the recipe whose run is evaluated")
    parser.add_argument("--suites", nargs="+", metavar="SUITE", help="names or files; default: all")
    parser.add_argument("--samples", type=_positive, default=1, metavar="K",
                        help="answers per prompt; 1 (default) is greedy")  # fmt: skip
    parser.add_argument("--limit", type=_positive, metavar="N", help="first N prompts of each suite")
    parser.add_argument("--batch-size", type=_positive, default=32, metavar="N")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--dtype", choices=("auto", "bf16", "fp16", "fp32"), default="auto")
    parser.add_argument("--embedding-model", type=Path, metavar="DIR",
                        help="folder of a local encoder, adds embedding similarity")  # fmt: skip
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return value


def main(argv: list[str] | None = None) -> int:
    """Run one evaluation; returns the exit code."""
    with user_errors_exit():
        return _main(build_parser().parse_args(argv))


def _main(args: argparse.Namespace) -> int:
    quiet_libraries()
    from rich.console import Console

    from eval.runs import find_run
    from eval.suites import load_suites

    suites = load_suites(args.suites, args.limit)
    run = find_run(args.run, args.recipe)
    run.check_adapter()
    run.held_out_file()

    from eval.evaluate import Options, evaluate_run
    from eval.results import write_results
    from eval.table import print_summary

    console = Console(stderr=False)
    options = Options(args.samples, args.batch_size, args.seed, args.dtype, args.limit,
                      args.embedding_model)  # fmt: skip
    try:
        outcome = evaluate_run(run, suites, options, console)
    except KeyboardInterrupt:
        raise UserError("interrupted; what was answered is kept", todo="The same command goes on") from None
    summary = write_results(run.eval_dir, suites, outcome, run.record)
    print_summary(summary, console)
    print(f"results: {display_path(run.eval_dir / 'summary.json')}, results.jsonl")
    print(f"look at: {display_path(run.eval_dir / 'report.html')}")
    return 0 if summary["gates_hold"] else GATE_FAILED


if __name__ == "__main__":
    sys.exit(main())
