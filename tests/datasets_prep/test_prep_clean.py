"""Clean: what is fixed, what is left alone, and that the ledger says so exactly."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from prep_data import reasons, talk

from datasets_prep.clean import Cleaner
from datasets_prep.conversation import Ledger
from datasets_prep.glue import GLUED, MAY_BE_GLUED, split_glued
from datasets_prep.settings import CleanSettings


def cleaned(text: str, **off: Any) -> str:
    row = talk(text)
    Cleaner(CleanSettings(**off))(row, Ledger("clean"))
    return row.messages[0].content


@pytest.mark.parametrize(
    ("glued", "apart"),
    [
        ("I agree with.Seriously, stop", "I agree with. Seriously, stop"),
        ("Are you ok?I hope so", "Are you ok? I hope so"),
        ("Stop it!Now rest", "Stop it! Now rest"),
        ("(so he said).Then he left", "(so he said). Then he left"),
        ("so I can't.But then", "so I can't. But then"),
        ("consider the following:What is it", "consider the following: What is it"),
        ("Hi there,Thank you", "Hi there, Thank you"),
        ("cross your arms.6. Remember that", "cross your arms. 6. Remember that"),
        ('He said "go."Then I went', 'He said "go." Then I went'),
        ('It is a behavior."Coping" is next', 'It is a behavior. "Coping" is next'),
        ("during the argumentDiscuss what you feel", "during the argument. Discuss what you feel"),
        ("it helps with depressionIf you rest", "it helps with depression. If you rest"),
        ("read www.a-site.org today.Then rest", "read www.a-site.org today. Then rest"),
    ],
)
def test_glued_sentences_get_their_space(glued: str, apart: str) -> None:
    assert split_glued(glued) == apart


@pytest.mark.parametrize(
    "text",
    [
        "the U.S. Army and e.g. this, i.e. that",
        "version 2.0.1 costs $3.50 and Python3.11 is out",
        "see https://a.org/Page.Html?x=A.Bc or www.Site.Com/Some.Page now",
        "write to Jane.Roe@Some.Host.org today",
        "Dr. Smith, Ph.D. and St. Mary's at 5 p.m. on Monday",
        "well... Maybe",
        "call getName onTop, YouTube, iPhone, deviantArt, my_valueOf x, @jobFor me",
        "see section.2 and chapter 3.4 of v1.2. Then rest",
    ],
)
def test_what_is_not_glued_stays(text: str) -> None:
    assert split_glued(text) == text


@pytest.mark.parametrize(
    ("raw", "clean_text"),
    [
        ("a\u00a0b\u2009c", "a b c"),
        ("zero\u200bwidth\ufeff \u00adsoft", "zerowidth soft"),
        ("bell\x07 and \x00nul", "bell and nul"),
        ("<p>Hello <b>you</b></p><p>there</p>", "Hello you\n\nthere"),
        ("a<br/>b", "a\nb"),
        ("<script>alert(1)</script>safe", "safe"),
        ("fish &amp; chips, &amp;nbsp;too", "fish & chips, too"),
        ("I <3 you and 2 < 3 > 1", "I <3 you and 2 < 3 > 1"),
        ("schÃ¶n", "schön"),
        ("\ufb01ne \u2163", "fine \u2163"),
        ("line\r\nnext\rlast", "line\nnext\nlast"),
        ("a  b \n\n\n\n c ", "a b\n\nc"),
        ("family 👨\u200d👩\u200d👧", "family 👨\u200d👩\u200d👧"),
    ],
)
def test_mends_text(raw: str, clean_text: str) -> None:
    assert cleaned(raw) == clean_text


WRAPPED = """It helps to write down what you would say to a
friend who had the same kind of week, and then
to read it aloud (slowly, as if to them) before
bed. Most people find that they are kinder than
they thought they could be."""
LIST = """Some people try one of these on a bad day.
Go out for a walk before the day has really begun
Call a friend whom you trust and who will listen
Write down three things that went well, as they come
Sleep, and look at it again when the sun is up"""
UNPUNCTUATED = """i have been lying awake since two in the morning
my head is full of things i should have said to her
then the alarm rings and i get up as if i had slept
nobody at work has any idea what my nights are like"""


def test_code_keeps_its_lines() -> None:
    code = "```python\nclass A:\n\tdef b(self):\n        return self.Yes.No\n\n\n\nA()\n```"
    assert cleaned(f"Like this:  \n{code}\nDone.It   works.") == (
        f"Like this:\n{code}\nDone. It works."
    )


def test_short_lines_of_a_wrapped_text_are_joined_too() -> None:
    text = f"You have\nmuch on your mind.\n{WRAPPED}\nWhat are\nthe hours like?"
    assert "You have much on" in cleaned(text, unwrap=True)
    assert "What are the hours" in cleaned(text, unwrap=True)
    assert "mind.\nIt helps" in cleaned(text, unwrap=True) and cleaned(text) == text


def test_lines_wrapped_by_a_program_are_joined() -> None:
    assert cleaned(WRAPPED, unwrap=True) == WRAPPED.replace("\n", " ")
    row, ledger = talk(WRAPPED), Ledger("clean")
    Cleaner(CleanSettings(unwrap=True))(row, ledger)
    assert reasons(ledger) == ["wrapped lines joined"]
    assert cleaned(WRAPPED) == WRAPPED


@pytest.mark.parametrize("text", [LIST, UNPUNCTUATED, "- one\n- two\n- three\n- four"])
def test_lines_that_someone_meant_stay(text: str) -> None:
    assert cleaned(text, unwrap=True) == text


def test_each_part_is_switchable() -> None:
    text = "schÃ¶n<b>a</b>\u00a0b.Then  \ufb01ne"
    off = CleanSettings(
        fix_encoding=False,
        normalise=False,
        html=False,
        split_glued_sentences=False,
        whitespace=False,
    )
    row, ledger = talk(text), Ledger("clean")
    Cleaner(off)(row, ledger)
    assert row.messages[0].content == text and ledger.lines == []


def test_a_definition_replaces_what_its_source_is_known_for() -> None:
    row, ledger = talk("Well_comma_ yes _x_"), Ledger("clean")
    Cleaner(CleanSettings(replace={"_comma_": ",", "_x_": r"a\1b"}))(row, ledger)
    assert row.messages[0].content == r"Well, yes a\1b" and reasons(ledger) == ["replaced"]


def test_the_ledger_names_each_change_with_its_spans() -> None:
    row, ledger = talk("a\u00a0b with.Seriously"), Ledger("clean")
    Cleaner(CleanSettings())(row, ledger)
    assert reasons(ledger) == ["non-breaking or odd space", "space between glued sentences"]
    assert ledger.lines[0]["spans"] == [{"turn": 0, "start": 1, "before": "\u00a0", "after": " "}]


def test_clean_text_has_no_ledger_line() -> None:
    ledger = Ledger("clean")
    Cleaner(CleanSettings())(talk("Nothing to do here.", "Nor here: 3.5 is fine."), ledger)
    assert ledger.lines == []


@given(st.text())
@example("0\x1f\t0")
@settings(max_examples=150, deadline=None)
def test_any_text_is_cleaned_once_and_for_all(text: str) -> None:
    # Encodings are left out: whether "Â»" was once "»" is a guess that its neighbours decide.
    once = cleaned(text, fix_encoding=False)
    assert cleaned(once, fix_encoding=False) == once
    assert "\u00a0" not in once and "\x00" not in once


@given(st.text(), st.text())
@settings(max_examples=100, deadline=None)
def test_a_change_is_always_in_the_ledger(question: str, answer: str) -> None:
    row, ledger = talk(question, answer), Ledger("clean")
    Cleaner(CleanSettings())(row, ledger)
    changed = [m.content for m in row.messages] != [question, answer]
    assert changed == bool(ledger.lines)


_GLUE = st.sampled_from(
    [
        "with",
        "Then",
        ".",
        "?",
        "!",
        "...",
        "\u2026",
        '"',
        "\u201d",
        ")",
        "I",
        " ",
        "1999",
        "6",
        "USA",
        "a",
        "can't",
        ",",
        ":",
        "\u00bf",
        "(",
        "'",
        "\u00c9tait",
    ]
)


@given(st.lists(_GLUE, max_size=8).map("".join))
@settings(max_examples=500, deadline=None)
def test_the_quick_look_before_glue_misses_nothing(text: str) -> None:
    assert MAY_BE_GLUED.search(text) or not GLUED.search(text)


def test_a_rendered_page_loses_its_tags_and_keeps_its_code() -> None:
    page = (
        '<div class="markdown prose"><p>Here is a function that gives back what it got.</p>'
        '<pre><code class="language-python">def same(x):\n    return x  # 5 < 6\n</code></pre>'
        "</div>"
    )
    assert cleaned(page) == (
        "Here is a function that gives back what it got.\n\n"
        "```\ndef same(x):\n    return x  # 5 < 6\n```"
    )
    snippet = '<div class="box">\n  <h1>Hello</h1>\n  <p>x</p>\n</div>'
    assert cleaned(snippet) == snippet
