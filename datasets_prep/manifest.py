"""What a data set was made from, and what was made: the reason to do nothing."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from datasets_prep.definition import Definition

MANIFEST = "manifest.json"
# What a recipe says about tokens; a change of its learning rate makes no new data.
_RECIPE_KEYS = (
    "base_model",
    "base_model_config",
    "revision_of_model",
    "tokenizer_config",
    "tokenizer_type",
    "chat_template",
    "chat_template_jinja",
    "chat_template_kwargs",
    "sequence_len",
    "special_tokens",
    "tokens",
    "added_tokens_overrides",
    "eot_tokens",
    "train_on_inputs",
)


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def inputs(
    definition: Definition, source: Path | None, recipe: dict[str, Any] | None
) -> dict[str, Any]:
    """Everything that decides the output: definition, source, code, and the recipe's tokens."""
    code = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*")):
        if path.suffix in (".py", ".jinja") or path.parent.name == "lexicons":
            code.update(path.name.encode() + path.read_bytes())
    return {
        "definition": _digest(definition.model_dump(mode="json")),
        "source": file_hash(source) if source else f"hub:{definition.source.hub}",
        "code": code.hexdigest(),
        "recipe": _digest(recipe_facts(recipe)) if recipe else None,
    }


def recipe_facts(recipe: dict[str, Any]) -> dict[str, Any]:
    """The part of a recipe that decides how rows become tokens."""
    facts = {key: recipe[key] for key in _RECIPE_KEYS if key in recipe}
    facts["dataset"] = {
        key: value
        for key, value in ((recipe.get("datasets") or [{}])[0] or {}).items()
        if key != "path"
    }
    for place in (facts, facts["dataset"]):
        template = str(place.get("chat_template_jinja") or "")
        if len(template) < 500 and Path(template).is_file():
            place["chat_template_jinja"] = file_hash(Path(template))
    folder = Path(str(recipe.get("tokenizer_config") or recipe.get("base_model") or ""))
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        if (folder / name).is_file():
            facts[name] = file_hash(folder / name)
    return facts


def unchanged(folder: Path, wanted: dict[str, Any]) -> bool:
    """Whether a folder was made from these inputs, and still holds what was made."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        return bool(
            manifest["inputs"] == wanted
            and all(file_hash(folder / n) == h for n, h in manifest["outputs"].items())
        )
    except (OSError, ValueError, KeyError, AttributeError):
        return False


def write(folder: Path, wanted: dict[str, Any], outputs: list[str], counts: dict[str, Any]) -> None:
    """Write the manifest of the files of a folder."""
    body = {
        "inputs": wanted,
        "counts": counts,
        "outputs": {name: file_hash(folder / name) for name in sorted(outputs)},
    }
    text = json.dumps(body, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    (folder / MANIFEST).write_text(text, encoding="utf-8")


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
