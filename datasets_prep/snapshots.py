"""What the steps left of the rows, kept beside the data: a later run redoes what changed after it.

``steps/`` in the data set's folder holds, for every stage of steps, a file of its outcome under a
key. A stage's key is a hash of what decides it: the code, the source, its own settings, and the key
of the stage before. A run takes the last stage whose key it still finds, and goes on from there.
The files hold text from before masking: they are as private as the source.
"""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import zstandard

from datasets_prep.definition import Definition
from datasets_prep.manifest import digest
from datasets_prep.steps import ROW_STAGES, SET_STEPS
from recipes.runner.core.hashes import file_hash

FOLDER = "steps"
_INDEX = "index.json"
_SIZE = struct.Struct("<I")
# What a definition says before the first step looks at a row.
_SHAPING = (
    "name", "source", "shape", "columns", "roles", "markers", "turns", "where", "system_prompt",
    "model_written", "tools",
)  # fmt: skip
# Settings that another step than their own applies.
_TOKEN_LIMITS = {"min_tokens", "max_tokens"}


def row_keys(definition: Definition, basis: Any) -> dict[str, str]:
    """Keys of the row-wise stages of one source.

    Args:
        definition: the source's own, its ``tools`` settled.
        basis: what decides its rows beside the definition: code and file hashes.
    """
    dumped = definition.model_dump(mode="json")
    key = digest([basis, definition.part, [dumped[name] for name in _SHAPING]])
    keys = {}
    for stage, steps in ROW_STAGES.items():
        for step in steps:
            settings = dumped["steps"].get(step.name)
            if isinstance(settings, dict):
                settings = {k: v for k, v in settings.items() if k not in _TOKEN_LIMITS}
            if step.name == "anonymise":
                settings = [settings, definition.steps.kept_language()]
            key = digest([key, step.name, settings])
        keys[stage] = key
    return keys


def set_keys(
    definition: Definition, parts: list[Definition], rows: list[str], suites: Any, recipe: Any
) -> dict[str, str]:
    """Keys of the steps on the whole set.

    Args:
        definition: the data set's.
        parts: that of each source.
        rows: the keys of the last row-wise stage of each source.
        suites: hashes of the suites.
        recipe: what the recipe says about tokens; None when nothing is proven.
    """
    dumped = definition.model_dump(mode="json")
    filters = dumped["steps"]["filter"]
    limits = {k: filters[k] for k in _TOKEN_LIMITS} if filters else None
    share = dumped["replay"] and dumped["replay"]["share"]
    own = {
        "contamination": suites,
        "mix": [share, definition.split.seed, [[p.limit, p.weight] for p in parts]],
        "prove": [recipe, limits],
    }
    keys, key = {}, digest([rows])
    for step in SET_STEPS:
        key = digest([key, step.name, dumped["steps"].get(step.name), own.get(step.name)])
        if step.drops:
            keys[step.name] = key
    return keys


class Snapshots:
    """The kept outcomes in a data set's folder, and those of the present run.

    Args:
        folder: the data set's.
        work: the folder of the present run, for its own.
        use: False: whatever is kept is passed over.
    """

    def __init__(self, folder: Path, work: Path, *, use: bool = True) -> None:
        """Read which are there."""
        self._old, self._new = folder / FOLDER, work / FOLDER
        self._new.mkdir()
        self._index: dict[str, dict[str, str]] = {}
        # Keys of the outcomes that stay, and their hashes where these are known already.
        self._wanted: dict[str, tuple[str, str]] = {}
        try:
            found = json.loads((self._old / _INDEX).read_text(encoding="utf-8"))
            self._index = dict(found) if use else {}
        except (OSError, ValueError, TypeError):
            return

    def has(self, name: str, key: str) -> bool:
        """Whether an outcome is kept whole under a key; it is kept on if so."""
        known = self._index.get(name, {})
        try:
            same = known.get("key") == key and file_hash(self._old / name) == known.get("hash")
        except (OSError, AttributeError):
            return False
        if same:
            self._wanted[name] = (key, known["hash"])
        return same

    def writer(self, name: str, key: str) -> IO[bytes]:
        """A file for the outcome of a stage of this run."""
        self._wanted[name] = (key, "")
        return (self._new / name).open("wb")

    def read(self, name: str) -> Iterator[bytes]:
        """The pieces of an outcome that an earlier run kept, in order."""
        with (self._old / name).open("rb") as file:
            while size := file.read(_SIZE.size):
                yield file.read(_SIZE.unpack(size)[0])

    def install(self) -> None:
        """Put what this run made beside what it used, and remove the rest; the index comes last."""
        self._old.mkdir(exist_ok=True)
        (self._old / _INDEX).unlink(missing_ok=True)
        for made in self._new.iterdir():
            made.replace(self._old / made.name)
        for file in self._old.iterdir():
            if file.name not in self._wanted:
                shutil.rmtree(file) if file.is_dir() else file.unlink()
        index = {
            name: {"key": key, "hash": known or file_hash(self._old / name)}
            for name, (key, known) in self._wanted.items()
        }
        text = json.dumps(index, indent=2, sort_keys=True) + "\n"
        (self._old / _INDEX).write_text(text, encoding="utf-8")


def write_piece(file: IO[bytes], piece: bytes) -> None:
    """Append a piece to a file of `Snapshots`."""
    file.write(_SIZE.pack(len(piece)) + piece)


def packed(value: Any) -> bytes:
    """A value as compressed JSON."""
    return zstandard.ZstdCompressor(level=1).compress(json.dumps(value).encode())


def unpacked(piece: bytes) -> Any:
    """The value of `packed`."""
    return json.loads(zstandard.ZstdDecompressor().decompress(piece))
