"""Which setting of a sweep is best: simulated settings, of which the truth is known."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from eval.scoring.repeats import lead, standing
from eval.settle import Swept, read_swept, settle
from recipes.runner.core.errors import UserError


def runs(random, true, seeds, folds, rows=200, run_chance=0.01, row_chance=0.05):
    """Losses by setting, repeat and conversation: hard ones and easy ones, lucky runs too."""
    hard = random.lognormal(0.5, 0.5, rows)
    taste = {name: random.normal(0, row_chance, rows) for name in true}
    found = {}
    for name, loss in true.items():
        for seed in range(seeds):
            for fold in range(folds):
                luck = random.normal(0, run_chance)
                held = range(fold, rows, folds)
                found.setdefault(name, {})[f"s{seed}-f{fold}"] = {
                    str(i): hard[i] + loss + luck + taste[name][i] + random.normal(0, 0.02)
                    for i in held
                }
    return found


SHAPES = [(3, 1), (5, 1), (1, 5), (3, 5)]


@pytest.mark.parametrize(("seeds", "folds"), SHAPES)
def test_equal_settings_are_seldom_told_apart(seeds, folds):
    """One of two equal settings is called best in 5% of sweeps at the most, as it says."""
    random = np.random.default_rng(7)
    named = 0
    for _ in range(300):
        found = runs(random, {"a": 0.0, "b": 0.0, "c": 0.0}, seeds, folds)
        named += standing(found, folds, ("a", "b", "c")).decided
    assert named / 300 <= 0.05


@pytest.mark.parametrize(("seeds", "folds"), SHAPES)
def test_a_clear_best_is_named(seeds, folds):
    random = np.random.default_rng(8)
    named = 0
    for _ in range(60):
        found = runs(random, {"a": 0.0, "b": -0.1, "c": 0.05}, seeds, folds)
        where = standing(found, folds, ("a", "b", "c"))
        assert (where.best, where.next) == ("b", "a")
        named += where.decided
    assert named / 60 >= 0.9


@pytest.mark.parametrize(("seeds", "folds"), SHAPES)
def test_the_interval_holds_the_true_difference(seeds, folds):
    random = np.random.default_rng(9)
    held = 0
    for _ in range(300):
        found = runs(random, {"a": 0.0, "b": 0.03}, seeds, folds, run_chance=0.03)
        interval = lead(found["a"], found["b"], folds).interval
        held += interval.low <= -0.03 <= interval.high
    assert held / 300 >= 0.93


def test_one_run_each_tells_nothing_apart():
    found = runs(np.random.default_rng(1), {"a": 0.0, "b": 9.0}, 1, 1)
    assert not standing(found, 1, ("a", "b")).decided


def test_settings_are_paired_over_what_they_share():
    first = {"s1": {"x": 1.0, "y": 2.0}, "s2": {"x": 1.1}}
    second = {"s2": {"x": 1.5, "z": 9.0}, "s3": {"x": 0.0}}
    found = lead(first, second, 1)
    assert found.difference == pytest.approx(-0.4) and found.repeats == found.conversations == 1
    assert lead({"s1": {"x": 1.0}}, {"s1": {"y": 1.0}}, 1) is None


def swept(found, folds, left, **more):
    entries = [
        {"setting": setting, "repeat": repeat, "folder": f"{setting}-{repeat}"}
        for setting, repeats in found.items()
        for repeat in repeats
    ]
    content = {"sweep": "s", "folds": folds, "runs": entries, "left": left, **more}
    return Swept.model_validate(content)


def settled(found, folds, left, seconds, **more):
    plan = swept(found, folds, left, **more)
    records = [SimpleNamespace(record={"seconds": seconds[entry.setting]}) for entry in plan.runs]
    scores = [
        {row: (loss * 10, 10) for row, loss in found[entry.setting][entry.repeat].items()}
        for entry in plan.runs
    ]
    return settle(plan, records, scores)


def test_the_end_names_the_best_and_by_how_much():
    found = runs(np.random.default_rng(2), {"lr: 1": 0.0, "lr: 2": -0.2, "lr: 3": 0.3}, 3, 5)
    end = settled(found, 5, ["lr: 1", "lr: 2"], {"lr: 1": 5, "lr: 2": 5, "lr: 3": 5},
                  dropped={"lr: 3": 2})  # fmt: skip
    assert end["best"] == "lr: 2"
    assert end["said"][0].startswith("best: lr: 2. It beats the next, lr: 1, by 0.2")
    assert "200 held-out conversations, 15 runs each" in end["said"][0]
    assert end["said"][1] == "dropped on the way, to save time: lr: 3 (after 2 runs)"
    assert [row["name"] for row in end["settings"]] == ["lr: 2", "lr: 1", "lr: 3"]


def test_what_was_dropped_stands_below_what_ran_to_the_end_however_easy_its_fold_was():
    found = runs(np.random.default_rng(2), {"lr: 1": 0.0, "lr: 2": -0.2, "lr: 3": -0.9}, 3, 5)
    end = settled(found, 5, ["lr: 1", "lr: 2"], {"lr: 1": 5, "lr: 2": 5, "lr: 3": 5},
                  dropped={"lr: 3": 1})  # fmt: skip
    assert end["best"] == "lr: 2"
    assert [(row["name"], row["dropped"]) for row in end["settings"]] == [
        ("lr: 2", False), ("lr: 1", False), ("lr: 3", True)
    ]  # fmt: skip


def test_the_end_says_that_they_cannot_be_told_apart_and_which_is_cheapest():
    found = runs(np.random.default_rng(3), {"epochs: 1": 0.0, "epochs: 6": 0.0}, 3, 1)
    end = settled(found, 1, ["epochs: 1", "epochs: 6"], {"epochs: 1": 60, "epochs: 6": 360})
    assert end["best"] is None
    assert end["said"][0].startswith("these data can't tell them apart: ")
    assert end["said"][1] == "cheapest of these: epochs: 1 (1 min 0 s a run)"


def test_a_file_that_is_no_sweep_is_refused_in_one_line(tmp_path):
    path = tmp_path / "s.json"
    for text in ("", "[1]", "{}", json.dumps({"sweep": 1})):
        path.write_text(text)
        with pytest.raises(UserError, match="is no record of a sweep"):
            read_swept(path)
