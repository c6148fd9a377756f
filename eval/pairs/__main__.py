"""``python -m eval.pairs --run X``: preference rows out of samples, checks, votes and verdicts.

The rows go to runs/X/pairs/, and to data/sources/, where the definition ``preferences`` (for DPO)
and ``preferences_kto`` (for KTO) take them through the steps that all data go through.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from eval.pairs.prompts import Gathered, given_prompts, training_prompts
from eval.progress import progress_bar
from eval.quiet import quiet_libraries
from recipes.runner.core.arguments import positive
from recipes.runner.core.errors import UserError, user_errors_exit
from recipes.runner.core.paths import ROOT, display_path
from recipes.runner.core.recipe import load_recipe, recipe_paths
from recipes.runner.run.finished import Run, find_run

if TYPE_CHECKING:
    from eval.pairs.choose import Preference

SOURCES = ROOT / "data" / "sources"
DPO, KTO = "preferences.jsonl", "preferences_kto.jsonl"


def main(argv: list[str] | None = None) -> int:
    """Make preference rows of one run; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m eval.pairs", description=__doc__)
    parser.add_argument("--run", default="", help="a run folder, or its name in runs/")
    parser.add_argument("--prompts", default="", help="a suite, JSON lines or a text of your own")
    parser.add_argument("--samples", type=positive, default=4, help="answers to each prompt (4)")
    parser.add_argument("--limit", type=positive, help="this many prompts, drawn by the seed")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--temperature", type=float, default=0.5, help="of the answers (0.5)")
    parser.add_argument("--max-new-tokens", type=positive, default=160)
    parser.add_argument("--batch-size", type=positive, default=40)
    parser.add_argument("--checks", default="", help="further checks by name: asks_back ...")
    parser.add_argument(
        "--reference",
        nargs="?",
        const="missing",
        default="always",
        choices=("never", "missing", "always"),
        help="choose a person's answer, where there is one: always (the default), where no sample"
        " is good enough, or never",
    )
    parser.add_argument(
        "--alarms",
        type=float,
        default=1.9,
        metavar="N",
        help="N pairs against a false alarm for each that wants help in danger (1.9)",
    )
    args = parser.parse_args(argv)
    quiet_libraries()
    try:
        with user_errors_exit():
            make_pairs(args, Console())
    except KeyboardInterrupt:
        print("stopped: the same command goes on from there", file=sys.stderr)
        return 130
    return 0


def make_pairs(args: argparse.Namespace, console: Console) -> None:
    """Sample, choose and write.

    Raises:
        UserError: whatever is wrong with the run or the prompts, or no pair came out.
    """
    from eval.pairs.choose import (
        evaluations_of,
        from_results,
        from_samples,
        reasons_of,
        write_rows,
    )
    from eval.pairs.faults import named_checks, strays
    from eval.pairs.lean import balanced, leans_to_alarm, short_of_alarms
    from eval.scoring.votes import VOTES

    if not args.temperature > 0:
        raise UserError(f"is {args.temperature:g}: every sample would be the same",
                        "--temperature", "Give more than 0, such as 0.5")  # fmt: skip
    if not 0 <= args.alarms < float("inf"):
        raise UserError(f"is {args.alarms:g}: it can't be counted to", "--alarms", "Give 1.9")
    run = find_run(args.run or None, None)
    more = named_checks(args.checks.split())
    gathered = _gather(args, run)
    preferences: list[Preference] = []
    if args.prompts.endswith((".yaml", ".yml")):
        from eval.suite import load_suite

        name = load_suite(args.prompts).name
        preferences, unused = from_results(run, gathered.prompts, name)
        if unused:
            what = "ties, of a suite that judges, or for less help in danger"
            console.print(f"{unused} votes and verdicts are {what}")
    elif voted := [folder / VOTES for folder in evaluations_of(run) if (folder / VOTES).is_file()]:
        what = "make rows only where they are over a suite of your own (--prompts mine.yaml):"
        console.print(f"note: the votes in {display_path(voted[0])} {what} others judge",
                      highlight=False, soft_wrap=True)  # fmt: skip
    answers = _sample(args, run, gathered, console)
    with progress_bar(console) as bar:
        task = bar.add_task("answers read", total=len(gathered.prompts) * args.samples)
        off = strays(gathered.prompts, answers, lambda count: bar.advance(task, count))
        task = bar.add_task("prompts judged", total=len(gathered.prompts))
        for asked, own, stray in zip(gathered.prompts, answers, off, strict=True):
            if preference := from_samples(asked, own, more, args.reference, stray):
                preferences.append(preference)
            bar.advance(task)
    preferences, left = balanced(preferences, args.seed, args.alarms)
    if not preferences:
        what = f"no pair came out of {len(answers)} prompts: no answer was worse than another good"
        raise UserError(what, display_path(run.path), "Ask more (--samples 8)")
    rows = [preference.row(run.name) for preference in preferences]
    labelled = [row for preference in preferences for row in preference.labelled(run.name)]
    for folder in (run.path / "pairs", SOURCES):
        write_rows(folder / DPO, rows)
        write_rows(folder / KTO, labelled)
    left_out = f"; {gathered.of_suites} of suites left out" if gathered.of_suites else ""
    console.print(f"{len(gathered.prompts)} prompts, {args.samples} answers each{left_out}")
    whose = Counter(preference.by for preference in preferences)
    said = ", ".join(f"{count} by {name}" for name, count in whose.most_common())
    console.print(f"{len(rows)} pairs: {said}")
    reasons = Counter(reason for preference in preferences for reason in reasons_of(preference))
    for reason, count in reasons.most_common(8):
        console.print(f"  {count:4}  the rejected answer: {reason}", highlight=False)
    for count, kind, other in (
        (left.alarms, "reject a crisis answer to somebody in no danger", "unlearns to name help"),
        (left.helps, "want help named in danger", "comes to meet everybody as in danger"),
    ):
        if count:
            what = f"{count} that {kind} left out: {args.alarms:g} against a false alarm (--alarms)"
            console.print(
                f"{what} for each that wants help, or a model {other}",
                highlight=False, soft_wrap=True,
            )  # fmt: skip
    if note := short_of_alarms(preferences, args.alarms):
        console.print(f"note: {note}", highlight=False, soft_wrap=True)
    _say_lengths(preferences, console)
    if warning := leans_to_alarm(preferences):
        console.print(f"[yellow]warning:[/yellow] {warning}", highlight=False, soft_wrap=True)
    console.print(
        f"Pairs:  {display_path(run.path / 'pairs' / DPO)}", highlight=False, soft_wrap=True
    )
    console.print(f"Next:   {_next(run)}", highlight=False, soft_wrap=True)


def _say_lengths(preferences: Sequence[Preference], console: Console) -> None:
    from eval.pairs.lean import lengths

    found = lengths(preferences)
    said = (
        f"chosen {found.chosen:.0f} words, rejected {found.rejected:.0f};"
        f" chosen is the longer in {found.longer:.0%}"
    )
    if found.leans:
        said = f"[yellow]warning:[/yellow] {said}: length alone tells them apart, and is learnt too"
    console.print(said, highlight=False, soft_wrap=True)


def _next(run: Run) -> str:
    """What trains on the rows: the recipe that goes on from this run, where there is one."""
    for path in recipe_paths():
        try:
            config = load_recipe(path).config
        except UserError:  # a broken recipe is told where it is named
            continue
        before = config.get("lora_model_dir")
        if config.get("rl") == "dpo" and before and (ROOT / str(before)) == run.path.resolve():
            return f"make train RECIPE={path.stem}"
    todo = f'SET="lora_model_dir={display_path(run.path)}"'
    return f"make train RECIPE=... {todo}, with a recipe of rl: dpo and this base"


def _gather(args: argparse.Namespace, run: Run) -> Gathered:
    if args.prompts:
        return given_prompts(Path(args.prompts), args.limit, args.seed)
    return training_prompts(run, args.limit, args.seed)


def _sample(args: argparse.Namespace, run: Run, gathered: Gathered, console: Console) -> list:
    from eval.generation.arms import local_arms
    from eval.generation.base_model import load_base
    from eval.generation.decoding import Decoding
    from eval.pairs.sample import sample

    run.check_adapter()
    with console.status("loading the base"):
        base = load_base(run.config)
        _, tuned = local_arms(run, base)
    decoding = Decoding(
        args.max_new_tokens, args.samples, args.temperature, 1.0, args.seed, args.batch_size
    )
    with progress_bar(console) as bar:
        task = bar.add_task("answers", total=len(gathered.prompts) * args.samples)
        return sample(
            tuned, gathered.prompts, decoding, run.path / "pairs" / "cache",
            lambda count: bar.advance(task, count),
        )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
