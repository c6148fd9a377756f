"""What `make train` costs before training begins, beside plain accelerate and Axolotl.

Both start the same recipe in the same environment, by turns, and are stopped when the trainer says
that it begins. What comes next, the evaluation before the first step and the step itself, is the
same work on both sides and would only hide the difference.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from recipes.runner.core.errors import UserError, user_errors_exit
from recipes.runner.core.processes import stop_group
from recipes.runner.core.recipe import ROOT, display_path, load_recipe

_BEGINS = "Training for "
_PATIENCE = 600.0
_FOLDER = "runs/bench-launch"


def seconds_to_training(command: Sequence[str], environment: Mapping[str, str]) -> float:
    """Wall-clock seconds from starting a command until the trainer begins; the command is stopped.

    Raises:
        UserError: it ended without training.
    """
    began = time.monotonic()
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=dict(environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    assert process.stdout is not None
    last = ""
    try:
        for line in process.stdout:
            if _BEGINS in line:
                return time.monotonic() - began
            last = line.strip() or last
            if time.monotonic() - began > _PATIENCE:
                break
    finally:
        # Time for `make train` to end the ranks that it started in another session.
        stop_group(process, patience=30)
        shutil.rmtree(ROOT / _FOLDER, ignore_errors=True)
    raise UserError(f"did not begin to train; its last line: {last}", " ".join(command[:3]))


def commands(recipe: Path) -> dict[str, list[str]]:
    """The two commands, by name: the same recipe, into the same folder."""
    file = display_path(recipe)
    return {
        "plain": [
            "accelerate", "launch", "-m", "axolotl.cli.train", file, f"--output-dir={_FOLDER}"
        ],
        "make train": ["make", "train", f"RECIPE={file}", f"RUN={Path(_FOLDER).name}"],
    }  # fmt: skip


def main() -> int:
    """Print every time, the medians and their ratio; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m recipes.runner.launch.overhead")
    parser.add_argument("--recipe", default="smollm2-135m-qlora")
    parser.add_argument("--repeat", type=int, default=3)
    args = parser.parse_args()
    with user_errors_exit():
        pair = commands(load_recipe(args.recipe or "smollm2-135m-qlora").path)
        times: dict[str, list[float]] = {name: [] for name in pair}
        # The first round, which fills the disk's cache, doesn't count.
        for round_ in range(args.repeat + 1):
            for name, command in pair.items():
                seconds = seconds_to_training(command, os.environ)
                if round_:
                    times[name].append(seconds)
                print(f"{name:10} {seconds:6.1f} s{'' if round_ else '  (warm-up)'}", flush=True)
        plain, ours = (statistics.median(times[name]) for name in pair)
        ratio = ours / plain
        print(f"median     {plain:6.1f} s plain, {ours:.1f} s with make train: ratio {ratio:.3f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
