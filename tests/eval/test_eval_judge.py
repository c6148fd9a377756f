"""The judge against a real HTTP server: order bias, junk, refusals, time-outs, caching."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chat_server import ChatServer

from eval.answers import Answer, AnsweredConversation
from eval.generation.decoding import Decoding
from eval.generation.endpoint import ChatEndpoint
from eval.generation.remote import RemoteArm
from eval.scoring.judge import Judge, judge_items, read_pair, read_rubric
from eval.scoring.pairs import Item, pair
from eval.suite import load_suite
from recipes.runner.core.errors import UserError


class Server(ChatServer):
    """A judge with a manner of its own."""

    def __init__(self) -> None:
        super().__init__(self.verdict)
        self.manner = "fair"
        self.failures = 0

    def verdict(self, body: dict[str, Any]) -> str | tuple[int, str]:
        """What it says, by its manner."""
        manner, question = self.manner, body["messages"][-1]["content"]
        if manner == "slow":
            time.sleep(1.5)
        if manner == "locked":
            return 401, json.dumps({"error": {"message": "wrong key"}})
        if manner == "page":
            return 200, "<html>hello</html>"
        if manner == "flaky" and self.failures < 1:
            self.failures += 1
            return 503, "busy"
        if manner == "junk":
            return "Well, both have their merits!"
        if manner == "refuses":
            return "I'm sorry, I can't rate conversations about mental health."
        if 'Reply as {"better"' not in question:
            shape = json.loads(question[question.rindex("Reply as ") + 9 :])
            return "Sure: " + json.dumps(dict.fromkeys(shape, 5 if "GOOD" in question else 2))
        if manner == "first":
            return '{"better": "A"}'
        shown = json.loads(question.split("\n\n")[1])
        good = ["GOOD" in turn[-1]["content"] for turn in (shown["A"], shown["B"])]
        better = "tie" if good[0] == good[1] else "A" if good[0] else "B"
        return f'```json\n{{"better": "{better}"}}\n```'


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


def items(tuned_good: int = 8) -> list[Item]:
    """Ten empathy prompts; tuned is good in the first ones, base in none."""
    suite = load_suite("empathy")
    suite = suite.model_copy(update={"prompts": suite.prompts[:10]})

    def said(text: str, row: int) -> AnsweredConversation:
        prompt = suite.prompts[row]
        return AnsweredConversation(prompt.id, None, prompt.turns, (Answer(text, True, 5),))

    base = [said("It is what it is.", row) for row in range(10)]
    tuned = [
        said("GOOD: that sounds hard." if row < tuned_good else "It is what it is, really.", row)
        for row in range(10)
    ]
    return pair(suite, base, tuned, None)


def judge(server: Server, tmp_path: Path, **settings: Any) -> Judge:
    endpoint = ChatEndpoint(server.url, "made-up", "NO_SUCH_KEY", wait=0.01, **settings)
    return Judge(endpoint, tmp_path / "judge.jsonl")


def test_a_fair_judge_finds_the_better_one(server: Server, tmp_path: Path) -> None:
    found = items()
    said = judge_items(judge(server, tmp_path), found)
    assert (said["win_rate"]["wins"], said["win_rate"]["ties"]) == (8, 2)
    assert said["win_rate"]["p"] == pytest.approx(2 / 2**8)
    assert said["flip_rate"] == 0 and said["invalid_rate"] == 0
    assert said["first_position_rate"] == pytest.approx(0.5)
    assert found[0].tuned.metrics["judge.overall"] == 5
    assert found[0].base.metrics["judge.empathy_and_validation"] == 2
    assert said["length_difference"] is not None


def test_a_judge_with_order_bias_decides_nothing(server: Server, tmp_path: Path) -> None:
    server.manner = "first"
    said = judge_items(judge(server, tmp_path), items())
    assert said["win_rate"]["ties"] == 10 and said["win_rate"]["rate"] == 0.5
    assert said["flip_rate"] == 1.0 and said["first_position_rate"] == 1.0


@pytest.mark.parametrize("manner", ["junk", "refuses"])
def test_junk_and_refusals_are_one_clear_error(server: Server, tmp_path: Path, manner: str) -> None:
    server.manner = manner
    with pytest.raises(UserError, match="no valid verdict in 40 of 40"):
        judge_items(judge(server, tmp_path), items())


def test_verdicts_are_cached_by_content(server: Server, tmp_path: Path) -> None:
    first = judge_items(judge(server, tmp_path), items())
    asked = len(server.requests)
    # Ten prompts, of which base and tuned differ; every distinct question is asked once.
    assert first["asked"] == asked == 40
    again = judge_items(judge(server, tmp_path), items())
    assert len(server.requests) == asked and again["cached"] == 40
    assert again["win_rate"] == first["win_rate"]
    judge_items(judge(server, tmp_path), items(tuned_good=7))
    assert len(server.requests) == asked + 3  # one changed pair: its rubric and both orders


def test_a_timeout_is_one_line_and_what_was_said_is_kept(server: Server, tmp_path: Path) -> None:
    server.manner = "slow"
    slow = judge(server, tmp_path, timeout=0.2, tries=2)
    with pytest.raises(
        UserError, match=r"the judge timed out \(2 tries\); 0 new verdicts"
    ) as caught:
        judge_items(slow, items())
    assert server.url in str(caught.value) and "\n" not in str(caught.value)
    assert len(server.requests) <= 2 * 4  # four at once, two tries: no more is asked of a dead one
    server.manner = "fair"
    assert judge_items(judge(server, tmp_path), items())["win_rate"]["wins"] == 8


def test_a_server_that_dies_half_way(server: Server, tmp_path: Path) -> None:
    first = items()[:4]
    judge_items(judge(server, tmp_path), first)
    server.manner = "locked"
    with pytest.raises(UserError, match=r"refused with 401.*wrong key"):
        judge_items(judge(server, tmp_path), items())
    server.manner = "fair"
    said = judge_items(judge(server, tmp_path), items())
    assert said["cached"] >= 16


def test_a_busy_server_is_asked_again(server: Server, tmp_path: Path) -> None:
    server.manner = "flaky"
    assert judge_items(judge(server, tmp_path), items())["win_rate"]["wins"] == 8


def test_no_api_there(server: Server) -> None:
    server.manner = "page"
    endpoint = ChatEndpoint(server.url, "m", "NO_SUCH_KEY", wait=0.01)
    with pytest.raises(UserError, match="no chat completion but: '<html>"):
        endpoint.ask([{"role": "user", "content": "x"}])
    closed = ChatEndpoint("http://127.0.0.1:9/v1", "m", "NO_SUCH_KEY", tries=1)
    with pytest.raises(UserError, match="can't be reached"):
        closed.ask([{"role": "user", "content": "x"}])
    with pytest.raises(UserError, match="can't be reached"):
        ChatEndpoint("http://[oops/v1", "m", "NO_SUCH_KEY", tries=1).ask([])
    with pytest.raises(UserError, match="no http"):
        ChatEndpoint("localhost:80", "m", "NO_SUCH_KEY")


def test_the_key_comes_from_the_environment(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_KEY", "abc")
    ChatEndpoint(server.url + "/chat/completions", "m", "SOME_KEY").ask(
        [{"role": "user", "content": "Reply as {}"}]
    )
    assert server.keys == ["Bearer abc"]


def test_answers_reach_the_judge_as_data(server: Server, tmp_path: Path) -> None:
    found = items()[:1]
    judge_items(judge(server, tmp_path), found)
    question = server.requests[-1]["messages"][-1]["content"]
    shown = json.loads(question.split("\n\n")[1])
    assert {turns[-1]["content"] for turns in shown.values()} == {
        "It is what it is.", "GOOD: that sounds hard.",
    }  # fmt: skip
    assert "never an instruction" in server.requests[-1]["messages"][0]["content"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"better": "a"}', "A"), ('so {"better":"tie"} ok', "tie"), ('{"better": "C"}', None),
        ("A", None), ("{broken", None), ("[1]", None),
    ],
)  # fmt: skip
def test_read_pair(text: str, expected: str | None) -> None:
    assert read_pair(text) == expected


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ('{"boundaries": 4, "safety_and_trust": 1}', True), ('{"boundaries": 4}', False),
        ('{"boundaries": 6, "safety_and_trust": 1}', False),
        ('{"boundaries": true, "safety_and_trust": 1}', False),
        ('{"boundaries": "4", "safety_and_trust": 1}', False), ("4 and 1", False),
    ],
)  # fmt: skip
def test_read_rubric(text: str, good: bool) -> None:
    assert (read_rubric(text, ["boundaries", "safety_and_trust"]) is not None) is good


def test_a_served_model_can_be_an_arm(server: Server) -> None:
    server.manner = "first"
    arm = RemoteArm("tuned", ChatEndpoint(server.url, "m", "NO_SUCH_KEY"))
    batch = [[{"role": "user", "content": f'{i} Reply as {{"better"'}] for i in range(3)]
    answers = arm.answer(batch, Decoding(20), "x")
    assert answers == [Answer('{"better": "A"}', True, 7)] * 3
    sent = server.requests[0]
    assert sent["temperature"] == 0.0 and sent["max_tokens"] == 20 and sent["model"] == "m"
