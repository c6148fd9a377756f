"""Content hashes: what a cached answer depends on."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from functools import cache
from pathlib import Path
from typing import Any

_WHOLE, _BLOCK, _BLOCKS = 512 << 20, 1 << 20, 64
_LIBRARIES = ("torch", "transformers", "peft", "bitsandbytes", "axolotl")


def digest(value: Any) -> str:
    """Hex SHA-256 of any JSON-able value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


@cache
def file_digest(path: Path) -> str:
    """Hex SHA-256 of a file; above 512 MiB, of its size and 64 blocks of 1 MiB spread over it."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if size <= _WHOLE:
            return hashlib.file_digest(file, "sha256").hexdigest()
        hashed = hashlib.sha256(str(size).encode())
        for index in range(_BLOCKS):
            file.seek(index * (size - _BLOCK) // (_BLOCKS - 1))
            hashed.update(file.read(_BLOCK))
        return hashed.hexdigest()


def folder_digest(folder: Path, patterns: tuple[str, ...]) -> str:
    """Hex SHA-256 over the names and contents of the files that match."""
    files = sorted({path for pattern in patterns for path in folder.glob(pattern)})
    return digest([[path.name, file_digest(path.resolve())] for path in files])


@cache
def code_version(sources: tuple[Path, ...]) -> str:
    """Hash of source files, and the versions of the libraries that answers depend on."""
    hashed = {path.stem: file_digest(path) for path in sources}
    versions = {}
    for name in _LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "none"
    return digest([hashed, versions])
