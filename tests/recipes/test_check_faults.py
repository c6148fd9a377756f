"""A catalogue of faults (`faults.txt`): each is refused or warned of, and its key is named."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from recipes.runner.check.check import quiet
from recipes.runner.check.keys import inspect_recipe
from recipes.runner.core.errors import UserError
from recipes.runner.core.recipe import load_recipe
from recipes.runner.core.yaml_file import read_yaml

RECIPES = {
    name: load_recipe(recipe).path.read_text(encoding="utf-8")
    for name, recipe in (("falcon", "falcon7b-qlora"), ("mistral", "mistral-7b-qlora"))
}
LINES = (Path(__file__).parent / "faults.txt").read_text(encoding="utf-8").splitlines()
FAULTS = [line for line in LINES if line and not line.startswith("#")]


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def edited(edits: str) -> str:
    """The recipe with a fault in it."""
    name = "mistral" if edits.startswith("MISTRAL: ") else "falcon"
    text = RECIPES[name]
    for edit in edits.removeprefix("MISTRAL: ").split(" && "):
        text = _with(text, edit)
    return text


def _with(text: str, edit: str) -> str:
    key, _, value = edit.removeprefix("-").partition(":")
    written = rf"^(\s*(?:- )?){re.escape(key)}:.*$"
    if key in ("plugins", "datasets", "test_datasets", "bnb_config_kwargs", "special_tokens"):
        written += r"(\n  .*$|\n$)*"  # what stands below it too
    if edit.startswith("-"):
        return re.sub(written, "", text, count=1, flags=re.M)
    line = f"{key}: {value.strip()}"
    new, count = re.subn(written, lambda found: found[1] + line, text, count=1, flags=re.M)
    return new if count else f"{text}{line}\n"


def said(path: Path) -> tuple[list[str], list[str]]:
    try:
        file = read_yaml(path, "")
    except UserError as unreadable:
        return str(unreadable).splitlines(), []
    with quiet():
        report = inspect_recipe(file.content, file)
    return [str(error) for error in report.errors], [str(warning) for warning in report.warnings]


def test_there_are_faults_enough() -> None:
    assert len(FAULTS) == len(set(FAULTS)) > 300


@pytest.mark.parametrize("line", FAULTS)
def test_a_fault_is_told_by_its_key(tmp_path: Path, line: str) -> None:
    edits, _, key = line.rpartition(" | ")
    path = tmp_path / "changed.yaml"
    path.write_text(edited(edits), encoding="utf-8")
    errors, warnings = said(path)
    named = [text for text in (*errors, *warnings) if re.search(rf"(?<![a-z]){key}", text)]
    assert named, (errors, warnings)
    assert not [text for text in (*errors, *warnings) if "\n" in text or len(text) > 420]
