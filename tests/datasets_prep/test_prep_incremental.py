"""A run redoes what changed, and no more; its data are those of a run from the start."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from prep_data import all_rows, definition, jsonl, questions

import datasets_prep
from datasets_prep.steps import NAMES
from datasets_prep.workspace import only_run
from recipes.runner.core.recipe import RECIPES

OUTPUTS = ("train.jsonl", "validation.jsonl", "test.jsonl", "ledger.jsonl", "card.md")


def rows() -> list[dict[str, str]]:
    made = questions(60)
    made[3]["a"] += " My name is Maria Lopez, call 415-555-0132."
    made[5]["a"] += " This\u00a0is <b>bold</b>."
    made[9]["a"] = made[3]["a"]
    made[11]["a"] = "Ja, das ist alles sehr schwer f\u00fcr dich und deine Familie gewesen."
    made[13]["q"] = "Write me a short poem about autumn leaves in the park, please."
    made[17]["a"] = "Please call my office today."
    return made


def prepare(folder: Path, out: str = "out", workers: int = 1, **keys: Any) -> Path:
    jsonl(folder / "rows.jsonl", rows())
    columns = {"prompt": "q", "response": "a", "topic": "topic"}
    path = definition(folder, **{"columns": columns, **keys})
    return datasets_prep.prepare(path, out=folder / out, workers=workers)


def reused(said: str) -> list[str]:
    line = next((line for line in said.splitlines() if line.startswith("Steps taken")), ": ")
    return [name for name in line.split(": ", 1)[1].split(", ") if name]


ROW_STEPS = ["shape", "clean", "turns"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"split": {"seed": 7}}, [*ROW_STEPS, "filter", "contamination", "dedupe"]),
        (
            {"split": {"validation": 5}},
            [*ROW_STEPS, "filter", "contamination", "dedupe", "mix", "prove"],
        ),
        ({"steps": {"dedupe": {"threshold": 0.5}}}, [*ROW_STEPS, "filter", "contamination"]),
        ({"steps": {"contamination": False}}, [*ROW_STEPS, "filter"]),
        ({"steps": {"filter": {"promotion": "drop"}}}, ROW_STEPS),
        ({"steps": {"anonymise": {"names": "off"}}}, ["shape", "clean"]),
        ({"steps": {"clean": {"html": False}}}, ["shape"]),
        ({"system_prompt": "Be kind."}, []),
    ],
)
def test_what_stands_before_the_change_is_taken_from_the_run_before(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: dict[str, Any],
    expected: list[str],
) -> None:
    prepare(tmp_path)
    assert reused(capsys.readouterr().out) == []
    changed = prepare(tmp_path, **change)
    assert reused(capsys.readouterr().out) == expected
    fresh = prepare(tmp_path, out="fresh", **change)
    assert reused(capsys.readouterr().out) == []
    for name in OUTPUTS:
        assert (changed / name).read_bytes() == (fresh / name).read_bytes(), name
    one, other = (json.loads((f / "manifest.json").read_text()) for f in (changed, fresh))
    assert one == other


def test_many_batches_and_workers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def made(out: str, **keys: Any) -> Path:
        jsonl(tmp_path / "rows.jsonl", questions(1200))
        path = definition(tmp_path, **keys)
        return datasets_prep.prepare(path, out=tmp_path / out, workers=2)

    made("out")
    changed = made("out", steps={"filter": {"min_answer_words": 3}})
    assert reused(capsys.readouterr().out) == ROW_STEPS
    fresh = made("fresh", steps={"filter": {"min_answer_words": 3}})
    for name in OUTPUTS:
        assert (changed / name).read_bytes() == (fresh / name).read_bytes(), name


def test_another_source_or_a_broken_snapshot_starts_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = prepare(tmp_path)
    for file in (out / "steps").glob("*.zst"):
        file.write_bytes(file.read_bytes()[:-3])
    prepare(tmp_path, split={"validation": 5})
    assert reused(capsys.readouterr().out) == []
    jsonl(tmp_path / "rows.jsonl", questions(61))
    path = definition(tmp_path, columns={"prompt": "q", "response": "a"})
    datasets_prep.prepare(path, out=out, workers=1)
    assert reused(capsys.readouterr().out) == []
    assert len(all_rows(out)) == 61


def test_every_step_that_drops_or_changes_is_kept_in_some_stage(tmp_path: Path) -> None:
    out = prepare(tmp_path)
    kept = {file.name.split(".")[-2] for file in (out / "steps").glob("*.zst")}
    # Where and anonymise are kept with the step after them.
    assert kept == set(NAMES) - {"where", "anonymise"}


def test_two_runs_of_one_folder_do_not_mix(tmp_path: Path) -> None:
    out = tmp_path / "out"
    done: list[Path] = []
    with only_run(out):
        other = threading.Thread(target=lambda: done.append(prepare(tmp_path)))
        other.start()
        other.join(timeout=1.5)
        assert other.is_alive() and not out.exists(), "it waits"
    other.join(timeout=600)
    assert done == [out] and len({r["id"] for r in all_rows(out)}) > 50
    assert not list(tmp_path.glob(".out*"))


def test_the_end_names_a_recipe_that_trains_these_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare(tmp_path)
    said = capsys.readouterr().out
    assert "Next:   name " in said and "under datasets in a recipe" in said
    path = definition(tmp_path, recipe="falcon7b-qlora", steps={"prove": False})
    datasets_prep.prepare(path, out=tmp_path / "other", workers=1)
    assert "make train RECIPE=falcon7b-qlora" not in capsys.readouterr().out
    assert (RECIPES / "falcon7b-qlora.yaml").is_file()
