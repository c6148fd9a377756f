"""Yes and no in the environment."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from recipes.runner.core.errors import UserError
from recipes.runner.core.flags import flag
from recipes.runner.core.paths import ROOT


@pytest.mark.parametrize("text", ["1", "true", "Yes", "ON", " 1 "])
def test_yes(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE", text)
    assert flag("FORCE") is True


@pytest.mark.parametrize("text", ["0", "false", "No", "OFF"])
@pytest.mark.parametrize("default", [True, False])
def test_no(text: str, default: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE", text)
    assert flag("FORCE", default) is False


@pytest.mark.parametrize("default", [True, False])
def test_nothing_said(default: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FORCE", raising=False)
    assert flag("FORCE", default) is default
    monkeypatch.setenv("FORCE", "")
    assert flag("FORCE", default) is default


@pytest.mark.parametrize("text", ["maybe", "2", "nein", "-"])
def test_anything_else_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFLIGHT", text)
    with pytest.raises(UserError, match=r"PREFLIGHT: .* is neither yes nor no\. PREFLIGHT=1 or"):
        flag("PREFLIGHT", default=True)


def test_nobody_else_reads_these_variables() -> None:
    names = "FORCE|PREFLIGHT|PUBLIC|WITHOUT_EVAL"
    reads = re.compile(rf"""(environ(\.get)?|getenv)[\[(]\s*["']({names})["']""")
    sources = [
        path
        for package in ("recipes", "datasets_prep", "plugins", "eval")
        for path in (ROOT / package).rglob("*.py")
    ]
    assert len(sources) > 100
    assert [path for path in sources if reads.search(path.read_text())] == []


def test_make_passes_them_on(tmp_path: Path) -> None:
    """The real Makefile, with a Python that says what it was given."""
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text('#!/bin/sh\necho "$FORCE|$PREFLIGHT|$PUBLIC|$WITHOUT_EVAL|$*"\n')
    python.chmod(0o755)

    def make(*words: str) -> str:
        command = ["make", "-s", "PYTHON=true", f"VENV={tmp_path}", *words]
        kept = {"PATH": os.environ["PATH"]}
        return subprocess.run(
            command, cwd=ROOT, env=kept, capture_output=True, text=True, check=True
        ).stdout

    assert make("train", "RECIPE=x", "FORCE=0", "PREFLIGHT=no").startswith("0|no|||-m recipes")
    assert "force" not in make("train", "RECIPE=x", "FORCE=0")
    assert make("publish", "RUN=x", "PUBLIC=0", "WITHOUT_EVAL=yes").startswith("||0|yes|")
    assert make("train", "RECIPE=x").startswith("||||-m recipes train x")
