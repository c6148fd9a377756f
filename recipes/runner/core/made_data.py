"""Whether a data set in ``data/`` is what its definition and source make now.

`datasets_prep` writes into a manifest what it made the data from; `make train` goes by that and
makes them again. Here the same is seen from below, for what counts rows before that.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from recipes.runner.core.errors import UserError, UserErrors
from recipes.runner.core.hashes import file_hash
from recipes.runner.core.paths import ROOT, is_file
from recipes.runner.core.yaml_file import read_yaml

MANIFEST = "manifest.json"
MADE_FROM = "made_from"


def made_from(definition: Path, sources: Iterable[Path]) -> dict[str, str]:
    """Hashes of the definition and the source files, those in the repository, by their places.

    A definition counts by what it says: a comment changes no row.
    """
    found = {place: file_hash(file) for file in sources for place in [_place(file)] if place}
    place = _place(definition)
    return found | {place: _said_in(definition)} if place else found


def is_stale(path: str) -> bool:
    """Whether a file of ``data/<dataset>/`` is there, and would be made again from other inputs."""
    parts = Path(path).parts
    if len(parts) != 3 or parts[0] != "data" or not is_file(ROOT / path):
        return False
    definition = ROOT / "datasets_prep" / "definitions" / f"{parts[1]}.yaml"
    if not definition.is_file():
        return False
    try:
        manifest = json.loads((ROOT / path).with_name(MANIFEST).read_text(encoding="utf-8"))
        held: dict[str, Any] = manifest[MADE_FROM]
        return any(
            held_hash != (_said_in if ROOT / place == definition else file_hash)(ROOT / place)
            for place, held_hash in held.items()
        )
    except (OSError, ValueError, KeyError, AttributeError, TypeError, UserError, UserErrors):
        # Made by a version that wrote none of it, or torn: it is made again.
        return True


def _place(file: Path) -> str | None:
    file = file.resolve()
    return file.relative_to(ROOT).as_posix() if file.is_relative_to(ROOT) else None


def _said_in(definition: Path) -> str:
    content = json.dumps(read_yaml(definition, "").content, sort_keys=True, default=str)
    return hashlib.sha256(content.encode()).hexdigest()
