"""A user's regular expression is refused with its reason, and never waited for."""

from __future__ import annotations

import json
import re
import signal
import threading
import time
from pathlib import Path

import pytest

from recipes.runner.check.check import problems_of
from recipes.runner.core.errors import UserError
from recipes.runner.core.patterns import BadPattern, guarded, search

# Tries every way of parting a path before it gives up.
SLOW = "((([a-z0-9._]+)+)+)+X"
PATH = "model.layers.0.self_attn.q_proj" + "a" * 40


def test_a_match_without_end_is_stopped() -> None:
    started = time.process_time()
    with pytest.raises(BadPattern, match="took over"), guarded(0.2):
        re.fullmatch(SLOW, PATH)
    assert time.process_time() - started < 5


@pytest.mark.parametrize("expression", ["(a", "a{99999999999999999999}", "(" * 9_000 + ")" * 9_000])
def test_what_is_no_expression_says_why(expression: str) -> None:
    with pytest.raises(BadPattern, match="is no regular expression"), guarded():
        re.compile(expression)


def test_nothing_is_left_of_the_clock() -> None:
    before = signal.getsignal(signal.SIGVTALRM)
    with guarded(0.5):
        assert re.fullmatch("a+", "aaa")
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGVTALRM) == before


def test_another_thread_is_not_timed_and_not_refused() -> None:
    found: list[object] = []

    def match() -> None:
        with guarded():
            found.append(re.fullmatch("a+", "aaa"))

    thread = threading.Thread(target=match)
    thread.start()
    thread.join()
    assert found and found[0]


def test_a_search_of_a_row_says_where_the_expression_stands(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("recipes.runner.core.patterns.ON_TEXT", 0.2)
    with pytest.raises(UserError, match="took over") as refused:
        search(re.compile(SLOW), PATH, "filter.toxic_phrases")
    assert refused.value.where == "filter.toxic_phrases"


# Each key by which a recipe reaches a matcher, with the base that it is matched against.
KEYS = {
    "lora_target_modules": {"adapter": "lora", "lora_target_modules": SLOW},
    "lora_rank_pattern": {
        "adapter": "lora",
        "lora_target_modules": ["q_proj"],
        "lora_rank_pattern": {SLOW: 8},
    },
    "peft_layers_pattern": {
        "adapter": "lora",
        "lora_target_modules": ["q_proj"],
        "peft_layers_to_transform": [0],
        "peft_layers_pattern": [SLOW],
    },
    "unfrozen_parameters": {"unfrozen_parameters": [SLOW]},
    "optim_target_modules": {"optimizer": "galore_adamw", "optim_target_modules": [SLOW]},
}


@pytest.mark.parametrize("key", KEYS)
def test_check_refuses_an_expression_that_tries_for_ever(
    key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guarded.__wrapped__, "__defaults__", (0.2,))  # type: ignore[attr-defined]
    config = {
        "base_model": "Qwen/Qwen2.5-7B-Instruct",
        "lora_r": 8,
        "lora_alpha": 16,
        "datasets": [{"path": "eval/labelled/hand_f.jsonl", "type": "alpaca"}],
        **KEYS[key],
    }
    path = tmp_path / "slow.yaml"
    path.write_text(json.dumps(config), encoding="utf-8")
    errors = [str(error) for error in problems_of(path)]
    assert [error for error in errors if key in error and "took over" in error], errors
