"""Readers: every format gives the same rows, and broken files say where they are broken."""

from __future__ import annotations

import bz2
import csv
import gzip
import json
import lzma
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
import zstandard

from datasets_prep.opening import local_files
from datasets_prep.readers import RAGGED, read_rows
from datasets_prep.source import Source
from recipes.runner.core.errors import UserError

ROWS = [{"q": "Wie geht's?", "a": 'Gut, danke;\n"sehr" gut'}, {"q": "ü", "a": "€ \U0001f600"}]


def write(path: Path, kind: str, encoding: str = "utf-8") -> Path:
    if kind in ("csv", "tsv"):
        with path.open("w", encoding=encoding, newline="") as file:
            writer = csv.DictWriter(file, ["q", "a"], delimiter="\t" if kind == "tsv" else ",")
            writer.writeheader()
            writer.writerows(ROWS)
    elif kind == "jsonl":
        text = "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS)
        path.write_text(text, encoding=encoding)
    elif kind == "json":
        path.write_text(json.dumps(ROWS, ensure_ascii=False), encoding=encoding)
    else:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)
    return path


def rows(path: Path, **source: object) -> list[dict[str, object]]:
    return list(read_rows(Source.model_validate({"file": path.name, **source}), [path]))


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "json", "parquet"])
def test_all_formats_give_the_same_rows(tmp_path: Path, kind: str) -> None:
    assert rows(write(tmp_path / f"rows.{kind}", kind)) == ROWS


@pytest.mark.parametrize("kind", ["csv", "jsonl", "json"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_encodings(tmp_path: Path, kind: str, encoding: str) -> None:
    path = write(tmp_path / f"rows.{kind}", kind, encoding)
    assert rows(path, encoding=encoding) == ROWS


def test_a_byte_order_mark_needs_no_setting(tmp_path: Path) -> None:
    assert rows(write(tmp_path / "rows.jsonl", "jsonl", "utf-8-sig")) == ROWS


def test_the_format_of_a_file_without_ending_is_a_setting(tmp_path: Path) -> None:
    path = write(tmp_path / "rows", "jsonl")
    assert rows(path, format="jsonl") == ROWS
    with pytest.raises(UserError, match=r"source\.format"):
        rows(path)


def test_json_rows_may_stand_deeper(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps({"data": {"rows": ROWS}}))
    assert rows(path, records="data.rows.item") == ROWS
    with pytest.raises(UserError, match=r"source\.records"):
        rows(path)


def test_a_ragged_csv_row_is_kept_for_the_ledger(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("q,a\none,two\nalone\n")
    assert [RAGGED in row for row in rows(path)] == [False, True]


@pytest.mark.parametrize(
    ("name", "content", "where", "what"),
    [
        ("r.jsonl", b'{"q": 1}\n{"q": \n', ":2", "broken JSON line"),
        ("r.jsonl", b'{"q": 1}\n\n[1]\n', ":3", "a list where an object"),
        ("r.jsonl", b"[" * 9000, "", "broken JSON"),
        ("r.jsonl", b'{"q": "a"}\n{"q": "\xff"}\n', ":2", "is not utf-8"),
        ("r.csv", b"q,a\nx,caf\xe9\n", ":2", "is not utf-8"),
        ("r.csv", b"q,q\nx,y\n", "", "names a column twice: q"),
        ("r.json", b'[{"q": 1}, {"q" 2}]', "", "broken JSON after row 1"),
        ("r.json", b"[1]", "row 1", "where an object"),
        ("r.parquet", b"PAR1 nothing", "", "broken parquet"),
    ],
)
def test_broken_files_say_where(
    tmp_path: Path, name: str, content: bytes, where: str, what: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError) as error:
        rows(path)
    assert what in str(error.value) and f"{name}{where}" in str(error.value).replace(": row", "row")
    assert "\n" not in str(error.value)


def test_a_source_that_is_not_there_or_empty(tmp_path: Path) -> None:
    source = Source(file="none.csv")
    with pytest.raises(UserError, match="no such file"):
        local_files(source, tmp_path / "d.yaml", None)
    (tmp_path / "none.csv").touch()
    with pytest.raises(UserError, match="empty"):
        local_files(source, tmp_path / "d.yaml", None)


@pytest.mark.parametrize("kind", ["csv", "jsonl", "json", "parquet"])
def test_rows_stream(tmp_path: Path, kind: str) -> None:
    """The first row comes without the file being read to its end."""
    many = [{"q": f"question {n}" * 20, "a": "b" * 200} for n in range(20_000)]
    path = tmp_path / f"rows.{kind}"
    if kind == "parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(many), path, row_group_size=500)
    elif kind == "csv":
        path.write_text("q,a\n" + "".join(f"{r['q']},{r['a']}\n" for r in many))
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in many))
    else:
        path.write_text(json.dumps(many))
    import tracemalloc

    tracemalloc.start()
    total = sum(1 for _ in read_rows(Source(file=path.name), [path]))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == len(many)
    assert peak < 6e6, "the whole file was held"


def test_rows_may_stand_under_names(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps({"a": ROWS[0], "b": ROWS[1]}))
    assert rows(path, records="*") == [{"key": "a", **ROWS[0]}, {"key": "b", **ROWS[1]}]
    path.write_text(json.dumps({"data": {"a": {"key": 1}, "b": [2]}}))
    with pytest.raises(UserError, match="row 2: a list where an object is wanted"):
        rows(path, records="data.*")


@pytest.mark.parametrize("spoiled", ['"alone, it goes\n', 'she said,"No" to me\n', 'a,"b\n'])
def test_a_stray_quotation_mark_never_swallows_rows(tmp_path: Path, spoiled: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("q,a\none,two\n" + spoiled + "three,four\n")
    with pytest.raises(UserError, match=r"rows\.csv:\d: broken CSV.*source\.quotes: false"):
        rows(path)
    found = rows(path, quotes=False)
    assert [row["q"] for row in found] == ["one", spoiled.strip().split(",")[0], "three"]


@pytest.mark.parametrize("sign", [",", ";", "\t", "|"])
def test_a_table_without_a_header_is_not_cut_at_the_commas_of_its_texts(
    tmp_path: Path, sign: str
) -> None:
    path = tmp_path / "rows.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file, delimiter=sign)
        for n in range(30):
            writer.writerow([n, f"Well, then, what about {n}?", "Sleep, rest, and 2,5 mg."])
    found = rows(path, header=False)
    assert len(found) == 30
    assert found[7]["column_2"] == "Well, then, what about 7?"
    assert found[7]["column_3"] == "Sleep, rest, and 2,5 mg."


TALK = [{"role": "user", "content": "Hello?"}, {"role": "assistant", "content": "Hi."}]


def test_a_list_of_turns_is_a_row_by_itself(tmp_path: Path) -> None:
    lines = tmp_path / "talks.jsonl"
    lines.write_text(f"{json.dumps(TALK)}\n{json.dumps(TALK)}\n", encoding="utf-8")
    assert rows(lines) == [{"turns": TALK}, {"turns": TALK}]
    whole = tmp_path / "talks.json"
    whole.write_text(json.dumps([["Hello?", "Hi."]]), encoding="utf-8")
    assert rows(whole) == [{"turns": ["Hello?", "Hi."]}]
    whole.write_text("[[1, 2]]", encoding="utf-8")
    with pytest.raises(UserError, match="a list where an object is wanted"):
        rows(whole)


def test_each_element_of_a_list_makes_a_row(tmp_path: Path) -> None:
    path = tmp_path / "questions.json"
    answers = [{"text": "So."}, {"text": "Or so."}]
    asked = [{"q": "Why?", "answers": answers}, {"q": "How?", "answers": []}]
    path.write_text(json.dumps(asked), encoding="utf-8")
    assert rows(path, each="answers") == [
        {"q": "Why?", "answers": {"text": "So."}},
        {"q": "Why?", "answers": {"text": "Or so."}},
        {"q": "How?", "answers": []},
    ]
    struct = [{"q": "Why?", "answers": {"text": ["So.", "Or so."], "score": [2, 1]}}]
    path.write_text(json.dumps(struct), encoding="utf-8")
    assert [row["answers"] for row in rows(path, each="answers")] == [
        {"text": "So.", "score": 2},
        {"text": "Or so.", "score": 1},
    ]


def test_rows_of_several_files_know_their_file(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.json").write_text(json.dumps(TALK), encoding="utf-8")
    source, files = local_files(Source(file="*.json"), tmp_path / "d.yaml", None)
    assert [row["file"] for row in read_rows(source, files)] == ["a.json"] * 2 + ["b.json"] * 2


def test_a_packed_file_that_is_cut_off_is_an_error(tmp_path: Path) -> None:
    text = "".join(json.dumps({"q": f"{n} {hash(str(n))}", "a": "x"}) + "\n" for n in range(9000))
    packs = {
        "gz": gzip.compress(text.encode()),
        "zst": zstandard.ZstdCompressor().compress(text.encode()),
        "xz": lzma.compress(text.encode()),
        "bz2": bz2.compress(text.encode()),
    }
    for ending, packed in packs.items():
        path = tmp_path / f"rows.jsonl.{ending}"
        path.write_bytes(packed)
        assert len(rows(path)) == 9000
        for cut in (40, len(packed) // 2, len(packed) - 9):
            path.write_bytes(packed[:cut])
            with pytest.raises(UserError, match="packed file"):
                rows(path)


def test_frames_of_zstd_follow_each_other(tmp_path: Path) -> None:
    lines = [json.dumps(row) + "\n" for row in ROWS]
    path = tmp_path / "rows.jsonl.zst"
    path.write_bytes(b"".join(zstandard.ZstdCompressor().compress(x.encode()) for x in lines))
    assert rows(path) == ROWS


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "a pointer of Git LFS"),
        ("<!DOCTYPE html><html><body>404</body></html>", "a web page"),
    ],
)
def test_what_is_fetched_in_place_of_a_file_is_named(tmp_path: Path, text: str, what: str) -> None:
    (tmp_path / "rows.jsonl").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=what):
        local_files(Source(file="rows.jsonl"), tmp_path / "d.yaml", None)
