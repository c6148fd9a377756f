"""Any file whatever, through every command that reads YAML: lines, never a traceback."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datasets_prep.definition import load_definition
from eval.suite import load_suite
from recipes.runner.check.check import problems_of
from recipes.runner.core.errors import UserError, UserErrors
from recipes.runner.core.paths import ROOT
from recipes.runner.core.recipe import load_recipe
from recipes.runner.sweep.grid import read_grid

RECIPE = load_recipe("smollm2-135m-qlora")


def check(path: Path) -> None:
    problems = problems_of(path)
    if problems:
        raise UserErrors(problems)


def sweep(path: Path) -> None:
    read_grid(str(path), RECIPE, {})


READERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "check": (check, "recipes/smollm2-135m-qlora.yaml"),
    "data": (load_definition, "datasets_prep/definitions/mental_health_support.yaml"),
    "eval": (lambda path: load_suite(str(path)), "eval/suites/safety.yaml"),
    "sweep": (sweep, "recipes/sweeps/rank.yaml"),
}

# What YAML is made of, and what goes wrong in it.
_WORDS = """
    &a *a *b <<: !!int !!set !!binary !x | > - ? : [ ] { } {} [] ~ null no yes 010 1:30 2e-4 .inf
    .nan -1 0 1.5 2020-13-45 "x" 'y' # % @ ` --- ... path type name lora_r datasets steps checks
    prompts plugins special_tokens _ = é \x00 \ufeff 😀
"""
PIECES = st.sampled_from(
    [*_WORDS.split(), " ", "\n", "\n  ", "\n    - ", "\t", "\x85", "\u2028", ": ", ", ", "<<: *a",
     "lora_r: ", "datasets: ", "_: ", "&a [*a]", "? [1]\n: 2"]
)  # fmt: skip
DOCUMENTS = st.lists(PIECES, max_size=30).map("".join)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.dates(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)


def attempt(reader: Callable[[Path], object], path: Path, data: bytes) -> None:
    path.write_bytes(data)
    try:
        reader(path)
    except UserError as error:
        lines = str(error).split("\n")
        assert all(line.strip() for line in lines)
        assert all(path.name in line or "there is no" in line for line in lines), lines


@pytest.mark.parametrize("command", READERS)
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    data=st.binary(max_size=60) | st.text(max_size=60).map(str.encode) | DOCUMENTS.map(str.encode)
)
def test_anything(command: str, data: bytes, tmp_path: Path) -> None:
    attempt(READERS[command][0], tmp_path / "fuzz.yaml", data)


@pytest.mark.parametrize("command", READERS)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_good_file_spoilt(command: str, data: st.DataObject, tmp_path: Path) -> None:
    reader, shipped = READERS[command]
    lines = (ROOT / shipped).read_text(encoding="utf-8").split("\n")
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(lines) - 1))
        kind = data.draw(st.sampled_from(["value", "piece", "drop", "double", "indent"]))
        key, colon, _old = lines[at].partition(":")
        if kind == "value" and colon:
            lines[at] = f"{key}: {json.dumps(data.draw(VALUES), default=str)}"
        elif kind == "piece":
            cut = data.draw(st.integers(0, len(lines[at])))
            lines[at] = lines[at][:cut] + data.draw(PIECES) + lines[at][cut:]
        elif kind == "drop":
            lines[at] = ""
        elif kind == "double":
            lines.insert(at, lines[at])
        else:
            lines[at] = "  " + lines[at]
    attempt(reader, tmp_path / "fuzz.yaml", "\n".join(lines).encode("utf-8", "replace"))
