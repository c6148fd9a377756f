"""GPUS, STRATEGY and the rest: what is launched, and what is refused in words."""

import pytest

from recipes.runner.core.errors import UserError
from recipes.runner.launch import strategy
from recipes.runner.launch.strategy import Wanted, plan_launch


@pytest.fixture
def eight_gpus(monkeypatch):
    monkeypatch.setattr(strategy, "count_gpus", lambda: 8)


def test_all_visible_gpus_by_default(eight_gpus):
    launch = plan_launch(Wanted())
    assert launch.processes == 8
    assert launch.flags[:4] == [
        "--config_file",
        "recipes/accelerate/ddp.yaml",
        "--num_processes",
        "8",
    ]


def test_machines_reach_accelerate(eight_gpus):
    wanted = Wanted(nodes="4", node_rank="1", master="10.0.0.1:29500")
    flags = plan_launch(wanted).flags
    assert flags[flags.index("--num_processes") + 1] == "32"
    assert flags[-4:] == ["--main_process_ip", "10.0.0.1", "--main_process_port", "29500"]


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (Wanted(gpus="9"), "9 GPUs asked for, 8 visible"),
        (Wanted(gpus="many"), "GPUS: 'many' is no number"),
        (
            Wanted(gpus="1", strategy="zero3"),
            "zero3 shares a model between GPUs, and this run has 1",
        ),
        (Wanted(gpus="0", processes="2", strategy="fsdp"), "and this run has none"),
        (Wanted(strategy="dpd"), "Did you mean ddp"),
        (Wanted(nodes="2"), "several machines need NODE_RANK and MASTER"),
        (Wanted(gpus="2", processes="4"), "a GPU carries one process"),
    ],
)
def test_what_cannot_be_is_refused(eight_gpus, wanted, words):
    with pytest.raises(UserError, match=words):
        plan_launch(wanted)


@pytest.mark.parametrize(
    ("visible", "gpus", "seen"),
    [("", "1", "0"), ("", "3", "0,1,2"), ("4,GPU-5a,7", "2", "4,GPU-5a"), ("", "0", "")],
)
def test_fewer_gpus_than_there_are_hide_the_others(eight_gpus, monkeypatch, visible, gpus, seen):
    """One process that saw two would have the Trainer split each batch between them."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert plan_launch(Wanted(gpus=gpus)).environment == {"CUDA_VISIBLE_DEVICES": seen}
    assert plan_launch(Wanted()).environment == {}
