"""Start a training run through `accelerate launch`, show what matters of it, and log the rest."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from recipes.runner.core import terminal
from recipes.runner.core.errors import UserError
from recipes.runner.core.nearest import nearest
from recipes.runner.core.overrides import Overrides, apply, as_flags
from recipes.runner.core.processes import end_with_parent, stop_group
from recipes.runner.core.recipe import ROOT, Recipe, display_path
from recipes.runner.estimate.sharding import refuse_uninstalled, strategy_settings
from recipes.runner.launch.failed_rank import find_failed_rank, how_it_ended, last_words
from recipes.runner.launch.jobs import time_is_up
from recipes.runner.launch.run_log import RunLog
from recipes.runner.launch.strategy import Launch

_LAST_LINES = 12  # shown of the log when a run fails
_KEPT_LINES = 500  # among them the launcher's report on which rank failed


@dataclass(frozen=True)
class NewRun:
    """One training run as asked for on the command line.

    Attributes:
        recipe: the recipe.
        overrides: of its keys, from SET.
        folder: where the run is written.
        force: start over a finished run.
    """

    recipe: Recipe
    overrides: Overrides
    folder: Path
    force: bool = False


def make_run(recipe: Recipe, overrides: Overrides, name: str, force: bool) -> NewRun:
    """Settle the run folder: `runs/<RUN>`, an overridden output_dir, or the recipe's own.

    Raises:
        UserError: the run's name is no plain name, or both RUN and output_dir are given.
    """
    if name and ("/" in name or name.startswith(".")):
        raise UserError(f"{name!r} is no plain name", "RUN", "Use letters, digits, - and _")
    if name and "output_dir" in overrides:
        raise UserError("both RUN and SET=output_dir name the folder", "RUN", "Give one")
    overrides = dict(overrides)
    if name:
        overrides["output_dir"] = f"runs/{name}"
    config = apply(recipe.config, overrides)
    folder = Path(str(config.get("output_dir") or f"runs/{recipe.name}"))
    return NewRun(recipe, overrides, folder, force)


def train(run: NewRun, launch: Launch) -> int:
    """Run the training to its end.

    Args:
        run: what to train.
        launch: how it is spread over processes and machines.

    Returns:
        The exit code: 0 when the run ended as it should.

    Raises:
        UserError: the run folder can't be written, or holds a finished run, or the recipe can't
            be spread so.
    """
    from recipes.runner.run.folder import refuse_finished

    config = apply(run.recipe.config, run.overrides)
    settings = strategy_settings(launch.strategy, config, run.overrides)
    refuse_uninstalled(launch.strategy)
    refuse_finished(ROOT / run.folder, run.force)
    _check_plugin_modules(run.recipe)
    config_file = display_path(run.recipe.path)
    command = [
        *_accelerate_launch(), "--quiet", *launch.flags,
        "-m", "axolotl.cli.train", config_file, *as_flags({**run.overrides, **settings}),
    ]  # fmt: skip
    environment = {
        **os.environ,
        **_QUIET,
        **launch.environment,
        terminal.PIPE_VARIABLE: "1",
    }
    # accelerate gives each process one thread where nothing is said, and half a machine sleeps.
    threads = max(1, (os.cpu_count() or 1) // launch.processes)
    environment.setdefault("OMP_NUM_THREADS", str(threads))
    environment["FALCON_RECIPES_SET"] = shlex.join(f"{k}={v}" for k, v in run.overrides.items())
    environment["FALCON_RECIPES_LAUNCH"] = shlex.join(launch.flags)
    environment["FORCE"] = str(int(run.force))
    # A cluster's way to say Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    screen = terminal.Terminal()
    screen.show({"kind": "status", "text": f"Recipe {config_file} -> {run.folder}/"})
    with RunLog(ROOT / run.folder) as log:
        try:
            code, tail = _follow(command, environment, screen, log)
        finally:
            screen.close()
    if code != 0:
        _explain(code, tail, screen, log.path, run)
        _close_record(code, tail, ROOT / run.folder)
    return code


def _close_record(code: int, tail: deque[str], folder: Path) -> None:
    """A rank that was ended by a signal could not write how."""
    from recipes.runner.run.folder import close_record
    from recipes.runner.run.record import FAILED, INTERRUPTED

    if code == 130:
        reason = "stopped before its end; the same command resumes it"
        close_record(folder, INTERRUPTED, reason, patience=10)
    else:
        close_record(folder, FAILED, _what_ended(code, tail))


def _what_ended(code: int, tail: deque[str]) -> str:
    return str(find_failed_rank(tail) or f"the training process {how_it_ended(code)}")


_QUIET = {
    "AXOLOTL_DO_NOT_TRACK": "1",
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "PYTHONUNBUFFERED": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


def _accelerate_launch() -> list[str]:
    """`accelerate launch` of the environment that this Python belongs to.

    By its own module: the command line of all of accelerate's commands imports transformers first,
    which takes seconds.
    """
    return [sys.executable, "-m", "accelerate.commands.launch"]


def _check_plugin_modules(recipe: Recipe) -> None:
    """Axolotl leaves out a plugin that it can't import, and goes on; so this looks first."""
    import importlib.util

    for name in recipe.config.get("plugins") or []:
        module = str(name).rpartition(".")[0]
        try:
            there = importlib.util.find_spec(module) if module else None
        except (ImportError, ValueError):
            there = None
        if there is None and not str(name).startswith("axolotl."):
            known = [str(other) for other in recipe.config["plugins"]]
            near = nearest(str(name), [other for other in known if other != name])
            raise UserError(
                f"there is no plugin {name}",
                f"{display_path(recipe.path)}: plugins",
                f"Did you mean {near}?" if near else "make check names the nearest",
            )


def _follow(
    command: list[str], environment: dict[str, str], screen: terminal.Terminal, log: RunLog
) -> tuple[int, deque[str]]:
    """Read the child's output to its end: events to the screen, everything else to the log."""
    tail: deque[str] = deque(maxlen=_KEPT_LINES)
    log.write(f"$ {shlex.join(command)}\n")
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
        preexec_fn=end_with_parent,
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            event = terminal.parse(line)
            if event is not None:
                screen.show(event)
            else:
                log.write(line)
                tail.append(line.rstrip())
        return process.wait(), tail
    except KeyboardInterrupt:
        screen.close()
        stop_group(process)
        return 130, tail
    finally:
        if process.poll() is None:
            stop_group(process)


def _explain(
    code: int, tail: deque[str], screen: terminal.Terminal, log: Path, run: NewRun
) -> None:
    again = "the same command goes on from the last checkpoint" if screen.steps_seen else ""
    rank = find_failed_rank(tail)
    if code == 130 and time_is_up():
        # Nobody's error: the sweep that set the limit goes on to say so.
        text = "stopped: its time is up" + (f"; {again}" if again else "")
        screen.show({"kind": "status", "text": text})
        lines = []
    elif code == 130:
        lines = ["interrupted" + (f"; {again}" if again else "")]
    elif screen.errors and not (rank and rank.by_signal):
        lines = []
    else:
        what = _what_ended(code, tail)
        lines = [
            what + (f" after step {screen.steps_seen}; {again}" if again else ""),
            *(f"  | {line}" for line in last_words(tail)[-_LAST_LINES:]),
        ]
    if lines:
        screen.show({"kind": "error", "text": "\n".join(lines)})
    print(f"log: {display_path(log)}", file=sys.stderr)
