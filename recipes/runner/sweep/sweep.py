"""`make sweep`: one recipe over a grid of settings, a run folder for each, then a comparison."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Sequence

from recipes.runner.core.errors import UserError
from recipes.runner.core.flags import flag
from recipes.runner.core.hashes import file_hash
from recipes.runner.core.recipe import ROOT, Recipe, display_path
from recipes.runner.core.terminal import duration
from recipes.runner.estimate.gpu import count_gpus, device_names
from recipes.runner.launch.jobs import Job, JobsOutcome, run_jobs
from recipes.runner.run.record import read_record
from recipes.runner.sweep.close import INTERRUPTED, close
from recipes.runner.sweep.grid import Grid
from recipes.runner.sweep.halving import race
from recipes.runner.sweep.plot import dot
from recipes.runner.sweep.runs import SweepRun, as_set, is_finished


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
    budget: float | None = None,
) -> int:
    """Train what isn't finished, then compare what is.

    Args:
        recipe: the recipe.
        grid: the sweep.
        runs: its runs.
        slots: see `device_slots`.
        flags: further flags of `python -m recipes train`, the same for every run.
        budget: seconds for all of it; None for as long as it takes.

    Returns:
        0 when every run is finished (or the budget used), 1 when some failed, 130 when it was
        interrupted.
    """
    print(
        f"Sweep {display_path(grid.path)} of {display_path(recipe.path)}: {_how_many(grid, runs)}"
    )
    force = flag("FORCE")
    if not force:
        for run in (run for run in runs if is_finished(run)):
            print(f"finished already: {run.folder}/{_changed_since(run, recipe)}")
    flags = [*flags, *(["--gpus", "1"] if "CUDA_VISIBLE_DEVICES" in slots[0] else [])]
    trainer = _Trainer(recipe, runs, slots, flags, force, budget)
    if budget is None:
        outcome = trainer.train(runs)
        return close(recipe, grid, runs, outcome)
    return _race(recipe, grid, runs, trainer, budget)


def _how_many(grid: Grid, runs: Sequence[SweepRun]) -> str:
    if grid.repeats.count == 1:
        return f"{len(runs)} runs"
    repeats = grid.repeats
    seeds = f"{repeats.seeds} seeds" if repeats.seeds > 1 else ""
    folds = f"{repeats.folds} folds" if repeats.folds > 1 else ""
    times = " x ".join(part for part in (f"{len(grid.points)} settings", seeds, folds) if part)
    return f"{times}: {len(runs)} runs"


class _Trainer:
    """Trains runs of a sweep that aren't finished, and says which."""

    def __init__(
        self,
        recipe: Recipe,
        runs: Sequence[SweepRun],
        slots: Sequence[dict[str, str]],
        flags: Sequence[str],
        force: bool,
        budget: float | None = None,
    ) -> None:
        self._recipe, self._slots, self._flags = recipe, slots, flags
        self._force, self._budget = force, budget
        self._began: float | None = None
        self._by_name = {run.name: run for run in runs}
        self._numbers = {run.name: number for number, run in enumerate(runs, 1)}

    def train(self, runs: Sequence[SweepRun], seconds: float | None = None) -> JobsOutcome:
        """Train some of the runs, within so many seconds."""
        todo = [run for run in runs if self._force or not is_finished(run)]
        jobs = [Job(run.name, _command(self._recipe, run, self._flags)) for run in todo]
        return run_jobs(jobs, self._slots, self._announce, self._ended, seconds)

    def _announce(self, job: Job) -> None:
        run = self._by_name[job.name]
        which = f" ({run.repeat.name})" if run.repeat.name else ""
        number = f"[{self._numbers[job.name]}/{len(self._numbers)}]"
        print(f"\n{number} {run.setting}{which}", flush=True)
        self._began = self._began or time.monotonic()

    def _ended(self, job: Job, code: int) -> None:
        if code and code != INTERRUPTED:
            number = f"[{self._numbers[job.name]}/{len(self._numbers)}]"
            print(f"{number} failed; going on", file=sys.stderr)
        if not code and self._budget is not None and self._began is not None:
            takes = time.monotonic() - self._began
            runs, settings = (
                len(self._numbers),
                len({run.setting for run in self._by_name.values()}),
            )
            print(_holds(takes, self._budget, len(self._slots), runs, settings))
            self._budget = None  # said once


def _holds(takes: float, budget: float, at_a_time: int, runs: int, settings: int) -> str:
    """How many runs a budget holds, by what the first took."""
    most = max(1, int(budget // max(takes, 1))) * at_a_time
    held = f"all {runs} runs" if most >= runs else f"about {most} of {runs} runs"
    said = f"This run took {duration(takes)}. At that, {duration(budget)} hold {held}"
    if most < settings:
        least = math.ceil(2 * settings / at_a_time * takes / 60)
        said += (
            f", and there are {settings} settings: some will have none. Two runs of each take"
            f" BUDGET={least}m"
        )
    return said


def _race(
    recipe: Recipe, grid: Grid, runs: Sequence[SweepRun], trainer: _Trainer, budget: float
) -> int:
    """Run the settings against each other, by the rule of `halving`."""
    rounds: list[dict[str, SweepRun]] = []
    for start in range(0, len(runs), len(grid.points)):
        rounds.append({run.setting: run for run in runs[start : start + len(grid.points)]})
    codes: dict[str, int] = {}
    interrupted = False

    def pull(settings: Sequence[str], repeat: int, seconds: float) -> dict[str, float | None]:
        nonlocal interrupted
        asked = [rounds[repeat][name] for name in settings]
        outcome = trainer.train(asked, seconds)
        codes.update(outcome.codes)
        interrupted = interrupted or outcome.interrupted
        ended = [run for run in asked if is_finished(run) or (codes.get(run.name) and not (
            outcome.late or outcome.interrupted))]  # fmt: skip
        return {run.setting: _loss(run) for run in ended}

    def say(text: str) -> None:
        print(f"\n{text}", flush=True)

    settings = list(rounds[0])
    found = race(settings, grid.repeats.count, budget, pull, time.monotonic, say)
    if found.out_of_time and not interrupted:
        say(f"the budget is used: {sum(is_finished(run) for run in runs)} of {len(runs)} runs")
    ran = {run.setting for run in runs if is_finished(run)}
    if unseen := [name for name in found.left if name not in ran and not interrupted]:
        say(f"without a run, so that nothing is known of them: {'; '.join(unseen)}")
    failed = {run.name: codes[run.name] for run in runs if run.setting in found.failed
              and codes.get(run.name)}  # fmt: skip
    outcome = JobsOutcome(failed, interrupted)
    return close(recipe, grid, runs, outcome, found)


def _loss(run: SweepRun) -> float | None:
    found = dot(run.point.values, read_record(ROOT / run.folder)) if is_finished(run) else None
    return found.loss if found else None


def _command(recipe: Recipe, run: SweepRun, flags: Sequence[str]) -> list[str]:
    given = ["--set", as_set(run.overrides)]
    return [sys.executable, "-m", "recipes", "train", display_path(recipe.path), *given, *flags]


def _changed_since(run: SweepRun, recipe: Recipe) -> str:
    same = read_record(ROOT / run.folder).get("recipe_sha256") == file_hash(recipe.path)
    return "" if same else "  (take care: the recipe has changed since; FORCE=1 trains all anew)"
