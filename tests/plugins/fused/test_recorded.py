"""When a pass is recorded and when launched; what a recording computes: test_recorded_cuda."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from plugins.fused.graph import MOST, Graphs


class Recording:
    """Doubles its input, and gives a gradient of seven."""

    def run_forward(self, batch: Any, x: torch.Tensor) -> torch.Tensor:
        return x * 2

    def run_backward(self, dy: torch.Tensor) -> list[torch.Tensor]:
        return [torch.full((1,), 7.0)]


class Passes:
    """Runs passes through one block, and says which were launched."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.weight = torch.ones(1, requires_grad=True)
        self.blocks: list[Any] = [SimpleNamespace(tensors=lambda: [self.weight])]
        self.graphs, self.launched, self.room, self.asked = Graphs(), 0, True, 0
        monkeypatch.setattr(Graphs, "_record", lambda *args: Recording())

    def run(self, tokens: int = 4) -> torch.Tensor:
        x = torch.ones(tokens, 2)
        begins = torch.zeros(1, tokens, dtype=torch.bool)
        batch: Any = SimpleNamespace(sequences=SimpleNamespace(begins=begins), offload=None)

        def launch() -> torch.Tensor:
            self.launched += 1
            return x * self.weight

        def has_room() -> bool:
            self.asked += 1
            return self.room

        return self.graphs.run(self.blocks, batch, x, launch, has_room)


@pytest.fixture
def passes(monkeypatch) -> Passes:
    return Passes(monkeypatch)


def test_a_shape_is_recorded_once_it_has_gone_back(passes) -> None:
    passes.run()
    passes.run().sum().backward()  # the one before never went back
    assert passes.launched == 2
    y = passes.run()
    assert passes.launched == 2 and (y == 2).all()
    y.sum().backward()
    assert passes.weight.grad.item() == 8 + 7


def test_another_shape_begins_anew_and_only_some_are_kept(passes) -> None:
    for tokens in range(1, MOST + 3):
        passes.run(tokens).sum().backward()
        passes.run(tokens).sum().backward()
    assert passes.launched == MOST + 2 * 2
    assert len(passes.graphs.shapes) == MOST


def test_a_pass_whose_backward_may_come_is_not_written_over(passes) -> None:
    passes.run().sum().backward()
    waiting = passes.run()
    assert passes.launched == 1
    passes.run()
    assert passes.launched == 2
    waiting.sum().backward()
    passes.run()
    assert passes.launched == 2


def test_a_pass_that_was_let_go_makes_way(passes) -> None:
    passes.run().sum().backward()
    waiting = passes.run()
    del waiting
    passes.run()
    assert passes.launched == 1


def test_a_second_backward_is_refused(passes) -> None:
    passes.run().sum().backward()
    loss = passes.run().sum()
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="backward once"):
        loss.backward()


def test_blocks_read_anew_are_recorded_anew(passes) -> None:
    passes.run().sum().backward()
    passes.run().sum().backward()
    passes.blocks = [SimpleNamespace(tensors=lambda: [passes.weight])]
    passes.run().sum().backward()
    assert passes.launched == 2
    passes.run()
    assert passes.launched == 2


def test_without_room_every_pass_is_launched(passes) -> None:
    passes.room = False
    for _ in range(3):
        passes.run().sum().backward()
    assert passes.launched == 3 and passes.asked == 1  # the moments come later: no more room then
