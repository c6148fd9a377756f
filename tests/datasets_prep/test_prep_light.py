"""A process that prepares data leaves out what only training needs, and it alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from prep_data import ROOT, definition, jsonl, questions

_SEEN = """
import gc, importlib.util, json, sys
from datasets_prep.light import settle, start_light
first = gc.isenabled()
settle()
start_light()
off = gc.isenabled()
settle()
found = [importlib.util.find_spec(name) for name in ("bitsandbytes", "sklearn")]
print(json.dumps([first, off, gc.isenabled(), gc.get_threshold()[0] > 10_000, found]))
"""


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )


def test_garbage_and_training_are_left_out_until_all_is_loaded() -> None:
    assert json.loads(run("-c", _SEEN).stdout) == [True, False, True, True, [None, None]]


def test_the_command_makes_the_rows_that_the_function_makes(tmp_path: Path) -> None:
    import datasets_prep

    jsonl(tmp_path / "rows.jsonl", questions(12))
    path = definition(tmp_path)
    done = run("-m", "datasets_prep", str(path), "--out", str(tmp_path / "command"))
    assert done.returncode == 0, done.stderr
    datasets_prep.prepare(path, out=tmp_path / "function")
    for name in ("train.jsonl", "ledger.jsonl"):
        made = [(tmp_path / way / name).read_bytes() for way in ("command", "function")]
        assert made[0] == made[1]


def test_what_most_rows_were_dropped_for_is_said(tmp_path: Path) -> None:
    asked = questions(12)
    for row in asked[:8]:
        row["a"] = "Ich weiß es heute leider auch nicht besser als du."
    jsonl(tmp_path / "rows.jsonl", asked)
    done = run("-m", "datasets_prep", str(definition(tmp_path)), "--out", str(tmp_path / "out"))
    assert "Dropped: filter 8" in done.stdout
    assert "8 of 12 rows, more than half, went in the step filter: assistant turn" in done.stderr
