"""What the Makefile calls: train, sweep, check, plan, table, data; shape, for a new base model."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

from recipes.runner.core.errors import UserError, UserErrors, user_errors_exit
from recipes.runner.core.flags import flag
from recipes.runner.core.paths import display_path
from recipes.runner.core.recipe import Recipe, find_recipe, load_recipe, recipe_paths


def main() -> int:
    """Run one command; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m recipes", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    train = commands.add_parser("train", help="train a recipe")
    train.add_argument("recipe")
    train.add_argument("--run", default="")
    train.add_argument("--set", default="", dest="overrides")
    for name in ("gpus", "processes", "strategy", "nodes", "node-rank", "master"):
        train.add_argument(f"--{name}", default="")
    sweep = commands.add_parser("sweep", help="train a recipe over a grid of settings")
    sweep.add_argument("recipe")
    sweep.add_argument("sweep")
    sweep.add_argument("--set", default="", dest="overrides")
    for name in ("parallel", "budget", *_SPREAD):
        sweep.add_argument(f"--{name}", default="")
    check = commands.add_parser("check", help="check recipes without a GPU or the network")
    check.add_argument("recipe", nargs="*", help="names or files; all recipes without any")
    plan = commands.add_parser("plan", help="what a recipe will take")
    plan.add_argument("recipe")
    plan.add_argument("--set", default="", dest="overrides")
    for name in ("gpus", "strategy"):
        plan.add_argument(f"--{name}", default="")
    commands.add_parser("table", help="write recipes/README.md and launch/SIZING.md")
    data = commands.add_parser("data", help="make a recipe's data set")
    data.add_argument("recipe")
    shape = commands.add_parser("shape", help="keep a base model's shape, for plan and check")
    shape.add_argument("base_model")
    args = parser.parse_args()
    try:
        with user_errors_exit():
            return _COMMANDS[args.command](args)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 1


def _train(args: argparse.Namespace) -> int:
    from recipes.runner.core.overrides import apply, parse_overrides
    from recipes.runner.estimate.preflight import refuse_without_gpu
    from recipes.runner.launch.strategy import Wanted, plan_launch
    from recipes.runner.launch.train import make_run, train

    recipe = load_recipe(args.recipe)
    launch = plan_launch(
        Wanted(
            args.gpus,
            args.processes,
            args.strategy,
            args.nodes,
            args.node_rank,
            args.master,
        )
    )
    overrides = parse_overrides(args.overrides)
    run = make_run(recipe, overrides, args.run, flag("FORCE"))
    if flag("PREFLIGHT", default=True):
        refuse_without_gpu(apply(recipe.config, run.overrides))
    return train(run, launch)


def _sweep(args: argparse.Namespace) -> int:
    from recipes.runner.check.check import problems_with
    from recipes.runner.core.overrides import apply, parse_overrides
    from recipes.runner.estimate.preflight import refuse_without_gpu
    from recipes.runner.launch.strategy import Wanted, plan_launch
    from recipes.runner.sweep.folds import make_folds
    from recipes.runner.sweep.grid import read_grid
    from recipes.runner.sweep.halving import read_budget
    from recipes.runner.sweep.runs import output_beside, refuse_problems, sweep_runs
    from recipes.runner.sweep.sweep import device_slots, run_sweep

    recipe = load_recipe(args.recipe)
    budget = read_budget(args.budget)
    spread = {name.upper(): getattr(args, name) for name in _SPREAD}
    slots = device_slots(args.parallel, spread)
    plan_launch(Wanted(args.gpus, args.processes, args.strategy))
    fixed = parse_overrides(args.overrides)
    given = Recipe(recipe.name, recipe.path, apply(recipe.config, fixed))
    if flag("PREFLIGHT", default=True):
        refuse_without_gpu(given.config)
    problems = problems_with(given)
    try:
        grid = read_grid(args.sweep, recipe, fixed)
    except UserErrors as faults:  # all of them at once, the recipe's and the sweep's
        raise UserErrors([*problems, *faults.errors]) from None
    if problems:
        raise UserErrors(problems)
    folds = None
    if grid.repeats.folds > 1:
        place = output_beside(recipe) / f"{recipe.name}-{grid.name}-folds"
        folds = make_folds(given, grid.repeats.folds, place)
    runs = sweep_runs(recipe, grid, fixed, folds)
    refuse_problems(recipe, grid, runs)
    flags = [f"--{name.lower()}={value}" for name, value in spread.items() if value]
    return run_sweep(recipe, grid, runs, slots, flags, budget)


def _check(args: argparse.Namespace) -> int:
    from recipes.runner.check.check import check_recipes

    paths, missing = [], []
    for name in filter(None, args.recipe):
        try:
            paths.append(find_recipe(name))
        except UserError as error:
            missing.append(error)
    if missing:
        raise UserErrors(missing)
    return check_recipes(paths or recipe_paths())


def _plan(args: argparse.Namespace) -> int:
    from recipes.runner.core.overrides import apply, parse_overrides
    from recipes.runner.estimate.plan import plan_lines
    from recipes.runner.launch.strategy import Wanted, plan_spread

    recipe = load_recipe(args.recipe)
    gpus, strategy = plan_spread(Wanted(gpus=args.gpus, strategy=args.strategy))
    overrides = parse_overrides(args.overrides)
    config = apply(recipe.config, overrides)
    try:
        lines = plan_lines(recipe, config, gpus, strategy)
    except UserError as wrong:
        raise _with_lines(wrong, recipe.path, overrides) from None
    print("\n".join(lines))
    return 0


def _with_lines(wrong: UserError, path: Path, overridden: Collection[str]) -> UserError:
    """The same faults, those of a key of the file with its line."""
    from recipes.runner.core.yaml_file import read_yaml

    file = read_yaml(path, "")
    errors = []
    for error in wrong.errors if isinstance(wrong, UserErrors) else [wrong]:
        if (error.where,) in file.lines and error.where not in overridden:
            place = f"{display_path(path)}:{file.lines[(error.where,)]}"
            error = UserError(f"{error.where}: {error.what}", place, error.todo)
        errors.append(error)
    return UserErrors(errors)


def _table(args: argparse.Namespace) -> int:
    from recipes.runner.check.table import write_table
    from recipes.runner.estimate.sizing import write_sizing

    print(f"wrote {write_table()}\nwrote {write_sizing()}")
    return 0


def _data(args: argparse.Namespace) -> int:
    # Data preparation stands above the recipes: it is started, not imported.
    recipe = load_recipe(args.recipe)
    command = [sys.executable, "-m", "datasets_prep", "--recipe", str(recipe.path)]
    return subprocess.run(command, check=False).returncode


def _shape(args: argparse.Namespace) -> int:
    from recipes.runner.core.recipe import display_path
    from recipes.runner.models.architecture import keep

    print(f"wrote {display_path(keep(args.base_model))}")
    return 0


_SPREAD = ("gpus", "processes", "strategy")
_COMMANDS = {
    "train": _train,
    "sweep": _sweep,
    "check": _check,
    "plan": _plan,
    "table": _table,
    "data": _data,
    "shape": _shape,
}

if __name__ == "__main__":
    sys.exit(main())
