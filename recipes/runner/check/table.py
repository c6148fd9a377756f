"""recipes/README.md: the table of recipes, written from the recipes themselves."""

from __future__ import annotations

from typing import Any

from recipes.runner.check.bases import bases_text
from recipes.runner.core.files import write_text
from recipes.runner.core.recipe import RECIPES, display_path, load_recipe, recipe_paths
from recipes.runner.estimate.measure.peaks import MACHINE, peaks_table
from recipes.runner.estimate.memory import GIB, estimate
from recipes.runner.estimate.trained import trained_tensors
from recipes.runner.models.architecture import architecture

TABLE = RECIPES / "README.md"
# Card sizes sold today, in GiB, with one that has them.
_CARDS = ((8, "8 GB"), (12, "12 GB"), (16, "16 GB"), (24, "24 GB"), (48, "48 GB"), (80, "80 GB"))
# Left free for the display, other processes and fragmentation.
_HEADROOM = 0.91

_INTRO = """# Recipes

Written by `make table` from the recipes: change a recipe and run it again.
Each file is complete and native: `axolotl train recipes/X.yaml` from the root of the repository
does the same as `make train RECIPE=X`.

{bases}
Memory is estimated (`make plan RECIPE=X` shows it part by part); how near that comes to what was
measured stands at the end. The card is the smallest that this fits into; what a recipe says of
itself, below the table, leaves some room.

| recipe | model | method | trained parameters | memory, about | for which card |
|---|---|---|---|---|---|
"""

_PEAKS = """## Measured peaks

Most bytes in tensors at once (`torch.cuda.max_memory_allocated`) in real Axolotl runs of random
weights, padded rows, beside what `plan` says of the same file. Machine: {machine}.
What each set-up is stands in `recipes/runner/estimate/measure/cases.py`;
`.venv/bin/python -m recipes.runner.estimate.measure` measures them anew. Falcon's peaks, 24 of them
on one card and on two, stand in `plugins/falcon/NOTES.md` and `launch/README.md`: a test holds
`plan` within 10% of each but one. In the 8-bit set-up random weights have more outliers than real
ones.

"""


def table_text() -> str:
    """The whole file as it should be."""
    rows = [_row(load_recipe(path)) for path in recipe_paths()]
    descriptions = "\n".join(_description(path) for path in recipe_paths())
    peaks = _PEAKS.format(machine=MACHINE) + peaks_table()
    intro = _INTRO.replace("{bases}", bases_text())
    return intro + "\n".join(rows) + "\n\n" + descriptions + "\n\n" + peaks + "\n"


def write_table() -> str:
    """Write the file; return its path for display."""
    write_text(TABLE, table_text())
    return display_path(TABLE)


def _row(recipe: Any) -> str:
    config = recipe.config
    shape = architecture(str(config["base_model"]))
    trained = sum(tensor.size for tensor in trained_tensors(config, shape))
    needed = estimate(config, shape).total / GIB
    on_cpu = shape.parameters < 500_000_000
    card = next((name for size, name in _CARDS if needed <= size * _HEADROOM), "more than 80 GB")
    base = "4-bit" if config.get("load_in_4bit") else "16-bit"
    method = (
        f"{'QLoRA' if config.get('load_in_4bit') else 'LoRA'} r {config['lora_r']}, base {base}"
    )
    if config.get("rl"):
        method = f"{str(config['rl']).upper()}, {method}"
    dtype = "fp16" if config.get("fp16") is True else "bf16 or fp16"
    return (
        f"| [{recipe.name}]({recipe.path.name}) | {config['base_model']} | {method}, {dtype}"
        f" | {trained / 1e6:.1f}M of {shape.parameters / 1e9:.2f}B | {needed:.1f} GiB"
        f" | {'none: two CPU cores do' if on_cpu else f'{card} or more'} |"
    )


def _description(path: Any) -> str:
    """The recipe's own first comment, as a list item."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("# "):
            break
        lines.append(line[2:].strip())
    return f"- **{path.stem}**: {' '.join(lines)}"


def is_stale() -> bool:
    """Whether the file on disk differs from what the recipes say."""
    return not TABLE.is_file() or TABLE.read_text(encoding="utf-8") != table_text()
