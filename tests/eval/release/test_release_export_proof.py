"""What makes a file's answers and loss a reason not to keep it; llama.cpp is a stub."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tiny_chat import make_tokenizer

from eval.answers import Answer
from eval.release.export_proof import (
    LARGEST_RISE,
    Loss,
    askable_prompts,
    count_answers,
    odd_prompt_ids,
    odd_prompts,
    prove_answers,
    refuse_answers,
    refuse_loss,
)
from eval.release.greedy import greedy_answers
from recipes.runner.core.errors import UserError

MODEL: Any = SimpleNamespace(
    num_parameters=lambda: 10, generation_config=SimpleNamespace(eos_token_id=2)
)


TOKENIZER: Any = SimpleNamespace(apply_chat_template=lambda *_, **__: [1])


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
        (50, 50, True, True),
        (50, 46, True, True),  # near ties: four the same way are chance still
        (50, 45, True, False),
        (50, 48, False, True),  # one in 20, rounded down
        (50, 47, False, False),
        (30, 28, False, True),
        (30, 27, False, False),
        (2, 0, False, True),
        (0, 0, False, True),  # a base that never ends
        (10, 50, False, True),  # a type that ends more
    ],
)
def test_answers_that_end_by_themselves_still_do(
    monkeypatch: pytest.MonkeyPatch, before: int, ends: int, exact: bool, kept: bool
) -> None:
    answers = [Answer("Yes.", number < before, 3) for number in range(50)]
    monkeypatch.setattr("eval.generation.generate.generate", lambda *_: answers)
    server: Any = Server(ends)
    if kept:
        found = prove_answers(server, MODEL, TOKENIZER, exact, "q4_0", Path("x.gguf"))
        assert (found.asked, found.same, found.stopped_before) == (50, 50, before)
        assert found.lost == before - ends == found.no_longer_stop - found.newly_stop
        return
    with pytest.raises(UserError, match=f"in q4_0 {before - ends} of 50 answers .* run on") as said:
        prove_answers(server, MODEL, TOKENIZER, exact, "q4_0", Path("x.gguf"))
    assert ("make serve" if exact else "Take TYPE=q8_0,") in str(said.value)


def test_answers_that_newly_end_weigh_those_up_that_no_longer_do() -> None:
    """By hand: 5 of 7 pairs one way have a chance of (21 + 7 + 1) / 128; 5 of 5, 1 / 32."""
    both = [(True, True)] * 43
    found = count_answers(9, both + [(True, False)] * 5 + [(False, True)] * 2)
    assert (found.no_longer_stop, found.newly_stop, found.lost) == (5, 2, 3)
    assert found.chance == pytest.approx(29 / 128)
    assert (found.stopped, found.stopped_before) == (45, 48)
    refuse_answers(found, exact=True, outtype="bf16", file=Path("x.gguf"))
    with pytest.raises(UserError, match="and 2 the other way: 3 more, and 2 more may"):
        refuse_answers(found, exact=False, outtype="q8_0", file=Path("x.gguf"))
    one_way = count_answers(9, both + [(True, False)] * 5)
    assert one_way.chance == pytest.approx(1 / 32)
    with pytest.raises(UserError, match=r"chance 0\.031"):
        refuse_answers(one_way, exact=True, outtype="bf16", file=Path("x.gguf"))


def test_the_models_own_answers_are_given_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given: list[int] = []

    def generate(model: Any, tokenizer: Any, batch: list[Any], *_: Any) -> list[Answer]:
        given.append(len(batch))
        return [Answer("\u6211.", number > 3, 3, ("<s>",)) for number in range(len(batch))]

    monkeypatch.setattr("eval.generation.generate.generate", generate)
    asked = odd_prompts()
    first = greedy_answers(MODEL, None, asked, 16, [2], tmp_path)
    again = greedy_answers(MODEL, None, asked, 16, [2], tmp_path)
    assert again == first and [one.stopped for one in again].count(True) == 46
    assert given == [50]
    greedy_answers(MODEL, None, asked, 32, [2], tmp_path)  # another limit, others' answers
    greedy_answers(MODEL, None, asked[:3], 32, [2], tmp_path)
    (tmp_path / "greedy.json").write_text("{")
    greedy_answers(MODEL, None, asked, 16, [2], tmp_path)
    greedy_answers(MODEL, None, asked, 16, [2], None)
    assert given == [50, 50, 3, 50, 50]


def test_a_template_without_a_place_for_the_system_is_asked_the_rest() -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = (
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}"
        "{% endif %}{{ m.content }}{% endfor %}"
    )
    taken = askable_prompts(tokenizer)
    assert 30 < len(taken) < 50 and all(messages[0]["role"] == "user" for messages in taken)
    assert len(odd_prompt_ids(tokenizer)) == len(taken)
    tokenizer.chat_template = "{{ raise_exception('never') }}"
    with pytest.raises(UserError, match="chat_template: can't be rendered: never"):
        askable_prompts(tokenizer)


def test_of_a_large_model_every_third_prompt_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [Answer("Yes.", True, 3)] * 17
    monkeypatch.setattr("eval.generation.generate.generate", lambda *_: answers)
    large = SimpleNamespace(**{**vars(MODEL), "num_parameters": lambda: 7_000_000_000})
    ending: Any = Server(17)
    assert prove_answers(ending, large, TOKENIZER, False, "q4_0", Path("x.gguf")).asked == 17
    lost: Any = Server(15)
    with pytest.raises(UserError, match="1 more may"):
        prove_answers(lost, large, TOKENIZER, False, "q4_0", Path("x.gguf"))


@pytest.mark.parametrize("rise", [LARGEST_RISE + 0.001, float("nan")])
def test_a_type_that_costs_too_much(rise: float) -> None:
    refuse_loss(Loss(2.0, 2.1, LARGEST_RISE, 0.05, 0.15, 40), "q5_1", Path("x.gguf"))
    with pytest.raises(UserError, match=r"q4_0 adds .* to the held-out loss .*TYPE=q8_0,"):
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
