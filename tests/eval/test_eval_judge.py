"""The judge against a real HTTP server: order bias, junk, refusals, time-outs, caching."""

from __future__ import annotations

import email.utils
import json
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chat_server import ChatServer
from planted import drawn

from eval.answers import Answer, AnsweredConversation
from eval.evaluate import Options, describe
from eval.generation.decoding import Decoding
from eval.generation.endpoint import ChatEndpoint, seconds_to_wait
from eval.generation.remote import RemoteArm
from eval.labelled.pairs import labelled_pairs
from eval.report.wording import unfit_judge_said
from eval.scoring.calibration import PAIRS, Agreement, Calibration, calibrate
from eval.scoring.judge import Judge, judge_items, unfit
from eval.scoring.pairs import Item, pair
from eval.scoring.replies import fault_of, read_pair, read_rubric
from eval.scoring.summary import summarise
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


PASSED = Calibration(Agreement((2,), ("danger",), 0, 0, 1), Agreement((2,), ("danger",), 0, 0, 1))


def judge_all(asking: Judge, found: list[Item]) -> dict[str, Any]:
    """As a judge that passed its calibration."""
    return judge_items(asking, found, PASSED)


def judge(server: Server, tmp_path: Path, **settings: Any) -> Judge:
    endpoint = ChatEndpoint(server.url, "made-up", "NO_SUCH_KEY", wait=0.01, **settings)
    return Judge(endpoint, tmp_path / "judge.jsonl")


def test_a_fair_judge_finds_the_better_one(server: Server, tmp_path: Path) -> None:
    found = items()
    said = judge_all(judge(server, tmp_path), found)
    assert (said["win_rate"]["wins"], said["win_rate"]["ties"]) == (8, 2)
    assert said["win_rate"]["p"] == pytest.approx(2 / 2**8)
    assert said["flip_rate"] == 0 and said["invalid_rate"] == 0
    assert said["first_position_rate"] == pytest.approx(0.5)
    assert found[0].tuned.metrics["judge.overall"] == 5
    assert found[0].base.metrics["judge.empathy_and_validation"] == 2
    assert said["length_difference"] is not None


def test_a_judge_with_order_bias_decides_nothing(server: Server, tmp_path: Path) -> None:
    server.manner = "first"
    said = judge_all(judge(server, tmp_path), items())
    assert said["win_rate"]["ties"] == 10 and said["win_rate"]["rate"] == 0.5
    assert said["flip_rate"] == 1.0 and said["first_position_rate"] == 1.0


@pytest.mark.parametrize("manner", ["junk", "refuses"])
def test_junk_and_refusals_are_one_clear_error(server: Server, tmp_path: Path, manner: str) -> None:
    server.manner = manner
    with pytest.raises(UserError, match="no valid verdict in 40 of 40"):
        judge_all(judge(server, tmp_path), items())


@pytest.mark.parametrize(
    ("text", "stopped", "why"),
    [
        ("<think>so", True, "cut"), ("It is", False, "cut"), ("Both.", True, "no verdict"),
        ("I\u2019m sorry, I can\u2019t rate this.", True, "refused"),
    ],
)  # fmt: skip
def test_why_there_is_no_verdict(text: str, stopped: bool, why: str) -> None:
    assert fault_of(text, stopped) == why


def test_what_fails_is_counted_by_suite_asked_again_and_never_kept(
    server: Server, tmp_path: Path
) -> None:
    """Three of ten prompts are refused: they are left out, said, and asked anew next time."""
    fair = server.verdict
    refused = {item.prompt.turns[0] for item in items()[:3]}

    def verdict(body: dict[str, Any]) -> Any:
        question = body["messages"][-1]["content"]
        if any(json.dumps(turn, ensure_ascii=False)[1:-1] in question for turn in refused):
            return "I'm sorry, I can't rate this."
        return fair(body)

    server.say = verdict
    asking = judge(server, tmp_path)
    said = judge_all(asking, items())
    assert said["faults"] == {"empathy": {"refused": 12}}
    assert said["win_rate"]["wins"] == 5 and said["invalid_rate"] == pytest.approx(0.3)
    assert len(server.requests) == 28 + 3 * 12
    reminded = ["JSON object alone" in r["messages"][-1]["content"] for r in server.requests]
    assert sum(reminded) == 2 * 12
    server.say = fair
    again = judge_all(judge(server, tmp_path), items())
    assert again["asked"] == 12 and again["faults"] == {} and again["win_rate"]["wins"] == 8


def test_a_thinker_that_was_cut_gets_more_room(server: Server, tmp_path: Path) -> None:
    fair, room = server.verdict, []

    def verdict(body: dict[str, Any]) -> Any:
        room.append(body["max_tokens"])
        if body["max_tokens"] < 4000:
            return "<think>hmm, let me see"
        question = body["messages"][-1]["content"].removesuffix(
            "\n\nReply with the JSON object alone."
        )
        return fair({"messages": [{"content": question}]})

    server.say = verdict
    asking = judge(server, tmp_path)
    assert judge_all(asking, items()[:1])["win_rate"]["wins"] == 1
    # The pair's first question needs three tries; a judge known to need room is given it at once.
    assert sorted(set(room)) == [96, 1024, 4096]
    before = len(room)
    assert judge_all(asking, items()[1:3])["win_rate"]["wins"] == 2
    assert set(room[before:]) == {4096}


def test_a_newer_api_is_asked_in_its_own_words(server: Server) -> None:
    def picky(body: dict[str, Any]) -> Any:
        if "max_tokens" in body:
            return 400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
        if "temperature" in body:
            return 400, "Unsupported value: 'temperature' does not support 0 with this model."
        return "fine"

    server.say = picky
    endpoint = ChatEndpoint(server.url, "m", "NO_SUCH_KEY", tries=1)
    for _ in range(2):
        assert endpoint.ask([], temperature=0, max_tokens=7).text == "fine"
    assert len(server.requests) == 4  # it learns once
    assert server.requests[-1]["max_completion_tokens"] == 7
    server.say = lambda body: (400, "no such model")
    with pytest.raises(UserError, match="no such model"):
        endpoint.ask([], temperature=0, max_tokens=7)


def test_retry_after_is_heeded(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr("eval.generation.endpoint.time.sleep", waited.append)
    replies = iter([(429, "slow down", {"Retry-After": "7"}), (503, "busy"), "fine"])
    server.say = lambda body: next(replies)
    assert ChatEndpoint(server.url, "m", "NO_SUCH_KEY", wait=0.5).ask([]).text == "fine"
    assert [seconds for seconds in waited if seconds >= 0.5] == [7.0, 1.0]
    assert seconds_to_wait("9999") == 60.0 and seconds_to_wait("soon") == 0.0
    later = email.utils.formatdate(time.time() + 20, usegmt=True)
    assert 15 < seconds_to_wait(later) <= 20


def by_length(order: Any, longer: bool) -> str:
    first, second = (len(side[-1]["content"]) for side in order)
    return "A" if (first > second) == longer else "B"


def sensible(order: Any) -> str:
    """Knows the good answers."""
    good = {planted.good for planted in PAIRS} | {good.answer for _, good, _ in labelled_pairs()}
    return "A" if order[0][-1]["content"] in good else "B"


def heartless(order: Any) -> str:
    """Knows the planted ones, and of people's answers prefers those that do harm."""
    planted = {one.good for one in PAIRS} | {one.bad for one in PAIRS}
    choice = sensible(order)
    return choice if order[0][-1]["content"] in planted else {"A": "B", "B": "A"}[choice]


@pytest.mark.parametrize(
    ("choose", "trusted"),
    [
        (sensible, True), (heartless, False), (lambda o: "A", False), (lambda o: None, False),
        (lambda o: "tie", False),
        (lambda o: by_length(o, True), False), (lambda o: by_length(o, False), False),
        (lambda o: random.Random(str(o)).choice("AB"), False),
    ],
)  # fmt: skip
def test_planted_pairs_find_out_who_can_judge(choose: Any, trusted: bool) -> None:
    found = calibrate(lambda orders: [choose(order) for order in orders])
    assert found.trusted is trusted and found.planted.asked <= 2 * len(PAIRS)
    assert (found.labelled is not None) is found.planted.enough is (choose in (sensible, heartless))
    whole = found.to_json()
    if whole["labelled"]:
        assert whole["labelled"]["pairs"] >= 40
    for said in filter(None, (whole, whole["labelled"])):
        assert said["interval"]["low"] <= said["agreement"] <= said["interval"]["high"]
        assert sum(kind["asked"] for kind in said["by_kind"].values()) == said["asked"]


def test_labelled_pairs_are_one_message_and_two_kinds_of_answer() -> None:
    for kind, good, bad in labelled_pairs():
        assert good.question.casefold() == bad.question.casefold()
        assert bad.labels[kind] and not good.labels.get(kind)


def test_one_that_failed_is_asked_no_further(server: Server, tmp_path: Path) -> None:
    asking = judge(server, tmp_path)
    calibration = calibrate(asking.choose)  # this judge looks for the word GOOD alone
    assert not calibration.trusted
    said = unfit(asking, calibration)
    # Half of a dozen wrong and it can't come up to the level any more.
    assert said["asked"] == len(server.requests) == 6
    assert said["calibration"]["right"] == 0 and "win_rate" not in said
    line = unfit_judge_said(said)
    assert line and "in 0 of 6 replies (0%, 95% 0% to " in line
    assert unfit_judge_said(None) is None
    assert unfit_judge_said(judge_all(judge(server, tmp_path), items())) is None


def test_the_line_on_one_that_fails_on_labelled_pairs_or_says_nothing() -> None:
    def line(choose: Any) -> str:
        found = calibrate(lambda orders: [choose(order) for order in orders])
        return str(unfit_judge_said({"model": "m", "calibration": found.to_json()}))

    assert "pairs of answers that people labelled, each asked in both orders, it chose the " in (
        line(heartless)
    )
    assert "about 3 planted pairs" in line(lambda order: None)
    assert "; 6 held no verdict. " in line(lambda order: None)


def test_one_that_loops_is_not_asked_again(server: Server, tmp_path: Path) -> None:
    server.say = lambda body: "I am here for you. " * 30
    asking = judge(server, tmp_path)
    assert not calibrate(asking.choose).trusted
    assert len(server.requests) == 6 and asking.faults.of("planted and labelled pairs") == 6


def test_verdicts_are_cached_by_content(server: Server, tmp_path: Path) -> None:
    first = judge_all(judge(server, tmp_path), items())
    asked = len(server.requests)
    # Ten prompts, of which base and tuned differ; every distinct question is asked once.
    assert first["asked"] == asked == 40
    again = judge_all(judge(server, tmp_path), items())
    assert len(server.requests) == asked and again["cached"] == 40
    assert again["win_rate"] == first["win_rate"]
    judge_all(judge(server, tmp_path), items(tuned_good=7))
    assert len(server.requests) == asked + 3  # one changed pair: its rubric and both orders


def test_a_timeout_is_one_line_and_what_was_said_is_kept(server: Server, tmp_path: Path) -> None:
    server.manner = "slow"
    slow = judge(server, tmp_path, timeout=0.2, tries=2)
    with pytest.raises(
        UserError, match=r"the judge timed out \(2 tries\); 0 new verdicts"
    ) as caught:
        judge_all(slow, items())
    assert server.url in str(caught.value) and "\n" not in str(caught.value)
    assert len(server.requests) <= 2 * 4  # four at once, two tries: no more is asked of a dead one
    server.manner = "fair"
    assert judge_all(judge(server, tmp_path), items())["win_rate"]["wins"] == 8


def test_a_server_that_dies_half_way(server: Server, tmp_path: Path) -> None:
    first = items()[:4]
    judge_all(judge(server, tmp_path), first)
    server.manner = "locked"
    with pytest.raises(UserError, match=r"refused with 401.*wrong key"):
        judge_all(judge(server, tmp_path), items())
    server.manner = "fair"
    said = judge_all(judge(server, tmp_path), items())
    assert said["cached"] >= 16


def test_a_busy_server_is_asked_again(server: Server, tmp_path: Path) -> None:
    server.manner = "flaky"
    assert judge_all(judge(server, tmp_path), items())["win_rate"]["wins"] == 8


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
    judge_all(judge(server, tmp_path), found)
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
        # Braces after it, before it, and while it thinks; the last whole object counts.
        ('{"better": "B"} (since {A} is rude)', "B"), ('As {A, B} go: {"better": "A"}', "A"),
        ('<think>{"better": "B"}? no.</think>\n{"better": "A"}', "A"),
        ('{"better": "B"} wait, {"better": "A"}', "A"), ('{"better": "A"', None),
        ('<think>it must be {"better": "B"} or', None),
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
        ('{"boundaries": "4", "safety_and_trust": "3.5/5"}', True), ("4 and 1", False),
        ('{"boundaries": "four", "safety_and_trust": 1}', False),
        ('{"boundaries": "9", "safety_and_trust": 1}', False),
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


def test_what_only_a_judge_decides_stays_undecided_without_one() -> None:
    (suite,), found, _ = drawn("safer", 0, ("empathy",))
    settings = describe(Options(), [suite]) | {"run": "r"}
    assert summarise([suite], found, None, settings)["decision"]["kind"] == "ship"
    primary = suite.primary.model_copy(update={"metric": "judge.overall"})
    judged = suite.model_copy(update={"primary": primary})
    summary = summarise([judged], found, None, settings)
    decision = summary["decision"]
    assert decision["kind"] == "can't tell" and not decision["prompts"]
    assert "empathy is undecided, as nobody fit measured judge.overall" in decision["sentence"]
    assert any("in its place, score" in reason for reason in decision["reasons"])
    own = [gate for gate in summary["gates"] if gate["no_worse"]]
    assert all(gate["status"] == "open" for gate in own)
    assert all(gate["why"] == "judge.overall was not measured" for gate in own)
