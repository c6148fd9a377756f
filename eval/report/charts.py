"""The report's charts as inline SVG: a forest plot of the verdicts and the run's loss curves."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from markupsafe import Markup, escape

_SPAN = 4.0  # the forest plot's axis, in margins either side


def forest_plot(rows: Sequence[dict[str, Any]], base: str = "base", narrow: bool = False) -> Markup:
    """Every suite's difference with its 95% interval, in multiples of its own margin.

    Right is better for tuned, whatever the metric's direction; the grey band is the margin.

    Args:
        rows: the summary's suites.
        base: what tuned is held against.
        narrow: for a phone: name and verdict stand above each bar, not beside it.
    """
    left, width, row_height, right = (12, 336, 52, 12) if narrow else (190, 430, 34, 250)
    top = 30
    axis_end = top + row_height * len(rows)

    def x(value: float) -> float:
        return left + width * (max(-_SPAN, min(_SPAN, value)) + _SPAN) / (2 * _SPAN)

    # Two long names would run into each other above the axis; the heading says them.
    than = f" than {base}" if len(base) <= (10 if narrow else 20) else ""
    parts = [
        f'<rect class="band" x="{x(-1):.1f}" y="{top - 6}" width="{x(1) - x(-1):.1f}" '
        f'height="{axis_end - top + 6}"/>',
        _line("zero", x(0), x(0), top - 6, axis_end),
        _text("side", x(-_SPAN), top - 13, f"\u2190 worse{than}"),
        _text("side", x(_SPAN), top - 13, f"better{than} \u2192", "end"),
    ]
    for index, row in enumerate(rows):
        start = top + row_height * index
        y = start + (38 if narrow else row_height / 2)
        kind = verdict_class(row["verdict"])
        words = start + 18 if narrow else y + 5
        short = "no difference" if narrow and kind == "same" else row["verdict"]
        parts.append(_named(words, row["title"], 34 if narrow else 24))
        if narrow:
            parts.append(_text(f"word {kind}", left + width + right, words, short, "end"))
        else:
            parts.append(_text(f"word {kind}", left + width + 16, words, short))
        parts += _bar(row, kind, x, y)
    for tick in range(-int(_SPAN), int(_SPAN) + 1, 2):
        parts.append(_text("tick", x(tick), axis_end + 16, f"{tick:+d}" if tick else "0", "middle"))
    unit = "difference, in multiples of each suite's margin"
    parts.append(_text("tick", left + width / 2, axis_end + 34, unit, "middle"))
    said = "; ".join(f"{row['title']}: {row['verdict']}" for row in rows)
    return Markup(
        f'<svg class="forest{" narrow" if narrow else ""}" '
        f'viewBox="0 0 {left + width + right} {axis_end + 44}" role="img" '
        f'aria-label="Forest plot. {escape(said)}">{"".join(parts)}</svg>'
    )


def _bar(row: dict[str, Any], kind: str, x: Callable[[float], float], y: float) -> list[str]:
    """Interval and point of one suite; what lies off the axis is an arrow at its edge."""
    sign = 1 if row["higher_is_better"] else -1
    found, margin = row["compared"], row["margin"]
    mid = sign * found["difference"] / margin
    low, high = sorted(sign * found["interval"][end] / margin for end in ("low", "high"))
    parts: list[str] = []
    edge = 1 if low > _SPAN else -1 if high < -_SPAN else 0
    if edge:  # wholly off the axis: a line into its edge, with the figure beside it
        near = x(edge * (_SPAN - 0.5))
        anchor = "end" if edge > 0 else "start"
        parts.append(_line(f"ci {kind}", near, x(edge * _SPAN), y, y))
        parts.append(_text("tick", near - 6 * edge, y + 4, f"{mid:+.0f}", anchor))
    else:
        parts.append(_line(f"ci {kind}", x(low), x(high), y, y))
    for end, step in ((low, -1), (high, 1)):
        if edge == -step:
            continue
        if end * step > _SPAN:
            tip = f"M{x(end):.1f} {y - 5} l{8 * step} 5 l{-8 * step} 5 z"
            parts.append(f'<path class="tip {kind}" d="{tip}"/>')
        else:
            parts.append(_line(f"ci {kind}", x(end), x(end), y - 5, y + 5))
    if abs(mid) <= _SPAN:
        parts.append(f'<circle class="dot {kind}" cx="{x(mid):.1f}" cy="{y}" r="5.5"/>')
    return parts


def _named(y: float, title: str, most: int) -> Markup:
    """A suite's title, cut where it would run into the bar; whole when pointed at."""
    short = title if len(title) <= most else title[: most - 1].rstrip() + "\u2026"
    return Markup('<text class="name" x="0" y="{:.1f}"><title>{}</title>{}</text>').format(
        y, title, short
    )


def verdict_class(verdict: str) -> str:
    """CSS class of a verdict."""
    return {"better": "better", "worse": "worse", "inconclusive": "unsure"}.get(verdict, "same")


def loss_curves(evaluations: Sequence[dict[str, Any]]) -> Markup | None:
    """Training and held-out loss over steps; None when the run recorded none."""
    series = {
        name: [
            (float(e["step"]), float(e[key]))
            for e in evaluations
            if _is_number(e.get("step")) and _is_number(e.get(key))
        ]
        for name, key in (("training", "train_loss"), ("held-out", "held_out_loss"))
    }
    points = [point for line in series.values() for point in line]
    if not points:
        return None
    steps, losses = [p[0] for p in points], [p[1] for p in points]
    low, high = min(losses), max(losses)
    pad = (high - low) * 0.1 or 0.1
    low, high = low - pad, high + pad
    left, top, width, height = 52, 12, 500, 190
    first, last = min(steps), max(steps)

    def at(point: tuple[float, float]) -> str:
        x = left + width * ((point[0] - first) / (last - first) if last > first else 0.5)
        y = top + height * (high - point[1]) / (high - low)
        return f"{x:.1f},{y:.1f}"

    parts = [f'<rect class="frame" x="{left}" y="{top}" width="{width}" height="{height}"/>']
    for share in (0, 0.5, 1):
        value = high - share * (high - low)
        y = top + share * height
        parts.append(_text("tick", left - 6, y + 4, f"{value:.2f}", "end"))
    for step in sorted({first, last}):
        x = float(at((step, low)).split(",")[0])
        parts.append(_text("tick", x, top + height + 18, f"step {step:g}", "middle"))
    for index, (name, line) in enumerate(series.items()):
        if not line:
            continue
        kind = "train" if name == "training" else "held"
        parts.append(f'<polyline class="curve {kind}" points="{" ".join(map(at, line))}"/>')
        parts += [
            f'<circle class="mark {kind}" cx="{p.split(",")[0]}" cy="{p.split(",")[1]}" r="3"/>'
            for p in map(at, line)
        ]
        said_last = f"{name} {line[-1][1]:.3f}"
        parts.append(_text(f"legend {kind}", left + width + 10, top + 18 + 20 * index, said_last))
    said = "; ".join(
        f"{n} loss from {v[0][1]:.3f} to {v[-1][1]:.3f}" for n, v in series.items() if v
    )
    return Markup(
        f'<svg class="curves" viewBox="0 0 {left + width + 140} {top + height + 28}" role="img" '
        f'aria-label="{escape(said)}">{"".join(parts)}</svg>'
    )


def _text(kind: str, x: float, y: float, words: str, anchor: str = "start") -> Markup:
    return Markup('<text class="{}" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(
        kind, x, y, anchor, words
    )


def _line(kind: str, x1: float, x2: float, y1: float, y2: float) -> Markup:
    return Markup('<line class="{}" x1="{:.1f}" x2="{:.1f}" y1="{:.1f}" y2="{:.1f}"/>').format(
        kind, x1, x2, y1, y2
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
