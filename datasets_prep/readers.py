"""Rows out of a source, one at a time: files larger than memory stream."""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

from datasets_prep.cells import Row, parsed
from datasets_prep.frames import read_table
from datasets_prep.opening import BROKEN_PACKING, encoding_of, format_of, open_text, unpacked
from datasets_prep.source import Source
from datasets_prep.turn_lists import columns_to_rows
from recipes.runner.core.errors import UserError
from recipes.runner.core.patterns import search

# A CSV row with more or fewer fields than the header, kept for the ledger under this key.
RAGGED = "\0ragged"
# Of several files, the one that a row comes from, and its number there.
AT = "\0at"
# The column of that file's name, for sets of one conversation a file.
FILE = "file"
_WHOLE_JSON = 1 << 30


def read_rows(source: Source, paths: list[Path]) -> Iterator[Row]:
    """Yield every row of a source as a mapping of column names to values.

    Raises:
        UserError: broken content (with its line), a wrong encoding, or no such data on the Hub.
    """
    if not paths:
        from datasets_prep.hub import read_hub

        yield from read_hub(source)
        return
    for path in paths:
        rows = _each(_read_file(source, path), source.each)
        if len(paths) == 1:
            yield from rows
        else:
            for number, row in enumerate(rows, 1):
                yield {FILE: path.name, **row, AT: f"{path.name}#{number}"}


def _each(rows: Iterator[Row], column: str | None) -> Iterator[Row]:
    """A row for each element of a column's list; an empty list, or no list, is one row as it is.

    Raises:
        UserError: no row has the column.
    """
    if column is None:
        yield from rows
        return
    held = False
    for row in rows:
        held = held or column in row
        value = row.get(column)
        value = parsed(value) if isinstance(value, str) else value
        if isinstance(value, dict):
            # datasets stores a list of structs as a struct of lists.
            value = columns_to_rows(value)
        for item in value if isinstance(value, list) and value else [value]:
            yield {**row, column: item}
    if not held:
        raise UserError(
            f"no row has the column '{column}'", "source.each", "Name a column that holds a list"
        )


def _read_file(source: Source, path: Path) -> Iterator[Row]:
    try:
        kind = format_of(source, path)
        if kind in ("csv", "tsv"):
            yield from _read_csv(path, source, kind)
        elif kind == "jsonl":
            yield from _read_jsonl(path, source)
        elif kind == "json":
            yield from _read_json(path, source)
        elif kind == "txt":
            yield from _read_txt(path, source)
        elif kind == "xlsx":
            yield from _read_sheet(path, source)
        else:
            yield from _read_parquet(path)
    except UnicodeDecodeError:
        _raise_for_encoding(path, source)
        raise
    except BROKEN_PACKING as error:
        early = isinstance(error, EOFError)
        what = "the packed file ends too early" if early else "the packed file is broken"
        raise UserError(what, str(path), "Fetch it anew") from None


def _raise_for_encoding(path: Path, source: Source) -> None:
    """Name the first line that an encoding cannot read.

    Raises:
        UserError: there is one.
    """
    with unpacked(path) as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode(source.encoding)
            except UnicodeDecodeError as error:
                raise UserError(
                    f"is not {error.encoding}: byte {line[error.start]:#04x} cannot be read",
                    f"{path}:{number}",
                    "Set source.encoding in the definition, or convert the file",
                ) from None


# Lines of a table without a header that tell what separates its fields.
_TELLING = 20


def _read_csv(path: Path, source: Source, kind: str) -> Iterator[Row]:
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    with open_text(path, source, "") as file:
        # csv refuses NUL bytes only in some versions; they are control characters to us.
        lines = (line.replace("\0", "") for line in file)
        head = list(islice(lines, 1 if source.header else _TELLING))
        delimiter = source.delimiter or _delimiter(head, kind)
        skipped = bool(head and re.match(r"\ufeff?\"?sep=.\"?\s*\Z", head[0]))
        # Strict: a quotation mark that is never closed would make one row of all that follow.
        reader = csv.reader(
            lines if skipped else chain(head, lines),
            delimiter=delimiter,
            quoting=csv.QUOTE_MINIMAL if source.quotes else csv.QUOTE_NONE,
            strict=True,
        )
        try:
            yield from _table(reader, path, source)
        except csv.Error as error:
            raise UserError(
                f"broken CSV: {error}",
                f"{path}:{reader.line_num + skipped}",
                "Fix the quotation marks in or before this line; where they are plain text in the "
                "whole file, set source.quotes: false",
            ) from None


def _delimiter(lines: list[str], kind: str) -> str:
    """What separates the fields: Excel's word for it, or the sign that occurs most in a header.

    Without a header, the sign that stands in every line with no space after it: commas of texts
    have one.
    """
    line = lines[0] if lines else ""
    said = re.match(r"\ufeff?\"?sep=(.)", line)
    if said:
        return said[1]
    if kind == "tsv":
        return "\t"
    bare = [re.sub(r'"[^"]*"', "", line) for line in lines]
    if len(bare) > 1:
        often = {
            sign: min(len(re.findall(rf"{re.escape(sign)}(?! )", text)) for text in bare)
            for sign in ",;\t|"
        }
        best = max(often, key=lambda sign: (often[sign], sign == ","))
        if often[best]:
            return best
    outside = "".join(bare[:1])
    return max(",;\t|", key=lambda sign: (outside.count(sign), sign == ","))


def _table(rows: Iterable[list[Any]], path: Path, source: Source) -> Iterator[Row]:
    """Rows under a header; fields without a name that are empty are left out."""
    stream = iter(rows)
    first = next(stream, [])
    if source.header:
        header = [str(name).strip() for name in first]
        named = [name for name in header if name]
        if len(set(named)) != len(named):
            twice = sorted({name for name in named if named.count(name) > 1})
            raise UserError(f"the header names a column twice: {', '.join(twice)}", str(path))
        header = [name or f"column_{number}" for number, name in enumerate(header, 1)]
    else:
        header = [f"column_{number}" for number, _ in enumerate(first, 1)]
        stream = chain([first], stream)
    while header and header[-1].startswith("column_") and source.header:
        # Commas at the end of each line, as spreadsheets leave them.
        header.pop()
    width = len(header)
    for fields in stream:
        if not fields:
            continue
        while len(fields) > width and fields[-1] in ("", None):
            fields = fields[:-1]
        row: Row = dict(zip(header, fields, strict=False))
        if len(fields) != width:
            row[RAGGED] = f"{len(fields)} fields under a header of {width}"
        yield row


def _read_txt(path: Path, source: Source) -> Iterator[Row]:
    """Texts in the column ``text``: between blank lines, between separators, or the file as one."""
    block: list[str] = []
    whole = source.separator == "none"
    between = re.compile(source.separator) if source.separator and not whole else None
    with open_text(path, source, None) as file:
        for line in file:
            if between:
                ends = search(between, line, "source.separator") is not None
            else:
                ends = not (whole or line.strip())
            if ends:
                yield from _block(block)
                block = []
            block.append(line.rstrip("\n"))
    yield from _block(block)


def _block(lines: list[str]) -> Iterator[Row]:
    text = "\n".join(lines).strip()
    if text:
        yield {"text": text}


def _read_sheet(path: Path, source: Source) -> Iterator[Row]:
    """Rows of the first sheet."""
    import python_calamine

    try:
        book = python_calamine.CalamineWorkbook.from_path(path)
        rows = book.get_sheet_by_index(0).to_python(skip_empty_area=True)
    except Exception as error:
        # One type for each format that the library reads.
        reason = " ".join(str(error).split())
        raise UserError(
            f"can't be read as a spreadsheet ({reason[:120]})",
            str(path),
            "Save it anew, or export the sheet as CSV",
        ) from None
    cells = ([_of_sheet(value) for value in row] for row in rows)
    yield from _table((row for row in cells if any(v not in ("", None) for v in row)), path, source)


def _of_sheet(value: Any) -> Any:
    """Whole numbers, which a sheet keeps as floats, without their point; dates as shown."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return value if value is None or isinstance(value, str | bool) else str(value)


def _read_jsonl(path: Path, source: Source) -> Iterator[Row]:
    with open_text(path, source, "\n") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            where = f"{path}:{number}"
            try:
                row = json.loads(line)
            except (json.JSONDecodeError, RecursionError) as error:
                if number == 1 and line.strip() in ("{", "["):
                    yield from _indented(path, source)
                    return
                raise UserError(f"broken JSON line: {error}", where, "Fix the line") from None
            yield _object(row, where, "for one list in the whole file set format: json")


def _indented(path: Path, source: Source) -> Iterator[Row]:
    """Objects one after another over several lines each, or one list of them."""
    import ijson

    with unpacked(path) as file:
        head = file.read(4)
    number = 0
    with _utf8(path, encoding_of(source, head)) as stream:
        try:
            values = ijson.items(stream, "", multiple_values=True, use_float=True)
            for value in values:
                for row in value if isinstance(value, list) else [value]:
                    number += 1
                    yield _object(row, f"{path}: row {number}")
        except ijson.JSONError as error:
            raise UserError(
                f"broken JSON after row {number}: {_said(error)}", str(path), "Fix the file"
            ) from None


class _Utf8:
    """A file of any encoding as the UTF-8 bytes that ijson reads, without a byte-order mark."""

    def __init__(self, path: Path, encoding: str) -> None:
        """Open it."""
        self.raw = encoding in ("utf-8", "utf-8-sig")
        self._bytes = unpacked(path)
        self._text = None
        if self.raw:
            if self._bytes.read(3) != b"\xef\xbb\xbf":
                self._bytes.close()
                self._bytes = unpacked(path)
        else:
            import io

            self._text = io.TextIOWrapper(self._bytes, encoding)

    def read(self, size: int = -1) -> bytes:
        """The next ``size`` bytes or characters, as bytes."""
        return self._bytes.read(size) if self._text is None else self._text.read(size).encode()

    def __enter__(self) -> _Utf8:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        (self._text or self._bytes).close()


_utf8 = _Utf8


def _said(error: Exception) -> str:
    detail = error.args[0] if error.args else ""
    if isinstance(detail, bytes):
        detail = detail.decode(errors="replace")
    return " ".join("".join(c if c.isprintable() else " " for c in str(detail)).split())


def _read_json(path: Path, source: Source) -> Iterator[Row]:
    import ijson

    with unpacked(path) as file:
        head = file.read(4)
    number = 0
    records = source.records
    with _utf8(path, encoding_of(source, head)) as stream:
        found: Iterable[Any]
        if records.endswith("*"):
            found = _named(ijson.kvitems(stream, records[:-1].rstrip("."), use_float=True))
        else:
            found = ijson.items(stream, records, use_float=True)
        try:
            for number, row in enumerate(found, 1):
                yield _object(row, f"{path}: row {number}")
        except ijson.JSONError as error:
            said = _said(error)
            if "UTF8" in said and stream.raw:
                _raise_for_encoding(path, source)
            if not re.search(r"overflow|lexical error|invalid char|[Uu]nexpected symbol", said):
                lines = "trailing garbage" in said
                todo = "Where each line is an object set source.format: jsonl" if lines else ""
                raise UserError(
                    f"broken JSON after row {number}: {said}", str(path), todo
                ) from None
            # Integers beyond 64 bits, and the NaN that Python writes: its own parser reads both.
            for row in _whole(path, source, number, said):
                number += 1
                yield row
    if number == 0 and records == "item":
        for row in read_table(path, source, _WHOLE_JSON):
            number += 1
            yield row
    if number == 0:
        raise UserError(
            f"no rows at '{source.records}'",
            str(path),
            "Set source.records to where the rows are: item or data.item for a list, "
            "* or data.* for an object of rows; for one object a line set format: jsonl",
        )


def _object(row: Any, where: str, else_do: str = "") -> Row:
    """A row: an object, or a list of turns by itself, which is the column ``turns``.

    Raises:
        UserError: it is neither.
    """
    if isinstance(row, dict):
        return row
    if isinstance(row, list) and row and all(isinstance(item, dict | str) for item in row):
        return {"turns": row}
    todo = "A row is an object, or a list of turns"
    raise UserError(
        f"a {type(row).__name__} where an object is wanted",
        where,
        f"{todo}; {else_do}" if else_do else todo,
    )


def _whole(path: Path, source: Source, done: int, said: str) -> Iterator[Row]:
    """The rows of a JSON file that is read at once, but the first ``done``."""
    try:
        if path.stat().st_size > _WHOLE_JSON:
            raise ValueError("too large")
        with open_text(path, source, None) as file:
            value: Any = json.load(file)
    except (ValueError, RecursionError):
        raise UserError(f"broken JSON after row {done}: {said}", str(path)) from None
    for key in source.records.split("."):
        if key == "item":
            value = value if isinstance(value, list) else []
        elif key == "*":
            items = value.items() if isinstance(value, dict) else ()
            value = list(_named(items))
        else:
            value = value.get(key, []) if isinstance(value, dict) else []
    for number, row in enumerate(value, 1):
        if number > done:
            yield _object(row, f"{path}: row {number}")


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
