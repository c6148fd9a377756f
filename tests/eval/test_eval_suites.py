"""The shipped suites hold what is promised, and a fault in a suite is one line with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from eval.checks.registry import CHECKS
from eval.suite import load_suite, load_suites, suite_names
from recipes.runner.core.errors import UserError

SHIPPED = {
    "coherence": 30, "context": 30, "empathy": 30, "information": 30, "out_of_domain": 30,
    "safety": 60,
}  # fmt: skip

GOOD = """\
name: mine
title: Mine
about: A suite of the user's own.
primary: {metric: score, margin: 0.1}
checks:
  - {check: no_leak}
prompts:
  - id: one
    turns: ["Hello?"]
    tags: [first]
  - id: two
    turns: ["Hello again?", "And then?"]
    checks:
      - {check: length, min_words: 3}
"""


def test_shipped_suites_are_all_there_and_big_enough() -> None:
    assert set(suite_names()) >= set(SHIPPED)
    for name, least in SHIPPED.items():
        assert len(load_suite(name).prompts) >= least, name


def test_suite_of_the_documentation_is_a_suite(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "eval" / "README.md").read_text(encoding="utf-8")
    written = tmp_path / "billing.yaml"
    written.write_text(text.split("```yaml\n")[1].split("```")[0], encoding="utf-8")
    assert [prompt.id for prompt in load_suite(str(written)).prompts] == [
        "double-charge",
        "unclear",
    ]


def test_documentation_names_every_check_and_gate() -> None:
    text = (Path(__file__).parents[2] / "eval" / "README.md").read_text(encoding="utf-8")
    for name in (*CHECKS, "no_new_red_lines", "non_inferiority", "threshold"):
        assert f"`{name}`" in text, name


def test_context_has_four_turns() -> None:
    assert {len(prompt.turns) for prompt in load_suite("context").prompts} == {4}


def test_safety_covers_every_kind_and_gates() -> None:
    suite = load_suite("safety")
    tags = {tag for prompt in suite.prompts for tag in prompt.tags}
    assert tags >= {
        "explicit", "veiled", "indirect", "third_party", "method", "diagnosis", "dose",
        "jailbreak", "benign",
    }  # fmt: skip
    assert {gate.gate for gate in suite.gates} >= {"no_new_red_lines", "non_inferiority"}
    checked = {check.check for check in suite.checks}
    assert checked >= {
        "flags_risk", "no_abandoning", "names_crisis_help", "no_minimising", "no_method",
        "no_posing_as_human", "no_diagnosis",
    }  # fmt: skip


def test_out_of_domain_is_gated() -> None:
    assert "non_inferiority" in {gate.gate for gate in load_suite("out_of_domain").gates}


def test_no_prompt_stands_in_the_training_data() -> None:
    data = Path(__file__).parents[2] / "datasets_prep/definitions/mental_health_support.jsonl"
    text = data.read_text(encoding="utf-8")
    prompts = [turn for suite in load_suites(None) for p in suite.prompts for turn in p.turns]
    assert len(prompts) > 300
    assert [turn for turn in prompts if len(turn) > 25 and turn in text] == []


def write(tmp_path: Path, text: str) -> str:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return str(path)


def test_a_users_suite_loads(tmp_path: Path) -> None:
    suite = load_suite(write(tmp_path, GOOD))
    assert [len(suite.checks_of(prompt)) for prompt in suite.prompts] == [1, 2]
    assert len(load_suites([write(tmp_path, GOOD)], limit=1)[0].prompts) == 1


def test_nothing_to_score(tmp_path: Path) -> None:
    text = GOOD.replace("check: no_leak", "check: no_leak, scored: false")
    text = text.replace("min_words: 3", "min_words: 3, scored: false")
    with pytest.raises(UserError, match="score: no check is scored"):
        load_suite(write(tmp_path, text))


def test_a_limit_takes_of_every_kind() -> None:
    safety = load_suites(["safety"], limit=12)[0]
    tags = {prompt.tags[0] for prompt in safety.prompts}
    assert len(safety.prompts) == 12
    assert tags >= {"explicit", "veiled", "indirect", "third_party", "method", "benign"}
    assert len(load_suites(["safety"], limit=1000)[0].prompts) == len(load_suite("safety").prompts)


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("title: Mine", "titel: Mine", 2, "titel"),
        ("margin: 0.1", "margn: 0.1", 4, "Did you mean margin?"),
        (
            "check: no_leak",
            "check: no_leek",
            6,
            "there is no check 'no_leek'. Did you mean no_leak?",
        ),
        ("tags: [first]", "tag: [first]", 10, "Did you mean tags?"),
        ("min_words: 3", "min_word: 3", 14, "Did you mean min_words?"),
        ("min_words: 3", "min_words: three", 14, "is 'three', which is no whole number"),
        ("id: two", "id: one", 1, "'one' is there twice"),
        ("metric: score", "metric: scores", 4, "metric"),
        ("{check: no_leak}", "{check: no_leak, tags: [frist]}", 1, "Did you mean first?"),
        ("metric: score", "metric: check.no_leek", 1, "Did you mean no_leak?"),
        ('turns: ["Hello?"]', "turns: []", 9, "turns"),
        ("metric: score", "metric: chrf", 1, "chrf: no prompt has a reference"),
        ("metric: score", "metric: nll", 4, "metric"),
        ("{check: no_leak}", "{check: regex, pattern: '('}", 6, "no regular expression"),
        ("about:", "about: [", 4, "can't be read as YAML"),
        ("title: Mine", "title: no", 2, 'YAML reads no as false. Write "no" for text'),
        ("title: Mine", "title: Mine\ntitle: Yours", 3, "title: is given twice"),
    ],
)
def test_faults(tmp_path: Path, old: str, new: str, line: int, words: str) -> None:
    assert old in GOOD
    with pytest.raises(UserError) as caught:
        load_suite(write(tmp_path, GOOD.replace(old, new, 1)))
    message = str(caught.value)
    assert words in message and "\n" not in message
    assert f"mine.yaml:{line}:" in message, message


def test_zero_prompts(tmp_path: Path) -> None:
    text = GOOD[: GOOD.index("prompts:")] + "prompts: []\n"
    with pytest.raises(UserError, match=r"mine.yaml:7: prompts"):
        load_suite(write(tmp_path, text))


def test_unknown_suite_names_the_nearest() -> None:
    with pytest.raises(UserError, match="Did you mean safety"):
        load_suite("saftey")


def test_two_suites_of_one_name(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    with pytest.raises(UserError, match="two suites"):
        load_suites([path, path])
