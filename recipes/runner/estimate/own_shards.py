"""What a recipe itself says of shards: by `deepspeed`, a file or its keys, or by FSDP's."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recipes.runner.core.errors import UserError
from recipes.runner.core.paths import is_file
from recipes.runner.core.recipe import ROOT
from recipes.runner.models.architecture import CannotEstimate


def own_strategy(config: Mapping[str, Any]) -> str | None:
    """The strategy that a recipe brings itself, by `deepspeed` or `fsdp_config`; None without.

    A DeepSpeed file that is not here (Axolotl's own lie in its repository) is taken by its name.

    Raises:
        CannotEstimate: neither the file nor its name says how much is in shards.
        UserError: the file names a stage that there is not.
    """
    deepspeed = config.get("deepspeed")
    if not deepspeed:
        return "fsdp" if config.get("fsdp_config") or config.get("fsdp") else None
    content = deepspeed_content(deepspeed)
    if content is not None:
        stage = zero_settings(content).get("stage") or 0
        if isinstance(stage, bool) or stage not in (0, 1, 2, 3):
            raise UserError(f"zero_optimization.stage is {stage!r}", "deepspeed", "Write 0 to 3")
        return f"zero{stage}"
    named = re.search(r"zero[_-]?([0-3])", str(deepspeed).rsplit("/", 1)[-1].lower())
    if named is None:
        raise CannotEstimate(
            f"there is no file {deepspeed} here, so that nobody knows what is in shards",
            "deepspeed",
            "Name a file that is here, or write its keys into the recipe",
        )
    return f"zero{named[1]}"


def zero_settings(content: Mapping[str, Any]) -> dict[str, Any]:
    """DeepSpeed's `zero_optimization`; empty where there is none that can be read."""
    found = content.get("zero_optimization")
    return found if isinstance(found, dict) else {}


def deepspeed_content(deepspeed: Any) -> dict[str, Any] | None:
    """What ``deepspeed`` holds; None where it names a file that is not here or no JSON."""
    if isinstance(deepspeed, dict):
        return deepspeed
    for path in (Path(str(deepspeed)), ROOT / str(deepspeed)):
        if is_file(path):
            try:
                content = json.loads(path.read_text(encoding="utf-8"))
            except ValueError:
                return None
            return content if isinstance(content, dict) else None
    return None
