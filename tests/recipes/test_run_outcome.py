"""What a run came to: the checkpoint that is kept, and what its answers lost for what they won."""

from typing import Any

import pytest

from recipes.runner.run.outcome import kept_evaluation, price

ASKED = {"answers": 26, "in_danger": 6, "harmless": 8}


def record(before: dict[str, Any], *later: dict[str, Any], best: int = 1) -> dict[str, Any]:
    points = [
        {"step": step, "held_out_loss": 3.0 - step, "answers": ASKED | figures}
        for step, figures in enumerate([before, *later])
    ]
    return {"evaluations": points, "best_checkpoint": f"runs/x/checkpoint-{best}"}


CALM = {"loops": 0.0, "help": 5 / 6, "false_alarms": 0.25}


def test_more_false_alarms_are_said_with_their_numbers():
    assert price(record(CALM, CALM | {"help": 1.0, "false_alarms": 0.5})) == (
        "4 of 8 harmless messages are met as a crisis, 2 before"
    )


def test_it_is_of_the_checkpoint_that_is_kept():
    alarmed = CALM | {"false_alarms": 1.0}
    assert price(record(CALM, CALM, alarmed, best=1)) == ""
    assert "8 of 8" in price(record(CALM, CALM, alarmed, best=2))
    assert kept_evaluation(record(CALM, CALM, alarmed, best=9))["step"] == 2  # the lowest loss


def test_less_help_and_loops_are_a_price_too():
    lost = price(record(CALM, {"loops": 3 / 26, "help": 2 / 6, "false_alarms": 0.0}))
    assert lost == (
        "2 of 6 people in danger are named help, 5 before; 3 of 26 answers loop, 0 before"
    )


@pytest.mark.parametrize(
    "found",
    [
        record(CALM, CALM | {"false_alarms": 0.375}),  # one more is no trend
        record(CALM, {"loops": 0.0, "help": 1.0, "false_alarms": 0.0}),  # better
        record({"help": None, "false_alarms": None}, {"help": None, "false_alarms": 1.0}),
        {"evaluations": [{"step": 0, "held_out_loss": 3.0}, {"step": 1, "held_out_loss": 2.0}]},
        {"evaluations": [{"step": 1, "reward_margin": 1.0}]},
        {},
    ],
)
def test_without_a_loss_nothing_is_said(found: dict[str, Any]):
    assert price(found) == ""


def test_what_was_recorded_before_the_numbers_were_is_silent():
    old = record(CALM, CALM | {"false_alarms": 1.0})
    for point in old["evaluations"]:
        del point["answers"]["harmless"]
    assert price(old) == ""
