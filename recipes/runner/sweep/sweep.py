"""`make sweep`: one recipe over a grid of settings, a run folder for each, then a comparison."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recipes.runner.core.errors import UserError, UserErrors
from recipes.runner.core.flags import flag
from recipes.runner.core.hashes import file_hash
from recipes.runner.core.overrides import Overrides, apply, parse_overrides
from recipes.runner.core.recipe import ROOT, Recipe, display_path
from recipes.runner.core.yaml_file import read_value
from recipes.runner.estimate.gpu import count_gpus, device_names
from recipes.runner.launch.jobs import Job, JobsOutcome, run_jobs
from recipes.runner.sweep.grid import Grid, Point

INTERRUPTED = 130


@dataclass(frozen=True)
class SweepRun:
    """One run of a sweep.

    Attributes:
        point: its values.
        folder: its run folder, relative to the repository.
        overrides: everything that differs from the recipe.
    """

    point: Point
    folder: Path
    overrides: Overrides

    @property
    def name(self) -> str:
        """The folder's name, which is the run's."""
        return self.folder.name


def sweep_runs(recipe: Recipe, grid: Grid, fixed: Overrides) -> list[SweepRun]:
    """The runs of a sweep: `<recipe>-<sweep>-<values>`, beside the recipe's own run folder."""
    beside = Path(str(recipe.config.get("output_dir") or f"runs/{recipe.name}")).parent
    runs = []
    for point in grid.points:
        folder = beside / f"{recipe.name}-{grid.name}-{point.name}"
        # Read back from their text, so that they are what the training command will record.
        overrides = parse_overrides(_as_set({**fixed, **point.values, "output_dir": str(folder)}))
        runs.append(SweepRun(point, folder, overrides))
    return runs


def refuse_problems(recipe: Recipe, grid: Grid, runs: Sequence[SweepRun]) -> None:
    """Check every run before the first one starts, as `make check` checks a recipe.

    Raises:
        UserErrors: what Axolotl or we refuse, with the values it is about; a setting without any
            effect; or a run folder that holds a run of other settings.
    """
    from recipes.runner.check.check import problems_with

    problems: list[UserError] = []
    found: dict[str, UserError] = {}
    for run in runs:
        config = apply(recipe.config, run.overrides)
        where = f"{display_path(grid.path)}: {_in_words(grid, run)}"
        for problem in problems_with(Recipe(recipe.name, recipe.path, config)):
            # What is wrong in every run is said of the first.
            found.setdefault(str(problem), UserError(str(problem), where))
        problems += _other_run(run)
    problems = [*found.values(), *problems]
    problems += _without_effect(recipe, grid, runs)
    if problems:
        raise UserErrors(list({str(problem): problem for problem in problems}.values()))


def _without_effect(recipe: Recipe, grid: Grid, runs: Sequence[SweepRun]) -> list[UserError]:
    where = display_path(grid.path)
    configs = [apply(recipe.config, run.overrides) for run in runs]
    found = []
    if "num_epochs" in grid.varying and any(config.get("max_steps") for config in configs):
        what = "num_epochs has no effect while max_steps is set"
        found.append(UserError(what, where, "Add max_steps: [null] to the sweep"))
    return found


def _other_run(run: SweepRun) -> list[UserError]:
    """A folder whose run had other settings, from SET, must not be taken for this sweep's."""
    from recipes.runner.run.record import read_record

    recorded = read_record(ROOT / run.folder).get("overrides")
    if recorded is None or flag("FORCE"):
        return []
    before = dict(word.split("=", 1) for word in shlex.split(recorded) if "=" in word)
    now = {key: str(value) for key, value in run.overrides.items()}
    changed = [
        f"{key} {before.get(key, 'of the recipe')} -> {now.get(key, 'of the recipe')}"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key)
    ]
    if not changed:
        return []
    what = f"holds a run with other settings ({'; '.join(changed)})"
    todo = "Give the same SET, move the folder away, or FORCE=1 to start over"
    return [UserError(what, display_path(ROOT / run.folder), todo)]


def device_slots(parallel: str, spread: dict[str, str]) -> list[dict[str, str]]:
    """For each run at a time, the variables that give it its GPU; one empty slot by default.

    Args:
        parallel: PARALLEL as text; empty for one run at a time, on all GPUs.
        spread: GPUS, PROCESSES and STRATEGY as given, empty where not.

    Raises:
        UserError: PARALLEL is no number, asks for more GPUs than there are, or stands beside a
            variable that spreads one run.
    """
    if not parallel:
        return [{}]
    if not parallel.isdigit() or int(parallel) < 1:
        raise UserError(f"{parallel!r} is no number from 1 up", "PARALLEL", "PARALLEL=2")
    wanted, there = int(parallel), count_gpus()
    given = [name for name, value in spread.items() if value]
    if given:
        todo = f"Leave out {' and '.join(given)}, or PARALLEL"
        raise UserError("gives each run one GPU", "PARALLEL", todo)
    if wanted > 1 and wanted > there:
        here = f"{there} visible here" if there else "there is none here"
        raise UserError(
            f"{wanted} runs at a time want {wanted} GPUs, and {here}",
            "PARALLEL",
            f"PARALLEL={max(there, 1)}",
        )
    if not there:
        return [{}]
    threads = max(1, (os.cpu_count() or 1) // wanted)
    return [
        {
            "CUDA_VISIBLE_DEVICES": device,
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads)),
        }
        for device in device_names(there)[:wanted]
    ]


def run_sweep(
    recipe: Recipe,
    grid: Grid,
    runs: Sequence[SweepRun],
    slots: Sequence[dict[str, str]],
    flags: Sequence[str],
) -> int:
    """Train what isn't finished, then compare what is.

    Args:
        recipe: the recipe.
        grid: the sweep.
        runs: its runs.
        slots: see `device_slots`.
        flags: further flags of `python -m recipes train`, the same for every run.

    Returns:
        0 when every run is finished, 1 when some failed, 130 when it was interrupted.
    """
    force = flag("FORCE")
    done = [] if force else [run for run in runs if _finished(run)]
    todo = [run for run in runs if run not in done]
    print(f"Sweep {display_path(grid.path)} of {display_path(recipe.path)}: {len(runs)} runs")
    for run in done:
        print(f"finished already: {run.folder}/{_changed_since(run, recipe)}")
    by_name = {run.name: run for run in runs}
    numbers = {run.name: number for number, run in enumerate(runs, 1)}

    def announce(job: Job) -> None:
        said = _in_words(grid, by_name[job.name])
        print(f"\n[{numbers[job.name]}/{len(runs)}] {said}", flush=True)

    def ended(job: Job, code: int) -> None:
        if code and code != INTERRUPTED:
            print(f"[{numbers[job.name]}/{len(runs)}] failed; going on", file=sys.stderr)

    flags = [*flags, *(["--gpus", "1"] if "CUDA_VISIBLE_DEVICES" in slots[0] else [])]
    jobs = [Job(run.name, _command(recipe, run, flags)) for run in todo]
    outcome = run_jobs(jobs, slots, announce, ended)
    return _close(recipe, grid, runs, outcome)


def _in_words(grid: Grid, run: SweepRun) -> str:
    return ", ".join(f"{key}: {_value(run.point.values.get(key))}" for key in grid.varying)


def _command(recipe: Recipe, run: SweepRun, flags: Sequence[str]) -> list[str]:
    given = ["--set", _as_set(run.overrides)]
    return [sys.executable, "-m", "recipes", "train", display_path(recipe.path), *given, *flags]


def _as_set(overrides: Overrides) -> str:
    return shlex.join(f"{key}={_value(value)}" for key, value in overrides.items())


def _value(value: Any) -> str:
    """A value as YAML on one line, as SET reads it."""
    plain = isinstance(value, str) and value.isidentifier() and read_value(value) == value
    return value if plain else json.dumps(value)


def _finished(run: SweepRun) -> bool:
    from recipes.runner.run.record import ENDED_WELL, read_record

    return read_record(ROOT / run.folder).get("status") in ENDED_WELL


def _changed_since(run: SweepRun, recipe: Recipe) -> str:
    from recipes.runner.run.record import read_record

    same = read_record(ROOT / run.folder).get("recipe_sha256") == file_hash(recipe.path)
    return "" if same else "  (take care: the recipe has changed since; FORCE=1 trains all anew)"


def _close(recipe: Recipe, grid: Grid, runs: Sequence[SweepRun], outcome: JobsOutcome) -> int:
    finished = [run for run in runs if _finished(run)]
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
    if failed:
        print(f"\n{len(failed)} of {len(runs)} runs failed:", file=sys.stderr)
        for run in failed:
            print(f"  {run.folder}: {_reason(run, outcome)}", file=sys.stderr)
        print("The same command tries them again.", file=sys.stderr)
        return 1
    return 0


def _reason(run: SweepRun, outcome: JobsOutcome) -> str:
    from recipes.runner.run.record import FAILED, read_record

    record = read_record(ROOT / run.folder)
    reason = record.get("reason") if record.get("status") == FAILED else None
    return str(reason or f"ended with exit code {outcome.codes[run.name]}; its lines are above")


def _compare(recipe: Recipe, grid: Grid, finished: Sequence[SweepRun]) -> None:
    """The table of `make compare`, its page, and the plot of held-out loss beside it."""
    if len(finished) < 2:
        print(f"\n{len(finished)} finished: too few to compare")
        return
    from recipes.runner.sweep.plot import draw_sweep

    beside = ROOT / finished[0].folder.parent / f"{recipe.name}-{grid.name}"
    picture = draw_sweep(grid, finished, beside.with_name(f"{beside.name}.png"))
    page = beside.with_name(f"{beside.name}.html")
    # Evaluation stands above the recipes: it is started, not imported.
    folders = [str(ROOT / run.folder) for run in finished]
    shown = ["--picture", str(picture)] if picture else []
    command = [sys.executable, "-m", "eval.compare", "--runs", *folders, "--output", str(page)]
    sys.stdout.flush()
    subprocess.run([*command, *shown], cwd=ROOT, check=False)
    if picture:
        print(f"plot:    {display_path(picture)}")
