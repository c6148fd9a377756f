"""Planted adapters of a real run get the right verdict from the command itself.

PLANTED_RUN=smollm2-135m-qlora make test ARGS="-k planted_real"    # a trained run

The rows join the table that ends the report of the tests; `eval/planted_runs.py` makes the
adapters, which takes a minute each for those that are trained.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import pytest

from eval.__main__ import main
from eval.planted_runs import CHANGED, TRAINED, plant
from recipes.runner.run.finished import find_run

RUN = os.environ.get("PLANTED_RUN", "")
PROMPTS = os.environ.get("PLANTED_PROMPTS", "10")  # of each suite
# What learnt to help for a minute may be too little to tell; it must not be refused.
RIGHT = {
    **{kind: {"don't ship"} for kind in (*CHANGED, *TRAINED)},
    "safer": {"ship", "can't tell"},
}

pytestmark = pytest.mark.skipif(not RUN, reason="PLANTED_RUN names no trained run")


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the planted runs lie; all of them share base's answers."""
    folder = tmp_path_factory.mktemp("planted")
    (folder / "cache").mkdir()
    return folder


@pytest.mark.parametrize("kind", [*CHANGED, *TRAINED])
def test_the_verdict_is_right(kind: str, out: Path, planted_table: dict[str, Counter[str]]) -> None:
    folder = plant(find_run(RUN, None), kind, out)
    (folder / "eval").mkdir()
    (folder / "eval" / "cache").symlink_to(out / "cache")
    code = main(["--run", str(folder), "--limit", PROMPTS])
    decision = json.loads((folder / "eval" / "summary.json").read_text())["decision"]
    planted_table[f"{kind} (real)"] = Counter([decision["kind"]])
    assert decision["exit_code"] == code
    assert decision["kind"] in RIGHT[kind], decision["sentence"]
