"""The end of a sweep: what failed, the comparison, the plot, and which setting is best."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from recipes.runner.core.files import write_json
from recipes.runner.core.recipe import ROOT, Recipe, display_path
from recipes.runner.launch.jobs import JobsOutcome
from recipes.runner.models.saved_adapter import MADE_BY_TRL
from recipes.runner.run.record import FAILED, read_record
from recipes.runner.sweep.grid import Grid
from recipes.runner.sweep.halving import Race
from recipes.runner.sweep.runs import SweepRun, is_finished

INTERRUPTED = 130


def close(
    recipe: Recipe,
    grid: Grid,
    runs: Sequence[SweepRun],
    outcome: JobsOutcome,
    race: Race | None = None,
) -> int:
    """Say what came of it.

    Returns:
        0 when every run that was to be made is finished, 1 when some failed, 130 when it was
        interrupted.
    """
    finished = [run for run in runs if is_finished(run)]
    if outcome.interrupted:
        print(
            f"interrupted: {len(finished)} of {len(runs)} runs are finished; the same command goes"
            " on from there",
            file=sys.stderr,
        )
        return INTERRUPTED
    failed = [run for run in runs if outcome.codes.get(run.name)]
    whole = [run for run in finished if run not in failed]
    _compare(recipe, grid, sorted(whole, key=lambda run: grid.place(run.point.values)))
    if recipe.config.get("rl") in MADE_BY_TRL and len(whole) > 1:
        print(
            "what preference training holds out are pairs, and the loss over them changes with"
            " rl_beta: it doesn't say which setting is best. make eval RUN=... of each, then"
            " make compare"
        )
    elif grid.repeats.count > 1 and len({run.setting for run in whole}) > 1:
        _settle(recipe, grid, whole, race)
    elif len(whole) > 1:
        print(
            "one run of each setting: how much of their difference is chance is not known; write"
            " seeds: 3 or folds: 5 into the sweep to learn it"
        )
    if failed:
        print(f"\n{len(failed)} of {len(runs)} runs failed:", file=sys.stderr)
        for run in failed:
            print(f"  {run.folder}: {_reason(run, outcome)}", file=sys.stderr)
        print("The same command tries them again.", file=sys.stderr)
        return 1
    return 0


def _reason(run: SweepRun, outcome: JobsOutcome) -> str:
    record = read_record(ROOT / run.folder)
    reason = record.get("reason") if record.get("status") == FAILED else None
    return str(reason or f"ended with exit code {outcome.codes[run.name]}; its lines are above")


def _compare(recipe: Recipe, grid: Grid, finished: Sequence[SweepRun]) -> None:
    """The table of `make compare`, its page, and the plot of held-out loss beside it.

    With repeats the table is of one run of each setting; the plot is of all.
    """
    first = {run.setting: run for run in reversed(finished)}
    shown = [run for run in finished if first[run.setting] is run]
    if len(shown) < 2:
        print(f"\n{len(shown)} finished: too few to compare")
        return
    from recipes.runner.sweep.plot import draw_sweep

    beside = _beside(recipe, grid, finished)
    picture = draw_sweep(grid, finished, beside.with_name(f"{beside.name}.png"))
    page = beside.with_name(f"{beside.name}.html")
    # Evaluation stands above the recipes: it is started, not imported.
    folders = [str(ROOT / run.folder) for run in shown]
    command = [sys.executable, "-m", "eval.compare", "--runs", *folders, "--output", str(page)]
    command += ["--picture", str(picture)] if picture else []
    sys.stdout.flush()
    subprocess.run(command, cwd=ROOT, check=False)
    if picture:
        print(f"plot:    {display_path(picture)}")


def _beside(recipe: Recipe, grid: Grid, runs: Sequence[SweepRun]) -> Path:
    return ROOT / runs[0].folder.parent / f"{recipe.name}-{grid.name}"


def _settle(recipe: Recipe, grid: Grid, finished: Sequence[SweepRun], race: Race | None) -> None:
    """Which setting is best, by the held-out conversations: asked of evaluation, as a process."""
    beside = _beside(recipe, grid, finished)
    path = beside.with_name(f"{beside.name}.json")
    settings = list(dict.fromkeys(run.setting for run in finished))
    left = [name for name in settings if race is None or name in race.left]
    write_json(
        path,
        {
            "sweep": grid.name,
            "folds": grid.repeats.folds,
            "left": left,
            "dropped": race.dropped if race else {},
            "runs": [
                {
                    "setting": run.setting,
                    "repeat": run.repeat.name,
                    "folder": str(ROOT / run.folder),
                }
                for run in finished
            ],
        },
    )
    sys.stdout.flush()
    subprocess.run([sys.executable, "-m", "eval.settle", str(path)], cwd=ROOT, check=False)
