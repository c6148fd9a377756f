"""Files, folders and repositories that a recipe names."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from recipes.runner.check.finding import Finding, Level, data_sets, is_ours
from recipes.runner.core.local_data import definitions
from recipes.runner.core.nearest import nearest
from recipes.runner.core.paths import RECIPES, ROOT, file_here, is_file, is_folder

_READ_FOLDERS = ("base_model", "tokenizer_config", "lora_model_dir")
_SPLITS = ("train.jsonl", "validation.jsonl", "test.jsonl")
_ENDINGS = (".json", ".jsonl", ".csv", ".parquet", ".arrow", ".txt", ".zst", ".gz")


def check_references(config: dict[str, Any]) -> Iterator[Finding]:
    """Every file and folder that is named and is not there, with the nearest that is.

    A file for Axolotl alone may be for another machine: what it names is looked for, and said.
    """
    missing: Level = "error" if is_ours(config) else "warning"
    for place, entry in data_sets(config):
        path = entry.get("path")
        if isinstance(path, str) and is_local(path) and not can_be_made(path):
            yield Finding((*place, "path"), f"there is no {path}", _data_hint(path), missing)
        elif isinstance(path, str) and path and _exists(path):
            if not (_is_file(path) or is_folder(path) or is_folder(ROOT / path)):
                what = f"{path} is neither a file nor a folder"
                yield Finding((*place, "path"), what, "Name a file of rows")
            elif (fault := unreadable_row(path)) is not None:
                yield Finding((*place, "path"), f"{path}: {fault}", "Correct the file")
    yield from _on_hub(config)
    for place, entry in data_sets(config):
        template = entry.get("chat_template_jinja")
        if isinstance(template, str) and _missing_template(template):
            what = f"there is no {template}"
            yield Finding((*place, "chat_template_jinja"), what, _file_hint(template), missing)
    template = config.get("chat_template_jinja")
    if isinstance(template, str) and _missing_template(template):
        what = f"there is no {template}"
        yield Finding(("chat_template_jinja",), what, _file_hint(template), missing)
    elif isinstance(template, str) and is_file(template) and not _is_text(template):
        yield Finding(("chat_template_jinja",), f"{template} is not UTF-8 text", "Correct the file")
    for key in ("deepspeed", "base_model", "tokenizer_config", "base_model_config"):
        path = config.get(key)
        local = isinstance(path, str) and path and (key == "deepspeed" or is_local(path))
        if isinstance(path, str) and local and not can_be_made(path):
            if path.startswith("deepspeed_configs/"):
                todo = "axolotl fetch deepspeed_configs brings Axolotl's own"
                yield Finding((key,), f"there is no {path} here", todo, "warning")
                continue
            yield Finding((key,), f"there is no {path}", _file_hint(path), missing)
    tokenizer = config.get("tokenizer_config")
    if isinstance(tokenizer, str) and _missing_folder(tokenizer):
        what = f"{tokenizer} is neither a folder here nor a model's name that is kept or in reach"
        yield Finding(("tokenizer_config",), what, "Correct the path")
    path = config.get("resume_from_checkpoint")
    if isinstance(path, str) and path and not _exists(path):
        what = f"there is no {path}"
        yield Finding(("resume_from_checkpoint",), what, _file_hint(path), missing)
    yield from _output(config)
    trainer = config.get("trainer_cls")
    if isinstance(trainer, str) and trainer and not ("." in trainer and importable(trainer)):
        what = f"there is no module {trainer.rpartition('.')[0] or trainer} here"
        yield Finding(("trainer_cls",), what, "Write module.Class, beside the recipe", "warning")


def importable(name: str) -> bool:
    """Whether the first part of a dotted name is a module: beside the recipe, or installed."""
    first = name.split(".")[0]
    if not first.isidentifier():
        return False
    try:
        found = importlib.util.find_spec(first)
    except (ImportError, ValueError):
        found = None
    return found is not None or _exists(first) or _exists(f"{first}.py")


def _output(config: dict[str, Any]) -> Iterator[Finding]:
    """A run that writes over what it reads, or into what is no folder."""
    output = config.get("output_dir")
    if output == "":
        yield Finding(("output_dir",), "is empty", "Name a folder")
    if not isinstance(output, str) or not output:
        return
    before = config.get("lora_model_dir")
    if isinstance(before, str) and before and Path(before) == Path(output):
        what = f"is {output}, which lora_model_dir is read from: the run would write over it"
        yield Finding(("output_dir",), what, "Name another folder")
        return
    if not _exists(output):
        return
    if _is_file(output):
        yield Finding(("output_dir",), f"{output} is a file", "Name a folder")
        return
    read = [(key, config.get(key)) for key in _READ_FOLDERS]
    read += [("a data set", entry.get("path")) for _, entry in data_sets(config)]
    for name, path in read:
        if isinstance(path, str) and path and _exists(path) and _place(path) == _place(output):
            what = f"is {output}, which {name} is read from: the run would write over it"
            yield Finding(("output_dir",), what, "Name another folder")


def _place(path: str) -> Path:
    here = Path(path).expanduser()
    return (here if here.exists() else ROOT / path).resolve()


def _on_hub(config: dict[str, Any]) -> Iterator[Finding]:
    """Data sets of the Hub's: refused where it answers no, said where it can't be asked."""
    from recipes.runner.check.base_model import on_hub

    unknown = []
    for place, entry in data_sets(config):
        path = entry.get("path")
        if not isinstance(path, str) or not path or is_local(path) or can_be_made(path):
            continue
        if path in ("json", "csv", "parquet", "text", "arrow") or entry.get("type") == "_synthetic":
            continue
        there = on_hub("dataset", path)
        if there is False:
            yield Finding((*place, "path"), f"the Hub has no data set {path}", "Correct the name")
        elif there is None:
            unknown.append(((*place, "path"), path))
    if unknown:
        names = ", ".join(dict.fromkeys(path for _, path in unknown[:5]))
        yield Finding(unknown[0][0], f"{names} can't be looked up from here", "", "note")


def _missing_folder(name: str) -> bool:
    """Whether this looks like a folder of ours and not like a model of the Hub's."""
    if is_local(name) or _exists(name) or name.count("/") != 1:
        return False
    from recipes.runner.check.base_model import on_hub, raw_config

    if raw_config({"base_model": name}) is not None:
        return False
    there = on_hub("model", name)
    # Owners on the Hub have three letters at least.
    return there is False or (there is None and name.islower() and len(name.split("/")[0]) < 4)


def _is_text(path: str) -> bool:
    try:
        Path(path).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return False
    return True


def _missing_template(template: str) -> bool:
    """Whether this is a path, and no template itself, and no file."""
    one_line = "\n" not in template and "{" not in template and len(template) < 500
    looks = template.endswith((".jinja", ".j2", ".jinja2", ".txt")) or ("/" in template)
    near = ".j" in template or looks
    return one_line and near and not _is_file(template)


def _is_file(path: str) -> bool:
    return is_file(Path(path)) or is_file(ROOT / path)


def is_local(path: str) -> bool:
    """Whether a name means a file or folder, and not a repository of the Hub's."""
    first = path.split("/", 1)[0]
    return (
        path.endswith(_ENDINGS)
        or path.startswith((".", "/", "~"))
        or first in ("data", "models", "recipes", "runs")
    )


def _exists(path: str) -> bool:
    try:
        return Path(path).expanduser().exists() or (ROOT / path).exists()
    except (OSError, ValueError, RuntimeError):
        return False


def can_be_made(path: str) -> bool:
    """Whether a file or folder is there, or the run makes it."""
    if path.startswith(("s3://", "gs://", "gcs://", "https://", "az://", "abfs://", "oci://")):
        return True
    if _exists(path):
        return True
    parts = Path(path).parts
    if len(parts) == 3 and parts[0] == "data":
        return parts[2] in _SPLITS and parts[1] in definitions()
    from recipes.runner.models.smollm2 import FOLDER

    return (ROOT / path) == FOLDER


def _data_hint(path: str) -> str:
    parts = Path(path).parts
    near = nearest(parts[1], definitions()) if len(parts) == 3 and parts[0] == "data" else None
    if near:
        split = parts[2] if parts[2] in _SPLITS else nearest(parts[2], _SPLITS) or _SPLITS[0]
        return f"data/{near}/{split} can be made: is that meant?"
    return "Correct the path, or add a definition to datasets_prep/definitions"


def _file_hint(path: str) -> str:
    """The nearest name in the nearest folder that is there."""
    for base in (Path(), ROOT):
        folder = base / Path(path).parent
        try:
            names = [item.name for item in folder.iterdir()] if is_folder(folder) else []
        except (OSError, ValueError):
            names = []
        if near := nearest(Path(path).name, names):
            return f"Did you mean {Path(path).parent / near}?"
    return "Correct the path"


def known_bases() -> list[str]:
    """The models whose shape is kept here."""
    names = []
    for path in sorted((RECIPES / "architectures").glob("*.json")):
        names.append(path.stem.replace("--", "/", 1))
    return names


def first_rows(path: str, most: int = 2_000) -> list[dict[str, Any]] | None:
    """The first rows of a local file of JSON lines; None where it is not here or no such file.

    For a file that `make data` will write: one row as it writes them.
    """
    if "://" in path:
        return None
    if not _exists(path) and is_local(path) and can_be_made(path):
        return [_PREPARED_ROW]
    for place in (Path(path), ROOT / path):
        if not is_file(place) or place.suffix not in (".jsonl", ".json"):
            continue
        rows: list[dict[str, Any]] = []
        try:
            with place.open(encoding="utf-8") as lines:
                for line in lines:
                    if len(rows) >= most:
                        break
                    if line.strip():
                        row = json.loads(line)
                        if not isinstance(row, dict):
                            return None
                        rows.append(row)
        except (OSError, ValueError):
            return None
        return rows
    return None


def unreadable_row(path: str, most: int = 200) -> str | None:
    """What is wrong with one of the first lines of a file of JSON lines; None where nothing is."""
    file = file_here(path)
    if file is None or file.suffix != ".jsonl":
        return None
    number = 0
    try:
        with file.open(encoding="utf-8") as lines:
            for number, line in enumerate(islice(lines, most), start=1):
                row = json.loads(line) if line.strip() else {}
                if number == 1 and isinstance(row, list):
                    return None  # one list of rows, which `datasets` reads too
                if not isinstance(row, dict):
                    return f"line {number} holds no columns"
    except UnicodeDecodeError:
        return "is not UTF-8 text"
    except (ValueError, RecursionError) as error:
        # A list over several lines is no file of JSON lines, and can be read all the same.
        return None if line.lstrip()[:1] == "[" else f"line {number} is no JSON: {error}"
    except OSError as error:
        return f"can't be read: {error.strerror}"
    return None


_PREPARED_ROW: dict[str, Any] = {
    "id": "",
    "source": "",
    "messages": [{"role": role, "content": ""} for role in ("system", "user", "assistant")],
}
