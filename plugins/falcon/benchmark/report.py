"""What the benchmark shows: a table, bench.json and a picture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

GIB = 2**30
FLOPS_PER_PARAMETER = 4  # forward, and backward to the inputs: frozen weights have no gradient


def ceiling_seconds(parameters: int, positions: float, matmul_flops: float) -> float:
    """Seconds that the matrix products of one step take at the measured rate, nothing else."""
    return FLOPS_PER_PARAMETER * parameters * positions / matmul_flops


def with_ratios(results: dict[str, dict[str, Any]], matmul_flops: float) -> None:
    """Add each finished case's share of the ceiling, and its ratios to the case it is against."""
    for result in results.values():
        if "tokens_per_second" not in result:
            continue
        step = result["seconds"] / result["steps_measured"]
        least = ceiling_seconds(result["parameters"], result["positions_per_step"], matmul_flops)
        result["share_of_ceiling"] = least / step
        other = results.get(result["against"], {})
        if "tokens_per_second" in other:
            key = "useful_tokens_per_second"
            result["speed_ratio"] = result[key] / other[key]
            result["memory_ratio"] = other["peak_memory_bytes"] / result["peak_memory_bytes"]


def quantisation_cost(results: dict[str, dict[str, Any]]) -> float | None:
    """Time of our QLoRA step over that of our LoRA step; None when either is missing."""
    both = [results.get(name, {}).get("tokens_per_second") for name in ("qlora", "lora")]
    return both[1] / both[0] if all(both) else None  # type: ignore[operator]


def print_table(bench: dict[str, Any]) -> None:
    """Print one line a case."""
    table = Table(title=f"{bench['recipe']} on {bench['machine']['device']}")
    for heading in ("run", "rows x length", "tokens/s", "useful/s", "x stock", "of ceiling",
                    "peak GiB", "x less memory"):  # fmt: skip
        table.add_column(heading, justify="left" if heading == "run" else "right")
    for name, result in bench["cases"].items():
        shape = f"{result['rows']} x {result['length']}"
        if "tokens_per_second" not in result:
            table.add_row(name, shape, result["failed"][:60])
            continue
        ratio, saved = result.get("speed_ratio"), result.get("memory_ratio")
        table.add_row(
            name, shape,
            f"{result['tokens_per_second']:,.0f}", f"{result['useful_tokens_per_second']:,.0f}",
            f"{ratio:.2f}" if ratio else "", f"{result['share_of_ceiling']:.0%}",
            f"{result['peak_memory_bytes'] / GIB:.2f}", f"{saved:.2f}" if saved else "",
        )  # fmt: skip
    console = Console(width=110)
    console.print(table)
    cost = quantisation_cost(bench["cases"])
    if cost:
        console.print(f"QLoRA step / LoRA step, ours: {cost:.3f}")
    rate = bench["machine"]["matmul_flops"] / 1e12
    console.print(
        f"Ceiling: {FLOPS_PER_PARAMETER} FLOP a parameter and token at {rate:,.1f} TFLOP/s"
    )


def draw(bench: dict[str, Any], path: Path) -> None:
    """Write bars of speed and of memory, by rename."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    done = {name: r for name, r in bench["cases"].items() if "tokens_per_second" in r}
    if not done:
        return
    colours = {"stock": "#b0b0b0", "ours": "#4878a8", "llama": "#dd8452"}
    bars = [colours[result["side"]] for result in done.values()]
    figure, axes = pyplot.subplots(
        1, 2, figsize=(12, 1.2 + 0.38 * len(done)), sharey=True, layout="constrained"
    )
    values = {
        "useful tokens a second": [r["useful_tokens_per_second"] for r in done.values()],
        "peak memory, GiB": [r["peak_memory_bytes"] / GIB for r in done.values()],
    }
    for axis, (title, widths) in zip(axes, values.items(), strict=True):
        drawn = axis.barh(list(done), widths, color=bars)
        axis.bar_label(drawn, [f"{w:,.0f}" if w >= 100 else f"{w:.1f}" for w in widths], padding=3)
        axis.set_title(title)
        axis.margins(x=0.15)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].invert_yaxis()
    figure.suptitle(
        f"{bench['recipe']} on {bench['machine']['device']}: stock, ours, Llama's shape"
    )
    partial = path.with_suffix(".partial.png")
    figure.savefig(partial, dpi=110)
    pyplot.close(figure)
    partial.replace(path)


def write(bench: dict[str, Any], folder: Path) -> None:
    """Write bench.json, by rename."""
    partial = folder / ".bench.json.partial"
    partial.write_text(json.dumps(bench, indent=2) + "\n", encoding="utf-8")
    partial.replace(folder / "bench.json")
