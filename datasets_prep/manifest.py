"""What a data set was made from, and what was made: the reason to do nothing."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from datasets_prep.definition import Definition
from datasets_prep.recipe_tokens import facts, tokenizer_files
from recipes.runner.core.hashes import file_hash
from recipes.runner.core.made_data import MADE_FROM, MANIFEST


def inputs(
    definition: Definition,
    sources: list[list[Path]],
    tokens: dict[str, Any] | None,
    suites: list[Path],
    limit: int | None,
) -> dict[str, Any]:
    """Everything that decides the output.

    Args:
        definition: the data set's.
        sources: the files of each source, none for one on the Hub.
        tokens: what the recipe says about tokens.
        suites: files of the evaluation that no row may be near.
        limit: rows read of each source, for a preview.
    """
    code = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*")):
        if path.suffix in (".py", ".jinja") or path.parent.name == "lexicons":
            code.update(path.name.encode() + path.read_bytes())
    recipe = None
    if tokens:
        files = {file.name: file_hash(file) for file in tokenizer_files(tokens)}
        recipe = digest([facts(tokens), files])
    return {
        "definition": digest(definition.model_dump(mode="json")),
        "source": [[file_hash(file) for file in files] for files in sources],
        "suites": [file_hash(file) for file in suites],
        "limit": limit,
        "code": code.hexdigest(),
        "recipe": recipe,
    }


def unchanged(folder: Path, wanted: dict[str, Any]) -> dict[str, Any] | None:
    """The manifest of a folder made from these inputs that still holds what was made."""
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        same = manifest["inputs"] == wanted and all(
            file_hash(folder / name) == held for name, held in manifest["outputs"].items()
        )
        return manifest if same else None
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return None


def write(
    folder: Path,
    wanted: dict[str, Any],
    outputs: list[str],
    counts: dict[str, Any],
    unproven: str | None,
    made_from: dict[str, str],
) -> None:
    """Write the manifest of the files of a folder.

    Args:
        folder: where the files are.
        wanted: the `inputs`.
        outputs: names of the files.
        counts: rows read, kept, dropped and written.
        unproven: why the rows are not proven trainable; None when they are.
        made_from: `made_data.made_from`, by which `make check` sees that they are out of date.
    """
    body = {
        "inputs": wanted,
        MADE_FROM: made_from,
        "counts": counts,
        "unproven": unproven,
        "outputs": {name: file_hash(folder / name) for name in sorted(outputs)},
    }
    text = json.dumps(body, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    (folder / MANIFEST).write_text(text, encoding="utf-8")


def digest(value: Any) -> str:
    """A hash of a value that JSON can hold, and of the rest as text."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
