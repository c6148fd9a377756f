"""``python -m eval.lm_harness``: lm-eval tasks on both arms from one load, paired by document."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from eval.quiet import quiet_libraries
from recipes.runner.core.errors import UserError, user_errors_exit
from recipes.runner.core.recipe import did_you_mean, display_path

MARGIN = 0.02


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m eval.lm_harness", description=__doc__)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--run", help="a run's folder, or its name in runs/")
    which.add_argument("--recipe", help="the recipe whose run is evaluated")
    parser.add_argument("--tasks", nargs="+", required=True, metavar="TASK", help="lm-eval's names")
    parser.add_argument("--limit", type=int, metavar="N", help="first N documents of each task")
    parser.add_argument("--batch-size", type=int, default=8, metavar="N")
    parser.add_argument("--include", type=Path, metavar="DIR", help="folder of your own task files")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the tasks; returns the exit code."""
    with user_errors_exit():
        args = build_parser().parse_args(argv)
        quiet_libraries()
        try:
            import lm_eval  # noqa: F401
        except ImportError:
            raise UserError("lm-eval is not installed", todo="pip install lm-eval") from None
        from recipes.runner.run.finished import find_run

        run = find_run(args.run, args.recipe)
        run.check_adapter()
        manager = _task_manager(args.tasks, args.include)
        _check_documents(args.tasks, manager)

        from eval.generation.arms import local_arms
        from eval.generation.base_model import load_base
        from recipes.runner.core.files import write_json

        base = load_base(run.config)
        samples = [
            _run_arm(arm, args.tasks, manager, args.limit, args.batch_size)
            for arm in local_arms(run, base)
        ]
        rows = pair_samples(samples[0], samples[1])
        if not rows:
            raise UserError("the tasks gave no figure by document", ", ".join(args.tasks))
        output = run.eval_dir / "lm_harness.json"
        write_json(output, {"run": run.name, "base_held": base.held, "tasks": rows})
        _print(rows)
        print(f"results: {display_path(output)}")
    return 0


def _task_manager(tasks: Sequence[str], include: Path | None) -> Any:
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=str(include) if include else None)
    known = set(manager.all_tasks)
    for task in tasks:
        if task not in known:
            raise UserError(f"lm-eval has no task '{task}'", "--tasks", did_you_mean(task, known))
    return manager


def _check_documents(tasks: Sequence[str], manager: Any) -> None:
    """Fetch the tasks' documents before the base is loaded: most come from the Hub."""
    import httpx
    from huggingface_hub.utils import logging as hub_logging
    from lm_eval.tasks import get_task_dict

    hub_logging.set_verbosity_error()  # its retries end in the one line below
    try:
        get_task_dict(list(tasks), manager)
    # What is raised without the Hub changes from release to release.
    except (OSError, ValueError, RuntimeError, httpx.HTTPError) as error:
        cause: BaseException = error
        while cause.__context__:  # "the client has been closed" says less than what closed it
            cause = cause.__context__
        first = (str(cause).strip() or type(cause).__name__).splitlines()[0].rstrip(".")
        raise UserError(
            f"the documents can't be loaded: {first}",
            ", ".join(tasks),
            "They come from the Hub; without it, take tasks over local files with --include DIR",
        ) from None


def _run_arm(
    arm: Any, tasks: Sequence[str], manager: Any, limit: int | None, batch_size: int
) -> dict[str, list[dict[str, Any]]]:
    """Samples by task, with the adapter in the arm's state."""
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM

    with arm.active() as model:
        wrapped = HFLM(pretrained=model, tokenizer=arm.tokenizer, batch_size=batch_size)
        try:
            found = simple_evaluate(
                model=wrapped,
                tasks=list(tasks),
                task_manager=manager,
                limit=limit,
                log_samples=True,
                bootstrap_iters=0,
            )
        except (OSError, ValueError) as error:
            first = str(error).strip().splitlines()[0]
            raise UserError(f"lm-eval failed: {first}", ", ".join(tasks)) from None
    return dict(found["samples"])


def pair_samples(
    base: dict[str, list[dict[str, Any]]], tuned: dict[str, list[dict[str, Any]]]
) -> list[dict[str, Any]]:
    """Compare each task's figures document by document, adjusted over tasks (Holm)."""
    from eval.scoring.pairs import is_yes_no
    from eval.scoring.statistics import compare, holm, verdict

    found = []
    for task, left in base.items():
        right = {sample["doc_id"]: sample for sample in tuned[task]}
        for metric in left[0]["metrics"] if left else []:
            pairs = [
                (float(sample[metric]), float(right[sample["doc_id"]][metric]))
                for sample in left
                if isinstance(sample.get(metric), int | float | bool)
            ]
            if pairs:
                values = [value for pair in pairs for value in pair]
                paired = compare([b for b, _ in pairs], [t for _, t in pairs], is_yes_no(values))
                found.append((task, metric, paired))
    adjusted = holm([paired.p for _, _, paired in found])
    return [
        {
            "task": task,
            "metric": metric,
            **asdict(paired),
            "p_holm": p,
            "verdict": verdict(paired, MARGIN, p),
        }
        for (task, metric, paired), p in zip(found, adjusted, strict=True)
    ]


def _print(rows: Sequence[dict[str, Any]]) -> None:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    table = Table(box=SIMPLE)
    for heading in ("task", "metric", "n", "base", "tuned", "difference (95%)", "verdict"):
        table.add_column(heading)
    for row in rows:
        low, high = row["interval"]["low"], row["interval"]["high"]
        table.add_row(
            row["task"],
            row["metric"],
            str(row["n"]),
            f"{row['base']:.3f}",
            f"{row['tuned']:.3f}",
            f"{row['difference']:+.3f} ({low:+.3f} to {high:+.3f})",
            row["verdict"],
        )
    Console().print(table)


if __name__ == "__main__":
    sys.exit(main())
