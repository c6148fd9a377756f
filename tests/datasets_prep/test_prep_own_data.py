"""Our own data set: what it holds, and that nothing in it is near what judges the model."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from datasets_prep.crisis import crisis_help_in, detect_crisis
from datasets_prep.definition import DEFINITIONS, load_definition
from datasets_prep.where import parse_condition
from eval.checks.meaning import prefetch, read
from eval.suite import load_suites
from plugins.answers.prompts import read_prompts

ROWS = [
    json.loads(line)
    for line in (DEFINITIONS / "mental_health_support.jsonl").read_text().splitlines()
]
PROBES = read_prompts(Path(__file__).parents[2] / "plugins/answers/prompts.jsonl")
REPLAY = {
    "plain-fact", "instruction", "arithmetic", "howto", "rewrite", "code", "definition",
    "translation",
}  # fmt: skip
LOOKALIKES = {
    "idiom", "film-or-book", "game", "plant-or-pet", "work-hyperbole", "grief-without-danger",
    "pain-ordinary", "death-as-topic", "sports", "food-and-heat",
}  # fmt: skip
DECLINED = {"dose-declined", "diagnosis-declined", "method-declined"}


def words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9']+", text.lower().replace("\u2019", "'"))


def runs(text: str, length: int) -> set[tuple[str, ...]]:
    found = words(text)
    return {tuple(found[i : i + length]) for i in range(len(found) - length + 1)}


def near(text: str, other: str) -> str | None:
    """Eight words in a row shared, or half of all runs of three words: a near copy."""
    if shared := runs(text, 8) & runs(other, 8):
        return " ".join(min(shared))
    first, second = runs(text, 3), runs(other, 3)
    if len(first) >= 3 and len(second) >= 3 and len(first & second) >= 0.5 * len(first | second):
        return text
    return None


def test_nothing_is_near_a_suite_prompt() -> None:
    prompts = [turn for suite in load_suites(None) for p in suite.prompts for turn in p.turns]
    asked = [probe.content for probe in PROBES]
    said = [m["content"] for row in ROWS for m in row["messages"]]
    long, short = {}, {}
    for text in prompts:
        for run in runs(text, 8):
            long[run] = text
        for run in runs(text, 3):
            short.setdefault(run, set()).add(text)
    for text in [*said, *asked]:
        assert not runs(text, 8) & long.keys(), text
        rivals = Counter(p for run in runs(text, 3) for p in short.get(run, ()))
        for prompt, _ in rivals.most_common(3):
            assert near(text, prompt) is None, (text, prompt)


def test_a_near_copy_would_be_seen() -> None:
    prompt = "I promised her not to tell anyone. I should keep my word, right?"
    assert near("I promised her not to tell anyone. I should keep it, right?", prompt)
    assert near("well i promised her not to tell anyone. i should say it", prompt)
    assert near("I promised my sister a cake and I should keep my word", prompt) is None


def test_what_is_asked_while_training_is_not_trained_on() -> None:
    said = {run for row in ROWS for m in row["messages"] for run in runs(m["content"], 6)}
    for probe in PROBES:
        assert not runs(probe.content, 6) & said, probe.id


def test_sizes_and_balance() -> None:
    topics = Counter(row["topic"] for row in ROWS)
    danger = sum(n for topic, n in topics.items() if topic.startswith("crisis-"))
    assert len(ROWS) >= 700 and len({row["id"] for row in ROWS}) == len(ROWS)
    assert danger >= 150
    assert sum(topics[t] for t in LOOKALIKES) >= 150
    assert sum(topics[t] for t in DECLINED) >= 60
    assert min(topics[t] for t in topics if t.startswith("crisis-")) >= 15
    assert min(topics[t] for t in LOOKALIKES) >= 15
    assert max(topics.values()) <= 0.1 * len(ROWS)


def test_answers_are_short_and_end() -> None:
    for row in ROWS:
        for message in row["messages"]:
            if message["role"] == "assistant":
                assert len(words(message["content"])) <= 80, row["id"]
                assert re.search(r"[.!?`\"')\w%]$", message["content"]), row["id"]


@pytest.mark.parametrize(
    ("line", "most"),
    [("dangerous", 0.05), ("gives_dose", 0.04), ("diagnoses", 0.04), ("gives_method", 0.08)],
)
def test_hardly_any_answer_is_taken_for_one_that_crosses_a_red_line(line: str, most: float) -> None:
    """Read by meaning, which errs: what is seen in these good answers is a false alarm."""
    rows = [(row["id"], *(m["content"] for m in row["messages"][-2:])) for row in ROWS[::5]]
    prefetch((question, answer) for _, question, answer in rows)
    found = [name for name, question, answer in rows if read(question, answer).does(line)]
    assert len(found) <= most * len(rows), found


def test_danger_is_met_with_help_and_harmless_talk_is_not() -> None:
    for row in ROWS:
        answers = [m["content"] for m in row["messages"] if m["role"] == "assistant"]
        if row["topic"].startswith("crisis-"):
            asks = any(detect_crisis(a) or "?" in a for a in answers)
            assert asks or any(crisis_help_in(a) for a in answers), row["id"]
        if row["topic"] in LOOKALIKES | REPLAY:
            assert not any(crisis_help_in(a) for a in answers), row["id"]
    with_help = [
        any(crisis_help_in(m["content"]) for m in row["messages"] if m["role"] == "assistant")
        for row in ROWS
        if row["topic"].startswith("crisis-")
    ]
    assert sum(with_help) >= 0.97 * len(with_help)


def test_every_row_is_of_one_part_of_the_short_set() -> None:
    """No row is drawn twice as two parts, and none is forgotten but for its length."""
    parts = load_definition("mental_health_support_short")[0].parts()
    conditions = {part.part: [parse_condition(text) for text in part.where] for part in parts}
    counted: Counter[str] = Counter()
    for row in ROWS:
        of = [name for name, all_of in conditions.items() if all(c.holds(row) for c in all_of)]
        assert len(of) == 1, (row["id"], of)
        assert (of[0] == "talks") == (len(row["messages"]) > 2), row["id"]
        kinds = {"danger": row["topic"].startswith("crisis-"), "plain": row["topic"] in REPLAY}
        kinds["lookalikes"] = row["topic"] in LOOKALIKES
        assert of[0] == "talks" or kinds.get(of[0], not any(kinds.values())), (row["id"], of)
        counted[of[0]] += 1
    assert set(counted) == {"danger", "lookalikes", "plain", "everyday", "talks"}
