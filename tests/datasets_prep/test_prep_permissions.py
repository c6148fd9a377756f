"""Files, folders and disks that refuse: one line that says which, and nothing half-written."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from prep_data import ROOT, definition, jsonl, questions

from datasets_prep.opening import local_files
from datasets_prep.source import Source
from recipes.runner.core.errors import UserError

# Root reads everything, unless it gives that up.
_AS_ANYBODY = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all"]
_ROOT = os.geteuid() == 0
needs_refusal = pytest.mark.skipif(
    _ROOT and shutil.which("setpriv") is None, reason="root, and no setpriv to be less"
)
# Less than the rows take: what a full disk does to a file that is being written.
_SMALL = 4096


def prep(*args: object, before: Callable[[], None] | None = None) -> tuple[int, str]:
    """The command as somebody whom permissions bind; its exit code and what it said of errors."""
    command = [sys.executable, "-m", "datasets_prep", *map(str, args)]
    done = subprocess.run(
        [*(_AS_ANYBODY if _ROOT and before is None else []), *command],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        preexec_fn=before,
        check=False,
    )
    return done.returncode, done.stderr.strip()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder with rows and the definition that reads them."""
    folder = tmp_path / "source"
    folder.mkdir()
    jsonl(folder / "rows.jsonl", questions(12))
    definition(folder)
    return folder


@needs_refusal
@pytest.mark.parametrize("shut", ["rows.jsonl", "shut", "shut/rows.jsonl", "open"])
def test_what_cannot_be_read_is_one_line(source: Path, shut: str) -> None:
    (source / "shut").mkdir()
    shutil.copy(source / "rows.jsonl", source / "shut")
    (source / "open" / "within").mkdir(parents=True)
    shutil.copy(source / "rows.jsonl", source / "open")
    for path in (source / "rows.jsonl", source / "shut", source / "open" / "within"):
        path.chmod(0)
    out = source.parent / "out"
    try:
        code, said = prep(source / "small.yaml", "--source", source / shut, "--out", out)
    finally:
        for path in (source / "rows.jsonl", source / "shut", source / "open" / "within"):
            path.chmod(0o755)
    assert code == 1 and "\n" not in said, said
    assert "can't be read (permission denied)" in said and str(source / shut) in said
    assert not out.exists() and sorted(p.name for p in source.parent.iterdir()) == ["source"]


@needs_refusal
@pytest.mark.parametrize("there", [True, False])
def test_a_folder_that_cannot_be_written_is_one_line(source: Path, there: bool) -> None:
    parent = source.parent / "shut"
    out = parent / "out"
    (out if there else parent).mkdir(parents=True)
    parent.chmod(0o555)
    try:
        code, said = prep(source / "small.yaml", "--out", out)
    finally:
        parent.chmod(0o755)
    assert code == 1 and "\n" not in said, said
    assert "permission denied" in said and "give --out another folder" in said
    assert [p.name for p in parent.iterdir()] == (["out"] if there else [])


def test_a_disk_that_fills_up_leaves_the_data_as_they_were(source: Path) -> None:
    out = source.parent / "out"
    assert prep(source / "small.yaml", "--out", out)[0] == 0
    before = {p.name: p.read_bytes() for p in out.iterdir() if p.is_file()}
    definition(source, steps={"clean": False})

    def little_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (_SMALL, _SMALL))

    code, said = prep(source / "small.yaml", "--out", out, before=little_room)
    assert code == 1 and "\n" not in said and "Check the disk" in said, said
    assert {p.name: p.read_bytes() for p in out.iterdir() if p.is_file()} == before
    assert sorted(p.name for p in source.parent.iterdir()) == ["out", "source"]


def test_a_folder_is_all_of_its_files_but_the_hidden(source: Path) -> None:
    (source / "deep").mkdir()
    for name in ("deep/more.jsonl", ".hidden.jsonl"):
        shutil.copy(source / "rows.jsonl", source / name)
    (source / "small.yaml").unlink()
    _, files = local_files(Source(file="x"), source / "small.yaml", source)
    assert [f.relative_to(source).as_posix() for f in files] == ["deep/more.jsonl", "rows.jsonl"]
    with pytest.raises(UserError, match="no such file"):
        local_files(Source(file="x"), source / "small.yaml", source / "nowhere.csv")
