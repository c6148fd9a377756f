"""The order of the steps stands once: it runs, and ledger, tally and card follow it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prep_data import ROOT, definition, jsonl, questions, read

import datasets_prep
from datasets_prep import worker
from datasets_prep.conversation import Conversation, Ledger
from datasets_prep.definition import Definition, Steps
from datasets_prep.steps import NAMES, ROW_STAGES, ROW_STEPS, SET_STEPS, STEPS, RowStep


def test_every_step_with_settings_is_in_the_order() -> None:
    names = [step.name for step in STEPS]
    assert set(Steps.model_fields) <= set(names)
    assert names == [step.name for step in (*ROW_STEPS, *SET_STEPS)]
    assert len(names) == len(set(names))


def test_the_tuple_is_what_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step put into the tuple runs in its place, and its ledger lines carry its name."""
    ran: list[str] = []

    def noting(step: RowStep) -> RowStep:
        def make(chosen: Definition, name: str) -> object:
            work = step.make(chosen, name)
            if work is None:
                return None

            def noted(row: Conversation, ledger: Ledger) -> bool:
                ran.append(ledger.step)
                return work(row, ledger)

            return noted

        return RowStep(step.name, step.what, make)  # type: ignore[arg-type]

    order = {stage: tuple(map(noting, steps)) for stage, steps in ROW_STAGES.items()}
    monkeypatch.setattr(worker, "ROW_STAGES", order)
    body = {"name": "s", "source": {"file": "x.jsonl"}, "shape": "messages"}
    turns = [{"role": "user", "content": "How are you today?"},
             {"role": "assistant", "content": "Quite well, thank you for asking."}]  # fmt: skip
    worker.RowSteps(Definition.model_validate(body), "x.jsonl")([(1, {"messages": turns})])
    assert ran == [step.name for step in ROW_STEPS if step.name != "where"]


def test_the_card_lists_the_steps_in_their_order(tmp_path: Path) -> None:
    jsonl(tmp_path / "rows.jsonl", questions(20))
    out = datasets_prep.prepare(definition(tmp_path), out=tmp_path / "out", workers=1)
    table = (out / "card.md").read_text().split("## Steps")[1]
    shown = re.findall(r"^\| (\w+)(?: \(off\))? \| \d", table, re.MULTILINE)
    assert tuple(shown) == NAMES
    assert {line["step"] for line in read(out / "ledger.jsonl")} <= set(NAMES)


def test_no_docstring_counts_the_steps() -> None:
    for path in (ROOT / "datasets_prep").glob("*.py"):
        assert not re.search(r"\bStep \d", path.read_text(encoding="utf-8")), path
