"""Loops are found in any script; lists, refrains and breathing exercises are let be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets_prep.loops import ends_in_loop, loop_in

LOOPS = [
    "I am here for you. " * 8,
    "You can tell your boss that you need time off. You can tell your boss that you need some time "
    "off. You can tell your boss that you need time off for yourself. You can tell your boss so.",
    "A car has four wheels. Every car is a car. A car coming back is a car with four wheels. Every "
    "car is a car coming back. A car has four wheels. Every car is a car.",
    # Small variations: a counter, a changing last word.
    " ".join(f"{i}. Write down how you feel about day {i}." for i in range(1, 9)),
    " ".join(f"You can try to talk to your {who} about it." for who in
             ("mother", "father", "sister", "brother", "friend", "boss", "aunt")),
    # One word or two, and signs.
    "Yes. " * 9,
    "I think, I think, I think, I think, I think, I think, I think",
    "It helps!!!!!!!!!!!!!!!!!!!!!!!!!!!!",
    "haha" * 10,
    "\U0001f602" * 20,
    # It begins well and ends badly.
    "A panic attack is a sudden rush of fear. The heart races, the breath is short, and it feels "
    "as if something terrible were about to happen, but it peaks within ten minutes and passes. "
    "Slow breathing helps, and so does cold water. " + "It is a good idea to see a doctor. " * 6,
    # Scripts with and without spaces.
    "Я понимаю, что вам тяжело, и я рядом. " * 5,
    "أنا هنا من أجلك في كل وقت. " * 5,
    "मैं आपकी बात समझ सकता हूँ। " * 5,
    "你好、我很高兴见到你。" * 6,
    "気持ちはよくわかります。" * 6,
    "ฉันเข้าใจว่าคุณรู้สึกเศร้า" * 5,
]  # fmt: skip
SOUND = [
    "",
    "Okay.",
    "No, no, no, no!",
    "Okay. I'm here. Breathe in, two, three, four. Breathe out, two, three, four. Breathe in. "
    "Breathe out. You're in a parked car and nothing has to happen next. What color is the car?",
    "In for four. Hold. Out for six. In for four. Hold. Out for six. Feet on the floor. If the "
    "chest pain stays, have someone take you in.",
    "I am sorry. I lost my brother too when I was young. I remember the smoke. I remember my mum. "
    "I remember the day they told me. You can talk to a grief group.",
    "1. Call a friend. 2. Write it down. 3. Go outside. 4. Drink a glass of water. 5. Sleep.",
    "You can call 988, text HOME to 741741, call 116 123, or 0800 1111 if you are under 19.",
    "Here are three ways:\n\n--------------------------------\n\n| a | b |\n|---|---|\n| c | d |",
    "今天天气很好、我们去公园散步吧、那里有很多花、还有小孩子在玩耍、老人们在下棋。",
    "つらいですね。よければ、今日あったことを少しずつ話してみてください。急がなくて大丈夫です。",
]


@pytest.mark.parametrize("text", LOOPS)
def test_found(text: str) -> None:
    assert loop_in(text)


@pytest.mark.parametrize("text", SOUND)
def test_let_be(text: str) -> None:
    assert loop_in(text) is None and not ends_in_loop(text)


def test_what_repeats_is_named() -> None:
    assert loop_in("I am here for you. " * 8) in ("i am here", "am here for", "here for you")
    assert loop_in("Yes. " * 9) == "yes"
    assert loop_in("你好、我很高兴见到你。" * 6) is not None


def test_no_answer_that_people_wrote_loops() -> None:
    folder = Path(__file__).parents[2] / "datasets_prep" / "definitions"
    rows = (folder / "mental_health_support.jsonl").read_text(encoding="utf-8").splitlines()
    texts = [m["content"] for row in rows for m in json.loads(row)["messages"]
             if m["role"] == "assistant"]  # fmt: skip
    assert len(texts) > 300
    assert [text for text in texts if loop_in(text)] == []


def test_a_loop_is_seen_while_it_is_written_and_only_then() -> None:
    """Long before the limit, and never where the whole text would be sound."""
    opening = "That sounds hard, and I am glad that you wrote to me about it tonight. "
    text = opening + "You can talk to a friend about it. " * 30
    first = next(n for n in range(len(text)) if ends_in_loop(text[:n]))
    assert len(opening) < first < len(opening) + 400
    assert loop_in(text[:first])
    refrain = "You can call a nurse. You can call a friend. You can call a line. "
    assert not any(ends_in_loop(refrain[:n]) for n in range(len(refrain)))


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=300))
def test_any_text_is_read(text: str) -> None:
    found = loop_in(text)
    assert found is None or found
    if ends_in_loop(text):
        assert found


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(["alder", "birch", "cedar", "elm", "fir", "hazel"]),
                min_size=4, max_size=9), st.integers(6, 12))  # fmt: skip
def test_any_phrase_said_six_times_is_one(words: list[str], times: int) -> None:
    assert loop_in(". ".join([" ".join(words)] * times))
