"""Keep this machine's paths and names out of what is published."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from recipes.runner.core.recipe import ROOT

# An absolute path of two or more parts; URLs and closing tags have a character before the slash.
_PATH = re.compile(r"(?<![\w:/.<~-])/(?:[^\s\"'`/:,;)\]]+/)+[^\s\"'`/:,;)\]]*")


def without_local_paths(text: str) -> str:
    """The text with paths inside the repository made relative, and other ones cut to their name."""
    for folder, replacement in ((ROOT, ""), (Path.home(), "~/")):
        if len(folder.parts) > 1:
            text = text.replace(f"{folder}/", replacement)
    return _PATH.sub(lambda found: found[0].rstrip("/").rsplit("/", 1)[-1], text)


def record_for_strangers(value: Any) -> Any:
    """run.json, or a part of it, without the host's name and without its paths."""
    if isinstance(value, dict):
        return {k: record_for_strangers(v) for k, v in value.items() if k != "host"}
    if isinstance(value, list | tuple):
        return [record_for_strangers(item) for item in value]
    return without_local_paths(value) if isinstance(value, str) else value


def local_paths_in(text: str) -> list[str]:
    """Absolute paths that a text names."""
    found = {match[0] for match in _PATH.finditer(text)}
    found |= {str(folder) for folder in (ROOT, Path.home()) if f"{folder}/" in text}
    return sorted(path for path in found if len(Path(path).parts) > 1)
