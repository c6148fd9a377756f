"""The one reader of YAML: what it reads is what Axolotl reads, and every fault has its line."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from recipes.runner.core.errors import UserError
from recipes.runner.core.recipe import ROOT
from recipes.runner.core.yaml_file import YamlFile, read_value, read_yaml

SHIPPED = sorted(
    path
    for folder in ("recipes", "recipes/sweeps", "eval/suites", "datasets_prep/definitions")
    for path in (ROOT / folder).glob("*.yaml")
)


def read(tmp_path: Path, text: str | bytes) -> YamlFile:
    path = tmp_path / "x.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_yaml(path, "Start again")


def said(tmp_path: Path, text: str | bytes) -> list[str]:
    """Every fault as one line, without the folder."""
    try:
        file = read(tmp_path, text)
        file.refuse_faults()
    except UserError as error:
        return [line.replace(f"{tmp_path}/", "") for line in str(error).splitlines()]
    return []


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_file_that_we_ship_reads_as_pyyaml_reads_it(path: Path) -> None:
    file = read_yaml(path, "")
    assert file.content == yaml.safe_load(path.read_text(encoding="utf-8"))
    assert file.faults == []


def test_files_were_found() -> None:
    assert len(SHIPPED) > 20


MERGED = """\
base: &base
  lora_r: 8
  lora_rnk: 4
more: &more {seed: 1, lora_r: 2}
a:
  <<: *base
  lora_r: 16
b: {<<: [*base, *more]}
c:
  - *base
d: {<<: *base, <<: *more}
"""


def test_merges_and_aliases_keep_the_line_where_a_key_is_written(tmp_path: Path) -> None:
    file = read(tmp_path, MERGED)
    assert file.content == yaml.safe_load(MERGED)
    assert file.content["b"] == {"lora_r": 8, "lora_rnk": 4, "seed": 1}
    assert file.lines["a", "lora_rnk"] == 3 and file.lines["a", "lora_r"] == 7
    assert file.lines["b", "seed"] == 4
    assert file.lines["c", 0, "lora_rnk"] == 3


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (
            "a: 1\nb:\n  c: 1\n  c: 2\na: 3\n",
            [
                "x.yaml:4: b.c: is given twice, and the first is lost. Remove one",
                "x.yaml:5: a: is given twice, and the first is lost. Remove one",
            ],
        ),
        ("a: &a\n  b: 1\n  c: *a\n", ["x.yaml:3: *a: refers to what it stands in. Write it out"]),
        ("a: &a {<<: *a}\n", ["*a: refers to what it stands in", "a.<<: merges what is no"]),
        ("a: 1\nb: {<<: 3}\n", ["x.yaml:2: b.<<: merges what is no mapping"]),
        ("a: 1\nb: {<<: [3, {c: 1}]}\n", ["x.yaml:2: b.<<: merges what is no mapping"]),
        ("a: &a 1\nb: &a 2\n", ["x.yaml:2: can't be read as YAML: found duplicate anchor 'a'"]),
        ("a: 1\nb: *c\n", ["x.yaml:2: can't be read as YAML: found undefined alias 'c'"]),
        ("a: 1\n---\nb: 2\n", ["x.yaml:2: can't be read as YAML: expected a single document"]),
        ("a:\n\t- b\n", ["x.yaml:2: can't be read as YAML"]),
        ("a: [1\nb: 2\n", ["x.yaml:2: can't be read as YAML"]),
        ("[" * 100_000, ["x.yaml:1: can't be read as YAML: nested more than 50 levels deep"]),
        ("a: !!python/object:os.system x\n", ["x.yaml:1: a: the tag '!!python/object:os.sys"]),
        ("a: !!set {b, c}\n", ["x.yaml:1: a: the tag '!!set' is not read here"]),
        ("a: !!int abc\n", ["x.yaml:1: a: 'abc' is no int"]),
        ("a: 2020-13-45\n", ["x.yaml:1: a: '2020-13-45' is no timestamp"]),
        (f"a: {'9' * 6000}\n", ["x.yaml:1: a: '99999"]),
        ("a: =\n", ["x.yaml:1: a: = alone"]),
        ("a: 1\nno: 2\n", ["x.yaml:2: no: YAML reads this key as yes or no"]),
        ("a: 1\n? [b]\n: 2\n", ["x.yaml:2: ?: a list or mapping can't be a key"]),
        ("- a\n- b\n", ["x.yaml: holds no keys, but a list. Start again"]),
        ("", ["x.yaml: holds no keys. Start again"]),
        ("words", ["x.yaml: holds no keys"]),
        (b"a: 1\nb: \xff\xfe\n", ["x.yaml:2: is not UTF-8 text"]),
        (b"a: 1\nb: \x00\n", ["x.yaml:2: holds a character that no text has (U+0000)"]),
        ("a: b\n" * 500_000, ["x.yaml: is 2.5 MB: the most is 2 MB"]),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)
def test_each_fault_is_a_line_with_its_place(
    tmp_path: Path, text: str | bytes, lines: list[str]
) -> None:
    found = said(tmp_path, text)
    assert len(found) == len(lines), found
    for line, start in zip(found, lines, strict=True):
        assert start in line and len(line) < 200, found


def test_a_few_lines_can_not_fill_the_memory(tmp_path: Path) -> None:
    text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    for n in range(1, 30):
        text += f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n"
    (line,) = said(tmp_path, text)
    assert "more than 100000 values, aliases filled in" in line
    text = "a0: &a0 {k: 1}\n"
    for n in range(1, 40):
        text += f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}\n"
    (line,) = said(tmp_path, text)
    assert "more than 100000 values, aliases filled in" in line


@pytest.mark.parametrize(
    ("written", "value", "todo"),
    [
        ("no", "false", 'Write "no" for text, false for false'),
        ("On", "true", 'Write "On" for text, true for true'),
        ("010", "8, an octal number", "Write 8 or 10"),
        ("08", "text", "Write 8"),
        ("1:30", "90, a number to the base of 60", 'Write 90, or "1:30" for text'),
        ("2e-4", "text", "Write 2.0e-4"),
        ("1.5e3", "text", "Write 1.5e+3"),
        ("1e1", "text", "Write 1.0e+1"),
        ("1,000", "text", "Write 1000"),
        ("0o17", "text", "Write 15"),
        ("2024-01-02", "a date", 'Write "2024-01-02"'),
    ],
)
def test_words_that_yaml_reads_otherwise_than_they_look(
    tmp_path: Path, written: str, value: str, todo: str
) -> None:
    file = read(tmp_path, f"a: {written}\n")
    assert file.content == yaml.safe_load(f"a: {written}\n")
    assert (file.traps[("a",)].read, file.traps[("a",)].todo) == (value, todo)
    if value == "text" and "e" in written:
        assert isinstance(yaml.safe_load(todo.removeprefix("Write ")), float)


@pytest.mark.parametrize("written", ["true", "8", "0", "1.0e-4", "'no'", "text", "0x10", "-3", "~"])
def test_words_that_are_what_they_look_like(tmp_path: Path, written: str) -> None:
    assert read(tmp_path, f"a: {written}\n").traps == {}


def test_a_value_alone() -> None:
    assert read_value("[a, {b: 1}]") == ["a", {"b": 1}]
    assert read_value("") is None
    for text in ("[a", "!!int x", "[" * 1000, "a: 1\na: 2", "\x00"):
        with pytest.raises(ValueError, match=r"."):
            read_value(text)


def test_a_folder_and_a_missing_file(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing.yaml"):
        with pytest.raises(UserError, match="can't be read"):
            read_yaml(path, "")


@pytest.mark.parametrize("key", ["1", "1.5", "2024-01-01"])
def test_a_key_at_the_top_that_is_no_text_is_told_at_its_place(key: str, tmp_path: Path) -> None:
    (found,) = said(tmp_path, f"a: 1\nb: {{0: first}}\n{key}: x\n")
    assert f":3: {key}: is no name of a key" in found
