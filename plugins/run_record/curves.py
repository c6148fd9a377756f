"""curves.png: train and held-out loss, and the learning rate, over the steps of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def draw_curves(
    losses: list[dict[str, Any]], evaluations: list[dict[str, Any]], title: str, path: Path
) -> None:
    """Write the picture, by rename.

    Args:
        losses: ``step``, ``loss`` (nats a token) and ``learning_rate`` of each logged step.
        evaluations: ``step`` and ``held_out_loss`` of each evaluation.
        title: the run's name.
        path: the PNG file.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (upper, lower) = pyplot.subplots(
        2, 1, figsize=(8, 6), sharex=True, height_ratios=(3, 1), layout="constrained"
    )
    steps = [point["step"] for point in losses]
    upper.plot(steps, [point["loss"] for point in losses], color="#4878a8", lw=1, label="train")
    if evaluations:
        held_out = [point["held_out_loss"] for point in evaluations]
        at = [point["step"] for point in evaluations]
        upper.plot(at, held_out, color="#c44e52", marker="o", ms=4, label="held out")
        best = min(range(len(held_out)), key=held_out.__getitem__)
        upper.annotate(
            f"best {held_out[best]:.3f}",
            (at[best], held_out[best]),
            textcoords="offset points",
            xytext=(0, 10),
            ha="right" if best == len(held_out) - 1 else "center",
            color="#c44e52",
        )
    upper.set_ylabel("loss (nats a token)")
    upper.set_title(title)
    upper.grid(alpha=0.3)
    upper.legend()
    lower.plot(steps, [point["learning_rate"] for point in losses], color="#55a868")
    lower.set_ylabel("learning rate")
    lower.set_xlabel("optimizer step")
    lower.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
    lower.grid(alpha=0.3)
    partial = path.with_suffix(".partial.png")
    figure.savefig(partial, dpi=110)
    pyplot.close(figure)
    partial.replace(path)
