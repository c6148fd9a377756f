"""Rows out of a source, one at a time: files larger than memory stream."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from datasets_prep.definition import Format, Source
from recipes.runner.core.errors import UserError

Row = dict[str, Any]
# A CSV row with more or fewer fields than the header, kept for the ledger under this key.
RAGGED = "\0ragged"
_SUFFIXES: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".parquet": "parquet",
}


def local_file(source: Source, definition_file: Path, override: str | Path | None) -> Path | None:
    """The local file to read, or None when the source is on the Hub.

    Raises:
        UserError: the file is not there, or is empty.
    """
    if override is not None:
        path = Path(override)
    elif source.file is not None:
        path = definition_file.parent / source.file
    else:
        return None
    if not path.is_file():
        raise UserError("no such file", str(path), "Give --source a file that exists")
    if path.stat().st_size == 0:
        raise UserError("the file is empty", str(path), "Give --source a file with rows")
    return path


def read_rows(source: Source, path: Path | None) -> Iterator[Row]:
    """Yield every row of a source as a mapping of column names to values.

    Raises:
        UserError: broken content (with its line), a wrong encoding, or no such data on the Hub.
    """
    if path is None:
        from datasets_prep.hub import read_hub

        yield from read_hub(source)
        return
    kind = _format(source, path)
    try:
        if kind in ("csv", "tsv"):
            yield from _read_csv(path, source, source.delimiter or _DELIMITERS[kind])
        elif kind == "jsonl":
            yield from _read_jsonl(path, source.encoding)
        elif kind == "json":
            yield from _read_json(path, source)
        else:
            yield from _read_parquet(path)
    except UnicodeDecodeError:
        _raise_for_encoding(path, source.encoding)
        raise


_DELIMITERS = {"csv": ",", "tsv": "\t"}


def _format(source: Source, path: Path) -> Format:
    # An override may be of another kind than the definition's own file.
    kind = _SUFFIXES.get(path.suffix.lower()) or source.format
    if kind is None:
        raise UserError(
            f"unknown file type '{path.suffix}'",
            str(path),
            f"Set source.format, or use one of {', '.join(_SUFFIXES)}",
        )
    return source.format if source.format and source.file and path.name == source.file else kind


def _raise_for_encoding(path: Path, encoding: str) -> None:
    """Name the first line that an encoding cannot read.

    Raises:
        UserError: there is one.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode(encoding)
            except UnicodeDecodeError as error:
                raise UserError(
                    f"is not {error.encoding}: byte {line[error.start]:#04x} cannot be read",
                    f"{path}:{number}",
                    "Set source.encoding in the definition, or convert the file",
                ) from None


def _read_csv(path: Path, source: Source, delimiter: str) -> Iterator[Row]:
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    with path.open(encoding=source.encoding, newline="") as file:
        # csv refuses NUL bytes only in some versions; they are control characters to us.
        # Strict: a quotation mark that is never closed would make one row of all that follow.
        reader = csv.reader(
            (line.replace("\0", "") for line in file),
            delimiter=delimiter,
            quoting=csv.QUOTE_MINIMAL if source.quotes else csv.QUOTE_NONE,
            strict=True,
        )
        try:
            header = next(reader, [])
            if len(set(header)) != len(header):
                twice = sorted({name for name in header if header.count(name) > 1})
                raise UserError(f"the header names a column twice: {', '.join(twice)}", str(path))
            for fields in reader:
                if not fields:
                    continue
                row: Row = dict(zip(header, fields, strict=False))
                if len(fields) != len(header):
                    row[RAGGED] = f"{len(fields)} fields under a header of {len(header)}"
                yield row
        except csv.Error as error:
            raise UserError(
                f"broken CSV: {error}",
                f"{path}:{reader.line_num}",
                "Fix the quotation marks in or before this line; where they are plain text in the "
                "whole file, set source.quotes: false",
            ) from None


def _read_jsonl(path: Path, encoding: str) -> Iterator[Row]:
    with path.open(encoding=encoding, newline="\n") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            where = f"{path}:{number}"
            try:
                row = json.loads(line)
            except (json.JSONDecodeError, RecursionError) as error:
                raise UserError(f"broken JSON line: {error}", where, "Fix the line") from None
            if not isinstance(row, dict):
                raise UserError(f"a {type(row).__name__} where an object is wanted", where)
            yield row


class _AsUtf8:
    """Text of any encoding as the UTF-8 bytes that ijson reads."""

    def __init__(self, text: io.TextIOWrapper) -> None:
        """Wrap an open file."""
        self._text = text

    def read(self, size: int = -1) -> bytes:
        """The next ``size`` characters, as bytes."""
        return self._text.read(size).encode()

    def close(self) -> None:
        """Close the file."""
        self._text.close()


def _read_json(path: Path, source: Source) -> Iterator[Row]:
    import ijson

    with path.open("rb") as raw:
        # ijson reads UTF-8 bytes only and takes no byte-order mark.
        if source.encoding in ("utf-8", "utf-8-sig"):
            if raw.read(3) != b"\xef\xbb\xbf":
                raw.seek(0)
            stream: Any = raw
        else:
            stream = _AsUtf8(io.TextIOWrapper(raw, source.encoding))
        number = 0
        found: Iterable[Any]
        if source.records.endswith("*"):
            found = _named(ijson.kvitems(stream, source.records[:-1].rstrip("."), use_float=True))
        else:
            found = ijson.items(stream, source.records, use_float=True)
        try:
            for number, row in enumerate(found, 1):
                if not isinstance(row, dict):
                    name = type(row).__name__
                    raise UserError(f"a {name} where an object is wanted", f"{path}: row {number}")
                yield row
        except ijson.JSONError as error:
            detail = error.args[0] if error.args else ""
            if isinstance(detail, bytes):
                detail = detail.decode(errors="replace")
            if "UTF8" in detail and stream is raw:
                _raise_for_encoding(path, source.encoding)
            line = " ".join("".join(c if c.isprintable() else " " for c in detail).split())
            raise UserError(f"broken JSON after row {number}: {line}", str(path)) from None
        finally:
            stream.close()
        if number == 0:
            raise UserError(
                f"no rows at '{source.records}'",
                str(path),
                "Set source.records to where the rows are: item or data.item for a list, "
                "* or data.* for an object of rows",
            )


def _named(items: Iterable[tuple[str, Any]]) -> Iterator[Any]:
    """Rows that stand under a name each; the name becomes the column ``key``."""
    for name, row in items:
        yield {"key": name, **row} if isinstance(row, dict) else row


def _read_parquet(path: Path) -> Iterator[Row]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1000):
                yield from batch.to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"broken parquet: {str(error).splitlines()[0]}", str(path)) from None
