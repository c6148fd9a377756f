"""Local files of a source: which ones, unpacked, and what they hold."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import json
import lzma
import os
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

from datasets_prep.source import Format, Source
from recipes.runner.core.errors import UserError

SUFFIXES: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".parquet": "parquet",
    ".xlsx": "xlsx",
    ".xls": "xlsx",
    ".ods": "xlsx",
    ".txt": "txt",
    ".srt": "txt",
    ".vtt": "txt",
}
_PACKED = {".gz": "gzip", ".zst": "zstd", ".zip": "zip", ".bz2": "bzip2", ".xz": "xz"}
_MAGIC = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\x03\x04": "zip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
}
_PEEK = 1 << 16
# What stands at the start of what was fetched in place of a file.
_NO_DATA = {
    b"version https://git-lfs": "is a pointer of Git LFS and no data",
    b"<!doctype html": "is a web page and no data",
    b"<html": "is a web page and no data",
}


def _broken_packing() -> tuple[type[Exception], ...]:
    import zstandard

    return (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, zstandard.ZstdError)


# What unpacking raises at a file that is cut off or not whole.
BROKEN_PACKING = _broken_packing()


def local_files(
    source: Source, definition_file: Path, override: str | Path | None
) -> tuple[Source, list[Path]]:
    """The files to read, none when the source is on the Hub, and the source as it is to be read.

    Raises:
        UserError: there is no such file, it is empty, or a folder holds no data.
    """
    if override is not None:
        path = Path(override)
        if source.format and _suffix(path) in SUFFIXES:
            # It may be of another kind than the definition's own file.
            source = source.model_copy(update={"format": None})
    elif source.file is not None:
        path = definition_file.parent / source.file
    else:
        return source, []
    try:
        files = _listed(path, source)
        heads = [_start(file) for file in files]
    except OSError as error:
        raise UserError(
            f"can't be read ({(error.strerror or str(error)).lower()})",
            str(error.filename or path),
            "Check its permissions",
        ) from None
    for file, (size, head) in zip(files, heads, strict=True):
        if size == 0:
            raise UserError("the file is empty", str(file), "Give --source a file with rows")
        for sign, what in _NO_DATA.items():
            if head.startswith(sign):
                raise UserError(what, str(file), "Fetch the file itself")
    return source, files


def _start(file: Path) -> tuple[int, bytes]:
    """How large a file is, and its first bytes, in lower case."""
    with file.open("rb") as opened:
        return file.stat().st_size, opened.read(64).lstrip().lower()


def _inside(folder: Path) -> list[Path]:
    """All files of a folder but the hidden ones.

    Raises:
        OSError: it, or a folder in it, can't be read: `Path.rglob` leaves such a one out.
    """

    def refuse(error: OSError) -> None:
        raise error

    found = [
        Path(at) / name
        for at, _, names in os.walk(folder, onerror=refuse, followlinks=False)
        for name in names
        if not name.startswith(".")
    ]
    return sorted(file for file in found if file.is_file())


def _listed(path: Path, source: Source) -> list[Path]:
    if path.is_file():
        return [path]
    if path.is_dir():
        found = _inside(path)
        known = [p for p in found if source.format or _suffix(p) in SUFFIXES]
        if not known:
            raise UserError(
                "the folder holds no data file",
                str(path),
                f"Put files of {', '.join(SUFFIXES)} there, or set source.format",
            )
        kinds = {source.format or SUFFIXES[_suffix(p)] for p in known}
        if len(kinds) > 1:
            raise UserError(
                f"the folder holds files of several kinds: {', '.join(sorted(kinds))}",
                str(path),
                "Name those you want with a pattern, such as folder/*.jsonl",
            )
        return known
    if any(sign in path.name for sign in "*?[") and path.parent.is_dir():
        matched = sorted(p for p in path.parent.glob(path.name) if p.is_file())
        if matched:
            return matched
        raise UserError("no file matches", str(path), "Check the pattern under source.file")
    raise UserError("no such file", str(path), "Give --source a file that exists")


def _suffix(path: Path) -> str:
    """The ending that names the format: that of ``rows.jsonl.gz`` is ``.jsonl``."""
    suffixes = [s.lower() for s in path.suffixes]
    if suffixes and suffixes[-1] in _PACKED:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def unpacked(path: Path) -> IO[bytes]:
    """Open a file, unpacked where it is packed; what it holds decides, not its name.

    Raises:
        UserError: an archive of several files, or one that is broken.
    """
    raw = path.open("rb")
    head = raw.read(6)
    raw.seek(0)
    kind = next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), None)
    if kind is None:
        return raw
    if kind == "gzip":
        return gzip.open(raw)  # type: ignore[return-value]
    if kind == "bzip2":
        return bz2.open(raw)
    if kind == "xz":
        return lzma.open(raw)
    if kind == "zstd":
        return io.BufferedReader(_Unzstd(raw), 1 << 17)
    return _of_archive(path, raw)


class _Unzstd(io.RawIOBase):
    """A zstd file unpacked, one frame after another.

    The library's own reader takes a file that was cut off for one that ends there.
    """

    def __init__(self, raw: IO[bytes]) -> None:
        """Begin at the start of the file."""
        self._raw, self._frame, self._made = raw, self._new(), b""

    @staticmethod
    def _new() -> Any:
        import zstandard

        return zstandard.ZstdDecompressor().decompressobj()

    def readable(self) -> bool:
        """Yes."""
        return True

    def close(self) -> None:
        """Close the file too."""
        self._raw.close()
        super().close()

    def readinto(self, buffer: Any) -> int:
        """The next bytes.

        Raises:
            EOFError: the last frame is not whole.
        """
        begun = True
        while not self._made:
            more = self._frame.unused_data if self._frame.eof else b""
            if self._frame.eof:
                self._frame, begun = self._new(), bool(more)
            more = more or self._raw.read(_PEEK)
            if not more:
                if begun:
                    raise EOFError("the last frame is not whole")
                return 0
            self._made = self._frame.decompress(more)
        taken = self._made[: len(buffer)]
        self._made = self._made[len(taken) :]
        buffer[: len(taken)] = taken
        return len(taken)


def _of_archive(path: Path, raw: IO[bytes]) -> IO[bytes]:
    try:
        archive = zipfile.ZipFile(raw)
    except zipfile.BadZipFile:
        raise UserError("is a broken zip archive", str(path), "Fetch or make it anew") from None
    names = [n for n in archive.namelist() if not n.endswith("/") and "__MACOSX" not in n]
    if "[Content_Types].xml" in names:
        raise UserError("is a spreadsheet", str(path), "Set source.format: xlsx")
    if len(names) != 1:
        raise UserError(
            f"the archive holds {len(names)} files",
            str(path),
            "Unpack it, and name one, or a folder or pattern for several",
        )
    return archive.open(names[0])


def format_of(source: Source, path: Path) -> Format:
    """The format of a file: the definition's word, else its ending, else what it holds.

    Raises:
        UserError: it is of no known kind.
    """
    if source.format:
        return source.format
    inner = _suffix(path)
    if inner == "" and path.suffix.lower() == ".zip":
        with zipfile.ZipFile(path) as archive:
            inner = next((Path(n).suffix.lower() for n in archive.namelist()), "")
    kind = SUFFIXES.get(inner)
    if kind is None:
        raise UserError(
            f"unknown file type '{path.suffix}'",
            str(path),
            f"Set source.format, or use one of {', '.join(SUFFIXES)}",
        )
    return _json_kind(path, kind, source) if kind in ("json", "jsonl") else kind


def _json_kind(path: Path, kind: Format, source: Source) -> Format:
    """JSON Lines called .json, and a list or indented objects called .jsonl."""
    with unpacked(path) as file:
        head = file.read(_PEEK)
    text = head.decode(encoding_of(source, head), errors="replace").lstrip("\ufeff \t\r\n")
    first, _, rest = text.partition("\n")
    more = rest.lstrip()[:1]
    if _is_a(list, first) and more == "[":
        # A list of turns in each line.
        return "jsonl"
    if kind == "jsonl":
        return "json" if text[:1] == "[" and not _is_a(dict, first) else kind
    return "jsonl" if _is_a(dict, first) and more == "{" else kind


def _is_a(kind: type, line: str) -> bool:
    try:
        return isinstance(json.loads(line), kind)
    except (ValueError, RecursionError):
        return False


def encoding_of(source: Source, head: bytes) -> str:
    """The encoding of a file: what its byte-order mark says, else the definition's."""
    if source.encoding == "utf-8-sig":
        for mark in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            if head.startswith(mark):
                return "utf-16"
    return source.encoding


def open_text(path: Path, source: Source, newline: str | None) -> io.TextIOWrapper:
    """Open a file as text."""
    with unpacked(path) as file:
        head = file.read(4)
    stream: Any = unpacked(path)
    return io.TextIOWrapper(stream, encoding_of(source, head), newline=newline)
