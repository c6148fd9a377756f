"""``python -m eval.settle SWEEP.json``: which setting of a sweep is best, or that it can't be told.

The sweep writes the file and starts this; every run's kept adapter is asked how well it predicts
each conversation that was held out from it, and settings are paired over those.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from pydantic import Field, ValidationError
from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from eval.quiet import quiet_libraries
from eval.scoring.repeats import Standing, standing
from recipes.runner.core.errors import UserError, user_errors_exit
from recipes.runner.core.files import write_json
from recipes.runner.core.paths import ROOT, display_path
from recipes.runner.core.terminal import duration
from recipes.runner.core.yaml_model import Strict
from recipes.runner.run.fingerprint import digest, folder_digest
from recipes.runner.run.finished import ADAPTER_CONFIG, ADAPTER_WEIGHTS, Run, find_run

Scores = dict[str, tuple[float, int]]
CACHE = "held_out.json"


class SweptRun(Strict):
    """One run of a sweep: its setting, which repeat it is, and its folder."""

    setting: str
    repeat: str
    folder: str


class Swept(Strict):
    """What a sweep writes about its runs.

    Attributes:
        folds: 1 where all runs held out the same rows.
        left: settings that ran to the end.
        dropped: the others, and how many runs each had.
    """

    sweep: str
    folds: int
    runs: tuple[SweptRun, ...]
    left: tuple[str, ...]
    dropped: dict[str, int] = Field(default_factory=dict)


def read_swept(path: Path) -> Swept:
    """Read the file of a sweep.

    Raises:
        UserError: it is missing, or no such file.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        content.pop("standing", None)
        return Swept.model_validate(content)
    except (OSError, ValueError, TypeError, AttributeError, ValidationError) as error:
        what = f"is no record of a sweep: {str(error).splitlines()[0]}"
        raise UserError(what, display_path(path), "make sweep writes one") from None


def measure(runs: Sequence[Run], console: Console) -> list[Scores]:
    """Nats and tokens by held-out conversation of some runs, kept in each run's folder.

    The base is loaded once for all runs that hold it alike.

    Raises:
        UserError: a run has no adapter, or its held-out rows are gone.
    """
    from eval.generation.arms import LocalArm, attach_adapter
    from eval.generation.base_model import load_base
    from eval.generation.heldout import read_held_out, score_held_out
    from eval.generation.version import generation_version

    found: list[Scores] = []
    bases: dict[str, Any] = {}
    for number, run in enumerate(runs, 1):
        run.check_adapter()
        file = _held_out_of(run)
        adapter = folder_digest(run.path, (ADAPTER_WEIGHTS, ADAPTER_CONFIG))
        key = digest([adapter, file.read_text(encoding="utf-8"), generation_version()])
        kept = _kept(run.path / CACHE, key)
        if kept is None:
            with console.status(f"held-out conversations of {run.name} ({number}/{len(runs)})"):
                held = digest([run.config.get(name) for name in _OF_THE_BASE])
                if held not in bases:
                    bases.clear()  # one at a time in memory
                    bases[held] = load_base(run.config)
                base = bases[held]
                rows = read_held_out(file, run.config, base.tokenizer)
                model = attach_adapter(run, base)
                arm = LocalArm("tuned", base, model, digest([base.digest, adapter]), [])
                scores = score_held_out(arm, rows, run.eval_dir / "cache")
                model.unload()
                # By what is said: rows may have no ids, and the same number stands in every fold.
                kept = {
                    digest([row.ids, row.labels])[:16]: score
                    for row, score in zip(rows, scores, strict=True)
                }
            write_json(run.path / CACHE, {"key": key, "scores": kept})
        found.append(kept)
    return found


_OF_THE_BASE = ("base_model", "load_in_4bit", "load_in_8bit", "bnb_config_kwargs", "bf16", "fp16",
                "special_tokens", "chat_template", "chat_template_jinja")  # fmt: skip


def _held_out_of(run: Run) -> Path:
    entries = run.config.get("test_datasets") or []
    path = Path(str(entries[0].get("path"))) if entries else Path()
    path = path if path.is_absolute() else ROOT / path
    if not path.is_file():
        what = "its held-out conversations are no file here"
        raise UserError(what, display_path(run.path), "Give the recipe test_datasets, or folds")
    return path


def _kept(path: Path, key: str) -> Scores | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["key"] != key:
            return None
        return {
            row: (float(nats), int(tokens)) for row, (nats, tokens) in content["scores"].items()
        }
    except (OSError, ValueError, KeyError, TypeError):
        return None


def settle(swept: Swept, runs: Sequence[Run], scores: Sequence[Scores]) -> dict[str, Any]:
    """The standing of a sweep's settings.

    Returns:
        ``settings`` (name, whether it was dropped, loss, runs, spread over them, seconds),
        ``said`` (the end, in words), ``best`` (None where it can't be told), ``lead`` (the best's
        over the next).
    """
    by_setting: dict[str, dict[str, dict[str, float]]] = {}
    seconds: dict[str, list[float]] = {}
    for entry, run, own in zip(swept.runs, runs, scores, strict=True):
        by_setting.setdefault(entry.setting, {})[entry.repeat] = {
            row: nats / tokens for row, (nats, tokens) in own.items()
        }
        if isinstance(took := run.record.get("seconds"), int | float):
            seconds.setdefault(entry.setting, []).append(float(took))
    where = standing(by_setting, swept.folds, swept.left)
    spread = {
        name: [fmean(rows.values()) for rows in repeats.values()]
        for name, repeats in by_setting.items()
    }
    took = {name: fmean(values) for name, values in seconds.items()}
    return {
        "settings": [
            {
                "name": name,
                "dropped": name in swept.dropped,
                "held_out_loss": loss,
                "runs": len(spread[name]),
                "spread": stdev(spread[name]) if len(spread[name]) > 1 else None,
                "seconds": took.get(name),
            }
            for name, loss in where.losses.items()
        ],
        "best": where.best if where.decided else None,
        "lead": asdict(where.lead) if where.lead else None,
        "said": [*_said(where, took), *_dropped_said(swept)],
    }


def _said(where: Standing, took: dict[str, float]) -> list[str]:
    if where.next is None:
        return [f"{where.best} alone is left: nothing to tell it apart from"]
    if where.lead is None or where.lead.repeats < 2:
        return [
            f"these data can't tell them apart: {where.best} is ahead of {where.next}, by one run"
            " of each. How much of that is chance is not known: more seeds or folds would show"
        ]
    by, interval = -where.lead.difference, where.lead.interval
    of = (
        f"{by:.3f} nats a token (95% {-interval.high:+.3f} to {-interval.low:+.3f}; "
        f"{where.lead.conversations} held-out conversations, {where.lead.repeats} runs each)"
    )
    if where.decided:
        return [f"best: {where.best}. It beats the next, {where.next}, by {of}"]
    said = [
        f"these data can't tell them apart: {where.best} is ahead of {where.next} by {of}",
    ]
    close = [where.best, *where.as_good]
    known = [name for name in close if name in took]
    if len(known) > 1:
        cheapest = min(known, key=took.__getitem__)
        said.append(f"cheapest of these: {cheapest} ({duration(took[cheapest])} a run)")
    return said


def _dropped_said(swept: Swept) -> list[str]:
    if not swept.dropped:
        return []
    named = ", ".join(
        f"{name} (after {runs} run{'s' * (runs != 1)})" for name, runs in swept.dropped.items()
    )
    return [f"dropped on the way, to save time: {named}"]


def print_standing(found: dict[str, Any], console: Console) -> None:
    """The table of settings, and the end in words."""
    table = Table(box=SIMPLE, title="settings, best first", title_justify="left")
    for heading in ("setting", "held-out loss", "runs", "spread over runs", "time a run"):
        table.add_column(heading, overflow="fold")
    for row in found["settings"]:
        table.add_row(
            escape(row["name"]) + (" (dropped)" if row["dropped"] else ""),
            f"{row['held_out_loss']:.3f}",
            str(row["runs"]),
            "—" if row["spread"] is None else f"{row['spread']:.3f}",
            "—" if row["seconds"] is None else duration(row["seconds"]),
        )
    console.print(table)
    for line in found["said"]:
        console.print(escape(line), highlight=False, soft_wrap=True)


def main(argv: list[str] | None = None) -> int:
    """Settle one sweep; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m eval.settle", description=__doc__)
    parser.add_argument("sweep", type=Path, help="the JSON file that the sweep wrote")
    args = parser.parse_args(argv)
    quiet_libraries()
    console = Console()
    with user_errors_exit():
        swept = read_swept(args.sweep)
        runs = [find_run(entry.folder, None) for entry in swept.runs]
        if not runs:
            raise UserError("no run is finished", display_path(args.sweep))
        found = settle(swept, runs, measure(runs, console))
        write_json(args.sweep, {**swept.model_dump(), "standing": found})
        print_standing(found, console)
    return 0


if __name__ == "__main__":
    sys.exit(main())
