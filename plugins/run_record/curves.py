"""curves.png: losses, rewards, what the answers show, learning rate, over the steps of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

LOSS = "loss (nats a token)"
_SHARES = (
    ("loops", "loop", "#c44e52", "o"),
    ("ends", "end by themselves", "#4878a8", "s"),
    ("help", "name help in danger", "#55a868", "^"),
    ("false_alarms", "false alarms", "#dd8452", "v"),
)
_REWARDS = (
    ("reward_margin", "margin, held out", "#c44e52", "o"),
    ("chosen_reward", "chosen, held out", "#55a868", "^"),
    ("rejected_reward", "rejected, held out", "#dd8452", "v"),
)


def draw_curves(
    losses: list[dict[str, Any]],
    evaluations: list[dict[str, Any]],
    title: str,
    path: Path,
    chosen: int | None = None,
    unit: str = LOSS,
) -> None:
    """Write the picture, by rename.

    Args:
        losses: ``step``, ``loss`` (nats a token) and ``learning_rate`` of each logged step.
        evaluations: ``step`` and ``held_out_loss`` of each evaluation; with ``answers``, the
            shares that `plugins.answers` measured, and with ``reward_margin`` the rewards of
            chosen and rejected, each in a panel of their own.
        title: the run's name.
        path: the PNG file.
        chosen: step of the checkpoint that is kept; None for the one of the lowest loss.
        unit: what the losses are in.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    answered = [point for point in evaluations if point.get("answers")]
    rewarded = [point for point in evaluations if "reward_margin" in point]
    ratios = (3, *(2 for shown in (rewarded, answered) if shown), 1)
    figure, panels = pyplot.subplots(
        len(ratios), 1, figsize=(8, 2 + 1.05 * sum(ratios)), sharex=True, height_ratios=ratios,
        layout="constrained",
    )  # fmt: skip
    steps = [point["step"] for point in losses]
    _draw_losses(panels[0], steps, losses, evaluations, chosen)
    panels[0].set_ylabel(unit)
    panels[0].set_title(title)
    if rewarded:
        _draw_rewards(panels[1], losses, rewarded)
    if answered:
        _draw_answers(panels[-2], answered)
    lower = panels[-1]
    lower.plot(steps, [point["learning_rate"] for point in losses], color="#55a868")
    lower.set_ylabel("learning rate")
    lower.set_xlabel("optimizer step")
    lower.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
    lower.grid(alpha=0.3)
    partial = path.with_suffix(".partial.png")
    figure.savefig(partial, dpi=110)
    pyplot.close(figure)
    partial.replace(path)


def _draw_losses(
    panel: Any,
    steps: list[int],
    losses: list[dict[str, Any]],
    evaluations: list[dict[str, Any]],
    chosen: int | None,
) -> None:
    panel.plot(steps, [point["loss"] for point in losses], color="#4878a8", lw=1, label="train")
    if evaluations:
        held_out = [point["held_out_loss"] for point in evaluations]
        at = [point["step"] for point in evaluations]
        panel.plot(at, held_out, color="#c44e52", marker="o", ms=4, label="held out")
        best = min(range(len(held_out)), key=held_out.__getitem__)
        kept = at.index(chosen) if chosen in at else best
        panel.annotate(
            f"{'best' if kept == best else 'kept'} {held_out[kept]:.3f}",
            (at[kept], held_out[kept]),
            textcoords="offset points",
            xytext=(0, 10),
            ha="right" if kept == len(held_out) - 1 else "center",
            color="#c44e52",
        )
    panel.grid(alpha=0.3)
    panel.legend()


def _draw_rewards(panel: Any, losses: list[dict[str, Any]], rewarded: list[dict[str, Any]]) -> None:
    """Whether the margin grows because chosen rises, or because both fall."""
    trained = [(p["step"], p["reward_margin"]) for p in losses if "reward_margin" in p]
    if trained:
        panel.plot(*zip(*trained, strict=True), color="#bbbbbb", lw=1, label="margin, train")
    for key, label, color, marker in _REWARDS:
        points = [(point["step"], point[key]) for point in rewarded if key in point]
        if points:
            panel.plot(*zip(*points, strict=True), color=color, marker=marker, ms=4, label=label)
    panel.axhline(0, color="#888888", lw=0.8)
    panel.set_ylabel("reward (beta x change\nof log probability)")
    panel.grid(alpha=0.3)
    panel.legend(fontsize="small", ncols=2)


def _draw_answers(panel: Any, answered: list[dict[str, Any]]) -> None:
    for key, label, color, marker in _SHARES:
        points = [(p["step"], p["answers"].get(key)) for p in answered]
        points = [(step, 100 * share) for step, share in points if share is not None]
        if points:
            panel.plot(*zip(*points, strict=True), color=color, marker=marker, ms=4, label=label)
    panel.set_ylim(-4, 104)
    panel.set_ylabel("answers (%)")
    panel.grid(alpha=0.3)
    panel.legend(fontsize="small", ncols=2)
