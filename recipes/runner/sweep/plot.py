"""Held-out loss against each swept value, as one picture."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from recipes.runner.core.recipe import ROOT
from recipes.runner.run.record import read_record
from recipes.runner.sweep.grid import Grid, as_text

SEED = "seed"
_COLOURS = ("#2456a6", "#c44e52", "#3b8a5a", "#8a5a00", "#6b4fa0", "#4a5668")
_MOST_LINES = len(_COLOURS)
_WIDEST_LABEL = 26


@dataclass(frozen=True)
class Dot:
    """A finished run on the plot.

    Attributes:
        values: the swept keys.
        loss: its lowest held-out loss, nats a token: that of the checkpoint that is kept.
        before: held-out loss before training, where it was measured.
        repeat: which of its setting's runs it is, where there are several.
    """

    values: dict[str, Any]
    loss: float
    before: float | None
    repeat: str = ""


def dot(values: dict[str, Any], record: dict[str, Any], repeat: str = "") -> Dot | None:
    """A run's place on the plot, from its run.json; None when it measured no held-out loss."""
    points = record.get("evaluations") or []
    losses = [p["held_out_loss"] for p in points if isinstance(p.get("held_out_loss"), float)]
    if not losses:
        return None
    before = next((p["held_out_loss"] for p in points if p.get("step") == 0), None)
    return Dot(values, min(losses), before, repeat)


def without_repeats(dots: Sequence[Dot]) -> list[Dot]:
    """The same dots with what their seed and fold have in common taken out of their losses.

    One fold is harder than another for every setting; what is left is a setting's own spread. The
    level of each repeat is the least-squares one of losses that are a setting's plus a repeat's,
    so that settings which were dropped early are moved by no more than the repeats they had.
    """
    import numpy as np

    settings = sorted({as_text(one.values) for one in dots})
    repeats = sorted({one.repeat for one in dots})
    if len(repeats) < 2:
        return list(dots)
    matrix = np.zeros((len(dots), len(settings) + len(repeats)))
    for row, one in enumerate(dots):
        matrix[row, settings.index(as_text(one.values))] = 1
        matrix[row, len(settings) + repeats.index(one.repeat)] = 1
    found, *_ = np.linalg.lstsq(matrix, np.array([one.loss for one in dots]), rcond=None)
    levels = found[len(settings) :]
    levels = levels - levels.mean()
    return [replace(one, loss=float(one.loss - levels[repeats.index(one.repeat)])) for one in dots]


def draw_sweep(grid: Grid, runs: Sequence[Any], path: Path) -> Path | None:
    """Write the picture, by rename: a panel for each swept key.

    Runs that differ in that key alone are joined by a line; with `seed` swept, runs that differ in
    the seed alone are dots of their own, and the line goes through their mean. Of `seeds` and
    `folds` every run is a dot too, with a bar of one standard deviation each way.

    Args:
        grid: what was swept.
        runs: `SweepRun`s that are finished.
        path: the PNG file.

    Returns:
        The file, or None when there is nothing to draw.
    """
    found = (dot(run.point.values, read_record(ROOT / run.folder), run.repeat.name) for run in runs)
    dots = without_repeats([one for one in found if one is not None])
    keys = [key for key in grid.varying if key != SEED] or list(grid.varying)
    if not dots or not keys:
        return None
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(
        1, len(keys), figsize=(1.5 + 4.5 * len(keys), 4.4), sharey=True, squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for axis, key in zip(axes[0], keys, strict=True):
        _draw(axis, grid, dots, key)
    axes[0][0].set_ylabel("held-out loss (nats a token), lower is better")
    figure.suptitle(_title(grid, dots), fontsize=10)
    partial = path.with_suffix(".partial.png")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(partial, dpi=120)
    pyplot.close(figure)
    partial.replace(path)
    return path


def _draw(axis: Any, grid: Grid, dots: Sequence[Dot], key: str) -> None:
    values: dict[str, Any] = {as_text(one.values.get(key)): one.values.get(key) for one in dots}
    is_numeric = all(_is_number(value) for value in values.values())
    place = grid.listed[key].index
    order = sorted(values, key=lambda text: values[text] if is_numeric else place(text))
    at = {text: float(values[text]) if is_numeric else float(order.index(text)) for text in order}
    together = next(group for group in grid.groups if key in group)
    others = [k for k in grid.varying if k not in together and k != SEED]
    lines: dict[str, list[Dot]] = defaultdict(list)
    for one in dots:
        lines[", ".join(f"{k} {_label(one.values.get(k))}" for k in others)].append(one)
    for index, (name, line) in enumerate(lines.items()):
        colour = _COLOURS[index % len(_COLOURS)]
        mean: dict[float, list[float]] = defaultdict(list)
        for one in line:
            mean[at[as_text(one.values.get(key))]].append(one.loss)
        axis.plot(
            sorted(mean), [sum(mean[x]) / len(mean[x]) for x in sorted(mean)],
            color=colour, lw=1.2, label=name or None,
        )  # fmt: skip
        for x, losses in mean.items():
            axis.plot([x] * len(losses), losses, "o", ms=5, color=colour)
            if len(losses) > 1:
                axis.errorbar(x, fmean(losses), yerr=stdev(losses), color=colour, lw=1.2, capsize=4)
        if len(lines) == 1:
            for x, losses in mean.items():
                axis.annotate(
                    f"{fmean(losses):.3f}", (x, max(losses)), textcoords="offset points",
                    xytext=(0, 7), ha="center", fontsize=8,
                )  # fmt: skip
    if is_numeric and min(at.values()) > 0 and max(at.values()) >= 8 * min(at.values()):
        axis.set_xscale("log")
    axis.set_xticks(list(at.values()), [_label(values[text]) for text in order], fontsize=8)
    axis.minorticks_off()
    beside = ", ".join(k for k in together if k != key)
    axis.set_xlabel(f"{key} (with {beside})" if beside else key)
    axis.margins(x=0.12, y=0.18)
    axis.grid(alpha=0.3)
    if 1 < len(lines) <= _MOST_LINES:
        axis.legend(
            loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, fontsize=8, frameon=False
        )


def _title(grid: Grid, dots: Sequence[Dot]) -> str:
    before = {round(one.before, 3) for one in dots if one.before is not None}
    said = f"{grid.name}: lowest held-out loss of each run"
    if len(before) == 1:
        said += f"; before training {before.pop():.3f}"
    if len({one.repeat for one in dots}) > 1:
        said += "\ndots: runs, less the level of their seed and fold; bars: standard deviation"
    elif grid.repeats.count > 1:
        said += "\none run each: small differences may be chance (a longer BUDGET shows it)"
    elif SEED not in grid.varying:
        said += "\none seed each: small differences may be chance (seeds: 3 in the sweep shows it)"
    return said


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _label(value: Any) -> str:
    if isinstance(value, list):
        lines, line = [], ""
        for item in map(str, value):
            if line and len(line) + len(item) > _WIDEST_LABEL - 2:
                lines.append(line + ",")
                line = item
            else:
                line = f"{line}, {item}" if line else item
        return "\n".join([*lines, line])
    return f"{value:g}" if isinstance(value, float) else str(value)
