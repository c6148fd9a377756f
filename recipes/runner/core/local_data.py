"""How many rows a recipe's data set has, where its file or the source of it is on this machine."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recipes.runner.core.made_data import is_stale
from recipes.runner.core.paths import ROOT, is_file
from recipes.runner.core.yaml_file import read_yaml


def definitions() -> set[str]:
    """Names of the data sets that can be made."""
    return {path.stem for path in (ROOT / "datasets_prep" / "definitions").glob("*.yaml")}


def count_rows(path: str) -> int | None:
    """Rows of a local file of JSON lines, or of the source that it will be made from.

    A file that is out of date is made again before anybody trains on it: it doesn't count.

    Returns:
        None where neither is here.
    """
    places = [] if is_stale(path) else [Path(path), ROOT / path]
    parts = Path(path).parts
    if len(parts) == 3 and parts[0] == "data" and parts[1] in definitions():
        folder = ROOT / "datasets_prep" / "definitions"
        content = read_yaml(folder / f"{parts[1]}.yaml", "").content
        source = content.get("source")
        file = source.get("file") if isinstance(source, dict) else None
        places += [folder / str(file)] if file else []
    for place in places:
        if place.suffix == ".jsonl" and is_file(place):
            with place.open("rb") as lines:
                return sum(1 for line in lines if line.strip())
    return None


def training_rows(config: Mapping[str, Any]) -> int | None:
    """Rows that a recipe trains on: those of all its files, without what it holds out.

    Returns:
        None where one of its data sets is not a local file of JSON lines, or is read in part.
    """
    listed = config.get("datasets")
    total = 0
    for entry in listed if isinstance(listed, list) else []:
        path = entry.get("path") if isinstance(entry, dict) else None
        in_part = isinstance(entry, dict) and (
            entry.get("shards") or "[" in str(entry.get("split"))
        )
        rows = count_rows(path) if isinstance(path, str) and not in_part else None
        if rows is None:
            return None
        total += rows
    if not total:
        return None
    return total - held_out(config, total)


def held_out(config: Mapping[str, Any], rows: int) -> int:
    """Rows that `val_set_size` takes away: a number of them, or a share, rounded up.

    As `datasets.Dataset.train_test_split` counts, by which Axolotl splits.
    """
    size = config.get("val_set_size")
    if isinstance(size, bool) or not isinstance(size, int | float) or not 0 < size < rows:
        return 0
    return int(size) if size > 1 else math.ceil(size * rows)
