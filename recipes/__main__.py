"""What the Makefile calls: train, check, plan, table, data; and shape, for a new base model."""

from __future__ import annotations

import argparse
import os
import sys

from recipes.errors import user_errors_exit
from recipes.recipe import load_recipe, recipe_paths


def main() -> int:
    """Run one command; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m recipes", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    train = commands.add_parser("train", help="train a recipe")
    train.add_argument("recipe")
    train.add_argument("--run", default="")
    train.add_argument("--set", default="", dest="overrides")
    train.add_argument("--force", action="store_true")
    train.add_argument("--preflight", default="")
    for name in ("gpus", "processes", "strategy", "nodes", "node-rank", "master"):
        train.add_argument(f"--{name}", default="")
    check = commands.add_parser("check", help="check recipes without a GPU or the network")
    check.add_argument("recipe", nargs="?", default="")
    plan = commands.add_parser("plan", help="what a recipe will take")
    plan.add_argument("recipe")
    plan.add_argument("--set", default="", dest="overrides")
    for name in ("gpus", "strategy"):
        plan.add_argument(f"--{name}", default="")
    commands.add_parser("table", help="write recipes/README.md")
    data = commands.add_parser("data", help="make a recipe's data set")
    data.add_argument("recipe")
    shape = commands.add_parser("shape", help="keep a base model's shape, for plan and check")
    shape.add_argument("base_model")
    args = parser.parse_args()
    with user_errors_exit():
        return _COMMANDS[args.command](args)
    return 1


def _train(args: argparse.Namespace) -> int:
    from recipes.gpu import refuse_without_gpu
    from recipes.launch import make_run, train
    from recipes.overrides import apply, parse_overrides
    from recipes.strategy import Wanted, plan_launch

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
    run = make_run(recipe, overrides, args.run, args.force or bool(os.environ.get("FORCE")))
    if args.preflight != "off":
        refuse_without_gpu(apply(recipe.config, run.overrides))
    environment = {"PREFLIGHT": args.preflight} if args.preflight else {}
    return train(run, launch, environment)


def _check(args: argparse.Namespace) -> int:
    from recipes.check import check_recipes

    paths = [load_recipe(args.recipe).path] if args.recipe else recipe_paths()
    return check_recipes(paths)


def _plan(args: argparse.Namespace) -> int:
    from recipes.overrides import apply, parse_overrides
    from recipes.plan import plan_lines

    recipe = load_recipe(args.recipe)
    print("\n".join(plan_lines(recipe, apply(recipe.config, parse_overrides(args.overrides)))))
    return 0


def _table(args: argparse.Namespace) -> int:
    from recipes.table import write_table

    print(f"wrote {write_table()}")
    return 0


def _data(args: argparse.Namespace) -> int:
    from recipes.data import make_data

    return make_data(load_recipe(args.recipe))


def _shape(args: argparse.Namespace) -> int:
    from recipes.architecture import keep
    from recipes.recipe import display_path

    print(f"wrote {display_path(keep(args.base_model))}")
    return 0


_COMMANDS = {
    "train": _train,
    "check": _check,
    "plan": _plan,
    "table": _table,
    "data": _data,
    "shape": _shape,
}

if __name__ == "__main__":
    sys.exit(main())
