"""What makes a file's answers and loss a reason not to keep it; llama.cpp is a stub."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from eval.answers import Answer
from eval.release.export_proof import (
    LARGEST_RISE,
    Loss,
    odd_prompts,
    prove_answers,
    refuse_loss,
)
from recipes.runner.core.errors import UserError

MODEL: Any = SimpleNamespace(
    num_parameters=lambda: 10, generation_config=SimpleNamespace(eos_token_id=2)
)


class Server:
    """Ends its first answers by itself."""

    def __init__(self, ends: int) -> None:
        self.left = ends

    def answer(self, messages: Any, limit: int) -> tuple[str, bool]:
        self.left -= 1
        return " Yes.", self.left >= 0


@pytest.mark.parametrize(
    ("before", "ends", "exact", "kept"),
    [
        (25, 25, True, True),
        (25, 19, True, True),  # near ties
        (25, 18, True, False),
        (25, 18, False, True),
        (25, 12, False, False),
        (2, 0, True, False),  # few that ended, and none does now
        (0, 0, True, True),  # a base that never ends
    ],
)
def test_answers_that_end_by_themselves_still_do(
    monkeypatch: pytest.MonkeyPatch, before: int, ends: int, exact: bool, kept: bool
) -> None:
    answers = [Answer("Yes.", number < before, 3) for number in range(25)]
    monkeypatch.setattr("eval.generation.generate.generate", lambda *_: answers)
    server: Any = Server(ends)
    if kept:
        found = prove_answers(server, MODEL, None, exact, Path("x.gguf"))
        assert (found.asked, found.same, found.stopped_before) == (25, 25, before)
        assert found.no_longer_stop == before - ends
        return
    with pytest.raises(UserError, match=f"{before - ends} of {before} answers that ended by"):
        prove_answers(server, MODEL, None, exact, Path("x.gguf"))


@pytest.mark.parametrize("rise", [LARGEST_RISE + 0.001, float("nan")])
def test_a_type_that_costs_too_much(rise: float) -> None:
    refuse_loss(Loss(2.0, 2.1, LARGEST_RISE, 0.05, 0.15, 40), "q5_1", Path("x.gguf"))
    with pytest.raises(UserError, match=r"q4_0 adds .* to the held-out loss .*TYPE=q8_0"):
        refuse_loss(Loss(2.0, 2.0 + rise, rise, 0.05, 0.3, 40), "q4_0", Path("x.gguf"))


def test_the_odd_prompts_are_odd() -> None:
    prompts = odd_prompts()
    texts = [message["content"] for messages in prompts for message in messages]
    assert len(prompts) == 50 and sum(len(messages) > 2 for messages in prompts) >= 40
    assert all(messages[-1]["role"] == "user" for messages in prompts)
    for part in ("<|im_end|>", "<|endoftext|>", ">>QUESTION<<", "\U0001f62d", "\u6211", "\u200d"):
        assert any(part in text for text in texts), part
    assert any(text.startswith(" ") for text in texts) and any(
        text.endswith("\n") for text in texts
    )
    assert "" in texts  # an empty system message
