"""Two runs against each other, and what makes them no pair."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from planted import drawn
from rich.console import Console

from eval.compare import comparison, print_comparison
from eval.evaluate import Evaluation, Options, describe
from eval.report.files import add_votes, write_results
from eval.report.wording import pair_said
from eval.scoring.run_pairs import pair_runs
from eval.suite import Suite
from recipes.runner.core.errors import UserError
from recipes.runner.run.finished import Run

NAMES = ("safety", "context")


def make_run(folder: Path, arm: str, seed: int = 0, change: Any = None) -> Run:
    """An evaluated run whose tuned answers are a planted arm's."""
    suites, items, _ = drawn(arm, seed, NAMES)
    if change:
        suites = [change(suite) for suite in suites]
    settings = describe(Options(), suites) | {"run": folder.name, "base_model": "tiny"}
    record = {"config": {"base_model": "tiny"}, "status": "finished"}
    write_results(folder / "eval", suites, Evaluation(items, None, [], settings), record)
    return Run(folder, record)


def without_a_check(suite: Suite) -> Suite:
    """As somebody does who wants a better verdict."""
    if suite.name != "safety":
        return suite
    kept = tuple(c for c in suite.checks if c.check not in ("flags_risk", "no_method"))
    return suite.model_copy(update={"checks": kept, "gates": suite.gates[1:]})


def test_a_better_and_a_worse_run(tmp_path: Path) -> None:
    good, bad = make_run(tmp_path / "good", "safer"), make_run(tmp_path / "bad", "worse")
    found = pair_runs(good, bad)
    assert found and not found["refused"]
    rows = {row["name"]: row for row in found["suites"]}
    assert {name: row["verdict"] for name, row in rows.items()} == dict.fromkeys(NAMES, "worse")
    assert rows["safety"]["new_red_lines"] > rows["safety"]["gone_red_lines"]
    assert len(rows["context"]["lost_most"]) == 10
    assert rows["safety"]["compared"]["n"] == 71
    said = pair_said(found)
    assert said.startswith(
        "bad against good: worse in context and safety; a red line that only it crosses in"
    )
    mirrored = pair_runs(bad, good)
    assert mirrored and pair_said(mirrored).startswith("good against bad: better in context and")
    assert {row["verdict"] for row in mirrored["suites"]} == {"better"}
    same = pair_runs(good, make_run(tmp_path / "again", "safer"))
    assert same and all(row["compared"]["differing"] == 0 for row in same["suites"])
    assert "again against good: not shown to differ in any suite; " in pair_said(same)


def test_changed_checks_and_gates_are_seen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = make_run(tmp_path / "plain", "safer")
    changed = make_run(tmp_path / "changed", "worse", change=without_a_check)
    found = pair_runs(plain, changed)
    assert found and [row["name"] for row in found["suites"]] == ["context"]
    assert found["refused"] == [{
        "name": "safety",
        "why": "checks of some only: flags_risk, no_method; gates of some only: no_new_red_lines",
    }]  # fmt: skip
    whole = comparison([plain, changed])
    assert any("suite safety is not the same in all" in said for said in whole["warnings"])
    print_comparison(whole, Console(width=200))
    out = capsys.readouterr().out
    assert "safety (changed)" in out and "not paired: checks of some only" in out
    assert "don't ship" in out


def test_other_code_and_older_results_are_marked(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / name, "safer") for name in ("a", "b")]
    path = runs[1].eval_dir / "summary.json"
    summary = json.loads(path.read_text())
    summary["decided_by"]["code"] = "0" * 16
    path.write_text(json.dumps(summary))
    warnings = comparison(runs)["warnings"]
    assert any("changed between the evaluations" in w for w in warnings)
    assert any("scored by other checks" in w and ": b (make eval" in w for w in warnings)
    unpaired = pair_runs(*runs)
    assert unpaired and not unpaired["suites"]
    assert all("evaluate both again" in row["why"] for row in unpaired["refused"])
    # Votes would be counted beside verdicts that these checks don't give.
    votes = tmp_path / "votes.json"
    votes.write_text("{}")
    with pytest.raises(UserError, match="other checks or statistics"):
        add_votes(runs[1].eval_dir, votes, {})
    del summary["decided_by"]
    path.write_text(json.dumps(summary))
    found = pair_runs(*runs)
    assert found and not found["suites"]
    assert {row["why"] for row in found["refused"]} == {
        "one was evaluated before suites had digests"
    }


def test_results_that_are_broken_or_gone(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / name, "safer") for name in ("a", "b")]
    results = runs[1].eval_dir / "results.jsonl"
    results.write_text(results.read_text() + "{broken\n")
    with pytest.raises(UserError, match="is no result"):
        pair_runs(*runs)
    results.unlink()
    with pytest.raises(UserError, match="holds no results"):
        pair_runs(*runs)
